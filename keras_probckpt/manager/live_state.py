"""The state of a live model: as the contents of a checkpoint, and put back from one."""

from __future__ import annotations

import dataclasses
import functools
import logging
import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.manager.rebuilding import Request, make_variables, recipe_of
from keras_probckpt.model.attributes import roots_of
from keras_probckpt.model.trainable import trainable_flags
from keras_probckpt.model.watch import ModelWatch
from keras_probckpt.recipe.calls import signatures_of
from keras_probckpt.recipe.data import encode_data
from keras_probckpt.recipe.document import Recipe, RecipeBook
from keras_probckpt.recipe.probe import Probe, Trace, probe_of, trace_call
from keras_probckpt.recipe.process_settings import process_settings
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.contents import CheckpointReader, Contents, UnwrittenCheckpoint
from keras_probckpt.training.assignment import (
    Arrays,
    build_optimizers,
    find_thawed,
    finish_preprocessing,
    is_slot_of,
    match_trackers,
    put_back,
    require_fit,
)
from keras_probckpt.training.hidden import find_hidden, find_hidden_layers, restored_paths, with_hidden_variables
from keras_probckpt.training.inventory import VariableInventory
from keras_probckpt.training.randomness import (
    TraceCounters,
    find_trace_counters,
    packed_random_state,
    random_state,
    trace_counter_values,
)
from keras_probckpt.training.snapshot import Snapshot, VariableReader
from keras_probckpt.training.used import used_variables
from keras_probckpt.training.variables import (
    ModelVariables,
    find_layers,
    find_optimizers,
    find_variables,
    given_optimizers,
    is_of_given_optimizer,
    with_recipe_variables,
)

__all__ = ["LiveState", "ModelValues", "TakenState"]

_logger = logging.getLogger("keras_probckpt")

_MOST_LINES = 20
# A model that changes is traced anew at most in this part of the time, as one over it.
_REST_FACTOR = 50
# What a call of the model does not depend on.
_NOT_CALLED = {"optimizer"}


@dataclasses.dataclass(frozen=True)
class ModelValues:
    """A model at one moment.

    Attributes:
        recipe: How to rebuild it.
        recipe_variables: Path of each variable that the recipe has a node for.
        arrays: Values of its variables by path.
        optimizers: Values of its optimizers' variables by path; None where they are still to be taken, or left out.
        batches: Batches that it was trained on, as tf_keras counts them.
        counters: The numbers that its layers and optimizers count in Python.
        frozen: Paths of the layers that were not trained.
        probe: Computes what it returns on a fixed input; None where it was not traced as it is now.
    """

    recipe: Recipe
    recipe_variables: Sequence[str]
    arrays: Snapshot
    optimizers: Snapshot | None
    batches: int
    counters: TraceCounters
    frozen: Sequence[str]
    probe: Probe | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TakenState:
    """A training at one moment, by reference: what a save costs the training is to take it.

    Attributes:
        model: The model, and its optimizers if they are not left out.
        training: Gives where training stood, as plain values and arrays; None leaves it out.
        data_position: Position of the data iterator.
    """

    model: ModelValues
    training: Callable[[], Mapping[str, Any]] | None
    data_position: bytes | None

    @property
    def size_bytes(self) -> int:
        """Memory of the variables' values."""
        arrays, optimizers = self.model.arrays, self.model.optimizers
        return arrays.size_bytes + (0 if optimizers is None else optimizers.size_bytes)

    def contents(self) -> Contents:
        """Write it down as the contents of a checkpoint. Called by whoever writes it.

        Raises:
            UnrecordableError: If some part of the training cannot be written down.
        """
        nodes, arrays = (None, {}) if self.training is None else encode_data(self.training(), where="training")
        return dataclasses.replace(
            self._untrained, training=nodes, training_arrays=arrays, data_position=self.data_position
        )

    def unwritten(self, info: CheckpointInfo) -> UnwrittenCheckpoint:
        """Give the checkpoint as far as a rehearsal needs it, without waiting for its file.

        Args:
            info: What its manifest will say.
        """
        arrays, optimizers = self.model.arrays.tensors, self.model.optimizers
        tensors = None if optimizers is None else optimizers.tensors
        return UnwrittenCheckpoint(info, dataclasses.replace(self._untrained, model=arrays, optimizer=tensors))

    @property
    def _untrained(self) -> Contents:
        """The contents without where training stood."""
        recipe, outputs = self.model.recipe, self._outputs
        names = {place: f"probe-{index}" for index, place in enumerate(outputs)}
        probe = {"probe": names} if names else {}
        return Contents(
            recipe={**recipe.document, "recipe_variables": self.model.recipe_variables, **probe},
            recipe_arrays={**recipe.arrays, **{names[place]: array for place, array in outputs.items()}},
            code=recipe.code,
            model=self.model.arrays,
            optimizer=self.model.optimizers,
            training=None,
        )

    @functools.cached_property
    def _outputs(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """Compute what the model returned, to prove a restored one by."""
        if self.model.probe is None:
            return {}
        try:
            return self.model.probe.outputs(self.model.arrays.tensors)
        except Exception as error:  # noqa: BLE001 - on made-up input a model may fail in any way; it is saved all the same
            _logger.info("What the model returns is not recorded: %s: %s", type(error).__name__, error)
            return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Described:
    """What saves of a model have in common for as long as it has the same variables.

    Attributes:
        recipe: How to rebuild it.
        recipe_variables: Path of each variable that the recipe has a node for.
        variables: The variables that it tracks and those of the recipe, and the optimizers'.
        hidden: The variables that only plain Python leads to, by path.
        counters: The numbers that its layers and optimizers count in Python.
        counter: The variable in which tf_keras counts batches.
        probe: Computes what it returns on a fixed input.
        frozen: Paths of the layers that are not trained.
    """

    recipe: Recipe
    recipe_variables: Sequence[str]
    variables: ModelVariables
    hidden: Mapping[str, tf.Variable]
    counters: TraceCounters
    counter: tf.Variable
    probe: Probe | None
    frozen: Sequence[str]

    @functools.cached_property
    def values_reader(self) -> VariableReader:
        """Reads the model's variables, the optimizers' and the counter, all at one moment."""
        model, counter = {**self.variables.model, **self.hidden}, {"": self.counter}
        return VariableReader(model, self.variables.optimizers, counter)

    @functools.cached_property
    def optimizers_reader(self) -> VariableReader:
        """Reads the optimizers' variables."""
        return VariableReader(self.variables.optimizers)


class LiveState:
    """Takes and puts back the state of a model that is being trained.

    Args:
        builder: The function that built it, recorded in place of its layers.
        builder_kwargs: Keyword arguments the builder was called with.
        probes: Record what the model returns on a fixed input, to prove a restored one by.
    """

    def __init__(
        self,
        *,
        builder: Callable[..., tfk.Model] | None = None,
        builder_kwargs: Mapping[str, Any] | None = None,
        probes: bool = True,
    ) -> None:
        self._recipes = RecipeBook(builder=builder, builder_kwargs=builder_kwargs)
        self._inventory = VariableInventory()
        self._watch = ModelWatch()
        self._known: tuple[Sequence[Any], _Described] | None = None
        self._recipe: tuple[Sequence[Any], Recipe] | None = None
        self._probes = probes
        self._trace_known: tuple[ModelVariables, Any, Trace | None] | None = None
        self._probe_known: tuple[Trace | None, Sequence[str], Probe | None] | None = None
        self._output: Any = None
        self._traced_at = self._trace_seconds = 0.0

    def take_values(self, model: tfk.Model) -> ModelValues:
        """Take the recipe of a model and the values of all its variables as they are now, without copying them.

        Args:
            model: The live model.

        Raises:
            UnrecordableError: If some part of the model cannot be written down.
        """
        described = self._describe(model)
        arrays, optimizers, counter = described.values_reader.read()
        return ModelValues(
            recipe=described.recipe,
            recipe_variables=described.recipe_variables,
            arrays=arrays,
            optimizers=optimizers,
            batches=int(counter[""]),
            counters=described.counters,
            probe=described.probe,
            frozen=described.frozen,
        )

    def take(
        self,
        model: tfk.Model,
        *,
        values: ModelValues,
        training: Callable[[], Mapping[str, Any]] | None,
        data_position: bytes | None = None,
    ) -> TakenState:
        """Take the state of the training as it is now, without copying it, beside that of the model.

        Args:
            model: The live model.
            values: What `take_values` returned. Optimizers that are not among it are taken now.
            training: Gives, whenever it is called, where training stands now, as plain values and arrays; None leaves
                it out, and the optimizers too.
            data_position: Position of the data iterator.

        Raises:
            UnrecordableError: If some part of the model cannot be written down.
        """
        if training is None:
            values = dataclasses.replace(values, optimizers=None)
            return TakenState(model=values, training=None, data_position=data_position)
        if values.optimizers is None:
            (optimizers,) = self._describe(model).optimizers_reader.read()
            values = dataclasses.replace(values, optimizers=optimizers)
        random, counters = random_state(), trace_counter_values(values.counters)

        frozen = list(values.frozen)

        def give() -> Mapping[str, Any]:
            more = {"random": packed_random_state(random), "trace_counters": counters, "frozen": frozen}
            return {**training(), **more}

        return TakenState(model=values, training=give, data_position=data_position)

    def _describe(self, model: tfk.Model) -> _Described:
        """Describe a model; at once where nothing has changed that its description follows from."""
        found, used = self._inventory.find(model), used_variables(model)
        compiled, called = getattr(model, "_compile_config", None), model._saved_model_arg_spec
        counter = model._train_counter
        depends_on = (model, found, compiled, called, counter, restored_paths(model), *used)
        has_changed = self._watch.has_changed(roots_of(model))
        if not has_changed and self._known is not None and _are_same(self._known[0], depends_on):
            return self._known[1]
        is_other_function = has_changed and self._watch.changed != _NOT_CALLED
        trace = self._traced(model, found, called, has_changed=is_other_function)
        used = used or (() if trace is None else trace.variables)
        recipe = self._recipe_of(model, found, used, has_changed=has_changed)
        all_found, paths = with_recipe_variables(found, dict(enumerate(recipe.variables)))
        hidden = find_hidden(model, (*all_found.model.values(), *all_found.optimizers.values()), used)
        described = _Described(
            recipe=recipe,
            recipe_variables=paths,
            variables=all_found,
            hidden=hidden,
            counters=find_trace_counters(model),
            counter=counter,
            probe=self._probe_of(model, {**all_found.model, **hidden}),
            frozen=tuple(path for path, layer in find_layers(model).items() if not layer._trainable),
        )
        # Another variable may come to be where only plain Python leads: there it is looked for each time.
        self._known = None if hidden or restored_paths(model) else (depends_on, described)
        return described

    def _recipe_of(
        self, model: tfk.Model, found: ModelVariables, used: Sequence[tf.Variable], *, has_changed: bool
    ) -> Recipe:
        """Describe a model; at once where nothing of it has changed and it was not called or compiled anew."""
        is_called = model._saved_model_arg_spec is not None
        flags = tuple(trainable_flags(model, find_layers(model)).items())
        paths = (*found.model, *found.optimizers)
        compiled = getattr(model, "_compile_config", None)
        depends_on = (model, paths, is_called, compiled, flags, process_settings())
        if has_changed or self._recipe is None or self._recipe[0] != depends_on:
            variables = (*found.model.values(), *found.optimizers.values())
            recipe = self._recipes.recipe_of(
                model,
                layers=find_layers(model),
                places=self._watch.places,
                output=self._output,
                others=find_hidden_layers(model, variables, used),
            )
            self._recipe = depends_on, recipe
        return self._recipe[1]

    def _traced(self, model: tfk.Model, found: ModelVariables, called: Any, *, has_changed: bool) -> Trace | None:
        """Trace a call of the model, or return the trace where it would be the same again.

        A model whose attributes change from save to save is traced so seldom that it costs little; between, it is not.
        """
        known = self._trace_known
        is_same_model = known is not None and _are_same([*known[0].model.values()], [*found.model.values()])
        if known is not None and is_same_model and known[1] is called and not has_changed:
            return known[2]
        began = time.monotonic()
        if known is not None and began - self._traced_at < _REST_FACTOR * self._trace_seconds and known[0] is found:
            self._trace_known = found, called, None
            return None
        trace = trace_call(model)
        self._traced_at = time.monotonic()
        self._trace_seconds = self._traced_at - began
        self._trace_known = found, called, trace
        self._output = None if trace is None else trace.described
        return trace

    def _probe_of(self, model: tfk.Model, variables: Mapping[str, tf.Variable]) -> Probe | None:
        known = self._trace_known
        if not self._probes or known is None:
            return None
        is_called = model._saved_model_arg_spec is not None
        if is_called and known[2] is None:
            return None
        if self._probe_known is not None and self._probe_known[0] is known[2] and self._probe_known[1] == [*variables]:
            return self._probe_known[2]
        layers = find_layers(model)
        signatures = {} if is_called else signatures_of(layers)
        probe = probe_of(model, layers, variables, signatures=signatures, trace=known[2])
        self._probe_known = known[2], [*variables], probe
        return probe

    def put_back_values(self, model: tfk.Model, values: ModelValues) -> None:
        """Put the variables of a live model back to what they were; its optimizers stay as they are."""
        described = self._describe(model)
        put_back({**described.variables.model, **described.hidden}, values.arrays, path="the values kept in memory")

    def put_back(  # noqa: PLR0913 - what to put back, and how much of it
        self,
        model: tfk.Model,
        reader: CheckpointReader,
        *,
        is_weights_only: bool,
        skip_optimizer_mismatch: bool = False,
        compares_layers: bool = False,
        frozen: Iterable[str] = (),
    ) -> None:
        """Put a checkpoint of the model back into it.

        Args:
            model: The live model; layers that were not called yet are built as they were when it was saved.
            reader: The checkpoint.
            is_weights_only: Leave the optimizers as they are.
            skip_optimizer_mismatch: Put back of the optimizers' state what fits, with a warning of the rest.
            compares_layers: Refuse other layers of the same variables too, and warn of changed configurations and code.
            frozen: Paths of the layers that were not trained when it was saved: what optimizers keep for those that are
                trained now begins anew.

        Raises:
            VariableMismatchError: If the model has other variables than were saved. Nothing was put back.
            LayerMismatchError: If it has these variables, but other layers. Nothing was put back.
        """
        # All of it is read and compared before any of it is assigned: trouble must not leave half a restore.
        saved, path = reader.read_model(), str(reader.info.path)
        optimizer = None if is_weights_only else _of_present_optimizers(model, reader.read_optimizer(), path)
        recipe = recipe_of(reader, Request())
        make_variables(model, recipe, saved)
        found = self._describe(model).variables
        variables, saved = match_trackers(found, with_hidden_variables(found, model, saved).model, saved)
        slots: Mapping[str, tf.Variable] = {}
        require_fit(variables, saved, path=path)
        if compares_layers:
            differences = recipe.check_layers(find_layers(model), is_as_recorded=False)
            differences.report(path, skip_mismatch=False)
            kept = {id(layer): differences.arguments.get(place, ()) for place, layer in find_layers(model).items()}
        if optimizer is not None:
            slots = self._slots_for(model, optimizer, frozen=frozen)
            if not skip_optimizer_mismatch:
                require_fit(slots, optimizer, path=path)
        put_back(variables, saved, path=path)
        if compares_layers and recipe.trusts_all and not is_weights_only:
            _log_attributes(recipe.put_attributes(model, kept=kept), path)
        if optimizer is not None:
            put_back(slots, optimizer, path=path, skip_mismatch=skip_optimizer_mismatch)
        finish_preprocessing(model)

    def _slots_for(
        self, model: tfk.Model, saved: Mapping[str, Any], *, frozen: Iterable[str]
    ) -> Mapping[str, tf.Variable]:
        """Build the optimizers for the model of now, and give their variables but those that begin anew."""
        thawed = find_thawed(model, frozen)
        build_optimizers(model, saved, thawed=thawed.values())
        found = find_variables(model).optimizers
        prefixes = [f"{path}/" for path in given_optimizers(model)]
        new = tuple(prefix for prefix in prefixes if not any(name.startswith(prefix) for name in saved))
        return {
            path: slot
            for path, slot in found.items()
            if path in saved or not (is_slot_of(path, thawed) or path.startswith(new))
        }


def _of_present_optimizers(model: tfk.Model, saved: Arrays | None, path: str) -> Arrays | None:
    """Leave out what was saved of optimizers that were given by name then and are not now; name those that differ."""
    if saved is None:
        return None
    then = {"/".join(name.split("/")[:2]) for name in saved if is_of_given_optimizer(name)}
    now = {item for item in given_optimizers(model) if item in find_optimizers(model)}
    if then != now:
        names = ", ".join(sorted(name.partition("/")[2] for name in then)) or "none"
        given = ", ".join(sorted(name.partition("/")[2] for name in now)) or "none"
        _logger.warning(
            "%s has the state of these optimizers= of a loop: %s. Given now: %s. What is not among both begins anew.",
            *(path, names, given),
        )
    return {
        name: array
        for name, array in saved.items()
        if not is_of_given_optimizer(name) or "/".join(name.split("/")[:2]) in now
    }


def _log_attributes(changed: Sequence[str], path: str) -> None:
    if changed:
        shown = "; ".join(changed[:_MOST_LINES]) + (" ..." if len(changed) > _MOST_LINES else "")
        _logger.info("Put back from %s, for the training had set it: %s.", path, shown)


def _are_same(before: Sequence[Any], now: Sequence[Any]) -> bool:
    # By identity: variables compare by their elements.
    return len(before) == len(now) and all(map(operator.is_, before, now))
