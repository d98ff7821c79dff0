"""The whole recipe of a model, as `recipe.json`, `recipe.safetensors` and `code.pickle` hold it, and the way back."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tf_keras as tfk
from tf_keras.src.mixed_precision import policy

from keras_probckpt.errors import MalformedRecipeError, UnsupportedModelError, UntrustedCheckpointError
from keras_probckpt.format.digest import digest_hex
from keras_probckpt.format.requirements import requirements_of, variables_of
from keras_probckpt.model.objects import Place
from keras_probckpt.model.trainable import put_flags, trainable_flags
from keras_probckpt.recipe.aliases import put_aliases, record_aliases
from keras_probckpt.recipe.arguments import CallArguments
from keras_probckpt.recipe.attributes import Only, put_attributes, record_attributes
from keras_probckpt.recipe.bounds import check_size
from keras_probckpt.recipe.builder import BuilderCall, recorded_builder
from keras_probckpt.recipe.calls import Signature, make_calls, note_call, record_calls, recorded_signatures
from keras_probckpt.recipe.codec import TAG, Decoder, Node, field
from keras_probckpt.recipe.compare import output_differences
from keras_probckpt.recipe.compiling import compile_arguments, compile_as_recorded, record_compile
from keras_probckpt.recipe.construction import call
from keras_probckpt.recipe.description import describe_layers
from keras_probckpt.recipe.differences import LayerDifferences, checked_description, layer_differences
from keras_probckpt.recipe.functions import pack
from keras_probckpt.recipe.kinds import ALL_KINDS, new_encoder
from keras_probckpt.recipe.losses import add_recorded_losses, record_losses
from keras_probckpt.recipe.penalties import put_penalties, record_penalties
from keras_probckpt.recipe.probe import is_affordable_call, output_differences_of, probe_of, trace_call
from keras_probckpt.recipe.process_settings import (
    checked_settings,
    process_settings,
    settings_as,
    settings_that_differ,
)
from keras_probckpt.recipe.spares import put_spares, record_spares
from keras_probckpt.recipe.trust import Trust

__all__ = ["Recipe", "RecipeBook", "RecipeReader", "describe", "require_tf_keras_model"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to rebuild one model.

    Attributes:
        document: Content of `recipe.json`.
        arrays: Arrays that the document refers to, by name: content of `recipe.safetensors`.
        code: Content of `code.pickle`; `None` where every function has an importable name.
        variables: Variables that the document has nodes for, such as a prior's, in the order the nodes count them.
    """

    document: dict[str, Node]
    arrays: Mapping[str, np.ndarray[Any, Any]]
    code: bytes | None
    variables: tuple[tf.Variable, ...]

    @functools.cached_property
    def structure(self) -> str:
        """A digest of what the model is made of: the same for another value of an attribute or an argument."""
        layers = self.document["description"]["layers"]
        parts = {
            "layers": {path: layer["class"] for path, layer in layers.items()},
            "requires": [item.describe() for item in requirements_of(self.document)],
            "calls": [node["layer"] for node in self.document["calls"]],
            "is_compiled": self.document["compile"].get("reason", self.document["compile"].get("arguments") is None),
        }
        return digest_hex(json.dumps(parts, sort_keys=True).encode())


def require_tf_keras_model(model: Any) -> None:
    """Check that an object is a model of tf_keras.

    Raises:
        UnsupportedModelError: If it is something else, such as a Keras 3 model. Says how to use tf_keras.
    """
    if not isinstance(model, tfk.Model):
        raise UnsupportedModelError(found=f"{type(model).__module__}.{type(model).__qualname__}")


def describe(  # noqa: PLR0913 - each is a part of the model that is found elsewhere
    model: tfk.Model,
    layers: Mapping[str, tfk.layers.Layer],
    *,
    places: Sequence[Place] = (),
    output: Node = None,
    others: Mapping[str, tfk.layers.Layer] | None = None,
    builder: Callable[..., Any] | None = None,
    builder_kwargs: Mapping[str, Any] | None = None,
) -> Recipe:
    """Write down how to rebuild a model.

    Args:
        model: The live model; nothing of it is changed. It is called once, on placeholders.
        layers: The model, at the path `""`, and the layers in it by path, parents before their children.
        places: The walk over the model, for what its objects hold beside all that.
        output: What a call of the model returns, as `describe` of `compare` describes it.
        others: Layers that the model does not track and that have variables all the same, by path.
        builder: The function that built it, in place of its layers.
        builder_kwargs: Keyword arguments the builder was called with.

    Raises:
        UnrecordableError: If some part of it cannot be written down. Names the part and the ways out.
    """
    encoder = new_encoder()
    source: Any = recorded_builder(model) or model
    if builder is not None:
        source = BuilderCall(builder, CallArguments([], dict(builder_kwargs or {})))
    document = {
        "model": encoder.encode(source, "model"),
        "calls": record_calls({**layers, **(others or {})}, encoder),
        "compile": record_compile(model, encoder),
        "losses": [] if source is not model else record_losses(layers, encoder),
        "penalties": record_penalties(layers, encoder),
        "attributes": record_attributes(places, encoder),
        "trainable": {path: list(flags) for path, flags in trainable_flags(model, layers).items()},
    }
    variables = tuple(encoder.variables)  # Those of the spares are named where they are found, as any other.
    document = {
        **document,
        "aliases": record_aliases(places, encoder),
        "spares": record_spares(places, encoder),
        "policy": model.dtype_policy.name,
        "settings": process_settings(),
        "externals": encoder.externals,
        "output": output,
        "description": describe_layers(
            layers, compiled=compile_arguments(model), builder=source.function if source is not model else None
        ),
    }
    return Recipe(document, encoder.arrays, pack(encoder.code), variables)


class RecipeBook:
    """Describes a model as it goes through a training.

    Args:
        builder: The function that built the model, in place of its layers.
        builder_kwargs: Keyword arguments the builder was called with.

    Raises:
        TypeError: If the builder is not a function.
        ValueError: If there are arguments and no builder.
    """

    def __init__(
        self, *, builder: Callable[..., Any] | None = None, builder_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        if builder is None and builder_kwargs:
            raise ValueError(f"builder_kwargs={builder_kwargs!r:.200} need a builder, got None. Nothing was saved.")
        if builder is not None and not callable(builder):
            raise TypeError(f"builder must be a function that builds the model, got {builder!r:.200}.")
        self._builder = builder
        self._builder_kwargs = builder_kwargs

    def recipe_of(
        self,
        model: tfk.Model,
        *,
        layers: Mapping[str, tfk.layers.Layer],
        places: Sequence[Place],
        output: Node,
        others: Mapping[str, tfk.layers.Layer],
    ) -> Recipe:
        """Describe a model as it is now; the arguments are those of `describe`."""
        return describe(
            model,
            layers,
            places=places,
            output=output,
            others=others,
            builder=self._builder,
            builder_kwargs=self._builder_kwargs,
        )


class RecipeReader:
    """Follows one recipe.

    Args:
        document: Content of `recipe.json`.
        arrays: Content of `recipe.safetensors`.
        trust: What may be imported and unpickled.
    """

    def __init__(self, document: Node, *, arrays: Mapping[str, np.ndarray[Any, Any]], trust: Trust) -> None:
        if not isinstance(document, dict):
            raise MalformedRecipeError(where="recipe", problem=f"it is a {type(document).__name__}, not an object")
        self._document, self._arrays = document, arrays
        # Releases before it was recorded wrote none.
        self._description = checked_description(document["description"]) if "description" in document else None
        # Nor of this.
        self._spares = field(document, "spares", list, "recipe") if "spares" in document else []
        self._settings = checked_settings(document.get("settings", {}))  # Likewise.
        self._trust = trust
        if not trust.trusts_all:
            check_size(document)
        self._takes_spares = False
        self._begin()

    def _begin(self) -> None:
        self._attributes = field(self._document, "attributes", list, "recipe") if "attributes" in self._document else []
        self._put_back: list[str] = []
        self._decoder = Decoder(
            ALL_KINDS,
            arrays=self._arrays,
            resolve=self._trust.resolve,
            document=self._document,
            is_trusted=self._trust.trusts_all,
        )

    @property
    def has_spares(self) -> bool:
        """Whether there is another way to build the model: its author is trusted, and it was not taken yet."""
        return self._trust.trusts_all and bool(self._spares) and not self._takes_spares

    def begin_with_spares(self) -> None:
        """Begin anew: the model is to be built once more, and its objects are to hold what they held."""
        self._takes_spares = True
        self._begin()

    def put_spares(self, model: tfk.Model) -> None:
        """Give the objects of a model that was not called yet what they held, if that is how it is to be built."""
        if self._takes_spares:
            put_spares(model, self._spares, self._decoder)
            self.put_attributes(model, only="tracked")

    @property
    def trusts_all(self) -> bool:
        """Whether all that the recipe asks for may be done: its author is trusted."""
        return self._trust.trusts_all

    @contextlib.contextmanager
    def policy(self) -> Iterator[None]:
        """Let layers be made, and called, under the dtype policy and the settings that were those of the process."""
        with contextlib.ExitStack() as scopes:
            scopes.enter_context(settings_as(self._settings))
            if "policy" in self._document:  # Releases before it was recorded wrote none.
                name = field(self._document, "policy", str, "recipe")
                scopes.enter_context(policy.policy_scope(call(tfk.mixed_precision.Policy, [name], {}, "policy")))
            yield

    def tell_settings(self, path: str) -> None:
        """Warn of settings that are others in this process: the model reads them when it is called, not once.

        Args:
            path: Of the checkpoint.
        """
        differing = settings_that_differ(self._settings)
        if differing:
            warnings.warn(
                f"{path} was saved under other settings of Keras, which belong to the whole process. They were set to "
                f"build the model, and put back. Where it reads them when it is called, it computes something else "
                f"here; set them first: {'; '.join(differing)}.",
                stacklevel=5,
            )

    def require_trust(self, *, compiles: bool) -> None:
        """Check that all that a restore would do may be done, so that one refusal lists it all.

        Args:
            compiles: Whether the model is to be compiled too. If nothing but that is refused, `compile` says so.

        Raises:
            UntrustedCheckpointError: If some of it may not; nothing was run.
        """
        parts = [self._document.get(key) for key in ("model", "calls", "losses", "penalties", "externals")]
        try:
            self._trust.check(parts)
        except UntrustedCheckpointError:
            self._trust.check([*parts, self._document.get("compile") if compiles else None])
            raise

    def build(self, builder: Callable[..., Any] | None) -> tfk.Model:
        """Make the model, with whatever variables its construction makes.

        Args:
            builder: Called in place of the recorded constructor, with the arguments a recorded builder had.

        Raises:
            UntrustedCheckpointError: If that would run code nobody vouches for; nothing was run.
            MalformedRecipeError: If the recipe cannot be followed.
        """
        node = field(self._document, "model", dict, "recipe")
        if builder is None:
            self._trust.check([node, self._document.get("externals")])
            model = self._decoder.decode(node, "model")
            if not isinstance(model, tfk.Model) and node.get(TAG) != "build":
                raise MalformedRecipeError(where="model", problem=f"it makes a {type(model).__name__}, not a model")
        else:
            model = self._build_by(builder, node)
        require_tf_keras_model(model)
        return model

    def _build_by(self, builder: Callable[..., Any], node: dict[str, Node]) -> Any:
        if node.get(TAG) != "build":
            return call(builder, [], {}, "builder")
        given = {key: node[key] for key in ("positional", "arguments") if key in node}
        self._trust.check(given)
        positional = self._decoder.decode(given.get("positional", []), "builder")
        arguments = self._decoder.decode_mapping(field(node, "arguments", dict, "builder"), "builder")
        return call(builder, positional, arguments, "builder")

    @property
    def variables(self) -> Mapping[int, tf.Variable]:
        """Variables made for nodes so far, by the number the recipe gives them; not those of spares."""
        if not self._takes_spares:
            return self._decoder.variables
        count = len(field(self._document, "recipe_variables", list, "recipe"))
        return {number: item for number, item in self._decoder.variables.items() if number < count}

    def saved(self, of: Literal["variables", "optimizer_variables"]) -> dict[str, tf.TensorSpec]:
        """Shapes and dtypes of the saved values, by path.

        Args:
            of: Of the model's variables or its optimizers'.
        """
        try:
            return {item.path: tf.TensorSpec(item.shape, item.dtype) for item in variables_of(self._document, of=of)}
        except (TypeError, ValueError) as error:
            raise MalformedRecipeError(where=of, problem=str(error)) from error

    @property
    def signatures(self) -> dict[str, Signature]:
        """How the model and its parts were called, by path."""
        return recorded_signatures(field(self._document, "calls", list, "recipe"), self._decoder)

    def check_variables(self, paths: Mapping[int, str]) -> None:
        """Check that each variable of the recipe is where it was when the recipe was written.

        Args:
            paths: Where they are now, by the number the recipe gives them.

        Raises:
            MalformedRecipeError: If one is elsewhere, as when a function held a layer's own variable.
        """
        recorded = field(self._document, "recipe_variables", list, "recipe")
        for number, path in paths.items():
            if not 0 <= number < len(recorded) or recorded[number] != path:
                was = recorded[number] if 0 <= number < len(recorded) else "nowhere"
                raise MalformedRecipeError(
                    where=f"recipe_variables[{number}]",
                    problem=f"the variable was {was!r:.120} and is {path!r:.120}: a function that holds a layer's own "
                    "variable cannot be rebuilt; let it hold the layer",
                )

    def call_symbolically(
        self, find_layers: Callable[[], Mapping[str, tfk.layers.Layer]], *, is_complete: Callable[[], bool]
    ) -> None:
        """Call the model, or its parts, as they were called when it was saved, until every variable is there.

        Args:
            find_layers: Returns the layers there are now, by path.
            is_complete: Whether every variable is there.
        """
        make_calls(field(self._document, "calls", list, "recipe"), find_layers, self._decoder, is_complete=is_complete)
        model, signature = find_layers().get(""), self.signatures.get("")
        if model is not None and signature is not None:
            note_call(model, signature)

    def put_aliases(self, model: tfk.Model) -> None:
        """Let attributes hold the weights of layers that they held, now that the layers have them."""
        if self.trusts_all and "aliases" in self._document:  # Releases before it was recorded wrote none.
            put_aliases(model, field(self._document, "aliases", list, "recipe"))

    def add_losses(self, layers: Mapping[str, tfk.layers.Layer]) -> None:
        """Give layers the losses of their weights: those that `add_loss` took, and the regularizers that have effect.

        Args:
            layers: The rebuilt model, at the path `""`, and the layers in it by path.

        Raises:
            UntrustedCheckpointError: If that would run code nobody vouches for; nothing was run.
        """
        recorded, penalties = self._document.get("losses", []), self._document.get("penalties")
        self._trust.check([recorded, penalties])
        add_recorded_losses(layers, recorded, self._decoder)
        if penalties is not None:  # Releases before it was recorded wrote none.
            put_penalties(layers, penalties, self._decoder)

    def put_attributes(
        self, model: tfk.Model, *, only: Only | None = None, kept: Mapping[int, Collection[str]] | None = None
    ) -> list[str]:
        """Put back what the objects of the model held, of those that had none of it put back yet.

        Args:
            model: The model.
            only: As of `put_attributes` of `attributes`.
            kept: Likewise.

        Returns:
            What was other than recorded, each as a line with both values.
        """
        changed, absent = put_attributes(model, self._attributes, self._decoder, only=only, kept=kept or {})
        self._attributes = absent if only is None else self._attributes
        self._put_back += changed
        return changed

    def put_trainable(self, layers: Mapping[str, tfk.layers.Layer], *, at_compile: bool) -> None:
        """Set which layers are trained, as it was at `compile` or as it was when the model was saved.

        Args:
            layers: The rebuilt model and its layers, by path.
            at_compile: Set what was so at `compile`.
        """
        if "trainable" in self._document:  # Releases before it was recorded wrote none.
            recorded = field(self._document, "trainable", dict, "recipe")
            flags = {path: _flags(pair, f"trainable[{path!r}]") for path, pair in recorded.items()}
            put_flags(layers, flags, at_compile=at_compile)

    def check_output(
        self,
        model: tfk.Model,
        layers: Mapping[str, tfk.layers.Layer],
        variables: Mapping[str, tf.Variable],
        *,
        values: Mapping[str, Any],
    ) -> list[str]:
        """List what the model returns otherwise than it did when it was saved; empty where it is the same.

        Args:
            model: The rebuilt model; it is left as it is.
            layers: The model and its layers, by path.
            variables: Its variables, by path.
            values: The values of the variables that it was saved with, by path.
        """
        recorded, trace = self._document.get("output"), None
        outputs = self._recorded_outputs()
        if recorded is not None or outputs:
            trace = trace_call(model)
        differences = [] if trace is None or recorded is None else output_differences(recorded, trace.described)
        may_run = self.trusts_all or (trace is not None and is_affordable_call(trace))
        if outputs and not differences and may_run:
            signatures = {} if trace is not None else self.signatures
            probe = probe_of(model, layers, variables, signatures=signatures, trace=trace)
            differences = [] if probe is None else output_differences_of(outputs, probe.outputs(values))
        return differences

    @property
    def has_outputs(self) -> bool:
        """Whether it is recorded what the model returned."""
        return bool(self._document.get("probe"))

    def _recorded_outputs(self) -> dict[str, np.ndarray[Any, Any]]:
        recorded = self._document.get("probe") or {}  # Releases before it was recorded wrote none.
        if not isinstance(recorded, dict) or not all(name in self._decoder.arrays for name in recorded.values()):
            raise MalformedRecipeError(where="probe", problem=f"it names arrays that are not there: {recorded!r:.80}")
        return {place: self._decoder.arrays[name] for place, name in recorded.items()}

    @property
    def layer_paths(self) -> AbstractSet[str]:
        """Paths of the layers that were saved, as far as they are recorded."""
        return self._description["layers"].keys() if self._description else frozenset()

    def check_layers(self, layers: Mapping[str, tfk.layers.Layer], *, is_as_recorded: bool) -> LayerDifferences:
        """Tell how the layers differ from those that were saved.

        A model that data alone describes is the one that was saved: nothing of it is compared.

        Args:
            layers: The rebuilt model, at the path `""`, and the layers in it by path, parents before their children.
            is_as_recorded: Whether the model was built and compiled by the recipe, and not by a function of the
                caller's.
        """
        if self._description is None or (is_as_recorded and not requirements_of(self._document)):
            return LayerDifferences()
        rebuilt = describe_layers(
            layers,
            compiled=compile_arguments(layers[""]) if is_as_recorded else {},
            builder=self._builder() if is_as_recorded else None,
        )
        return layer_differences(
            self._description, rebuilt, replacements=self._trust.replacements, put_back=self._put_back
        )

    def _builder(self) -> Any:
        node = self._document.get("model")
        if not isinstance(node, dict) or node.get(TAG) != "build":
            return None
        return self._decoder.decode(field(node, "class", dict, "model"), "model.class")

    def compile(self, model: tfk.Model) -> str:
        """Compile the model as recorded.

        Returns:
            Why it was not compiled; empty if it was, or never had been.

        Raises:
            UntrustedCheckpointError: If the arguments ask for code nobody vouches for.
        """
        recorded = field(self._document, "compile", dict, "recipe")
        self._trust.check(recorded, alternative=", or compile=False to do without the loss and the metrics")
        try:
            compile_as_recorded(model, recorded, self._decoder)
        except MalformedRecipeError as error:
            raise dataclasses.replace(error, advice="Pass compile=False to take the model uncompiled.") from error
        return str(recorded.get("reason", ""))


def _flags(pair: Node, where: str) -> tuple[bool, bool]:
    if not isinstance(pair, list) or [type(flag) for flag in pair] != [bool, bool]:
        raise MalformedRecipeError(where=where, problem=f"two booleans are needed, not {pair!r:.80}")
    return pair[0], pair[1]
