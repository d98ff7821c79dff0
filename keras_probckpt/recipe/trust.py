"""Which code named by a recipe may run.

Nothing here trusts a name because its module happens to be imported. A class or function is taken, in this order, from
what the caller gave (`custom_objects`), from the registries user code filled itself (`ProbModelMixin`,
`register_keras_serializable`, `builder`), and only then, where the checkpoint is trusted, from an import or from
`code.pickle`.
"""

from __future__ import annotations

import functools
import importlib
import io
import logging
import pickle
import platform
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tf_keras as tfk

from keras_probckpt.errors import CheckpointError, MalformedRecipeError, UntrustedCheckpointError
from keras_probckpt.format.requirements import requirements_of
from keras_probckpt.model.objects import is_of_library
from keras_probckpt.recipe.code_uses import label_of
from keras_probckpt.recipe.codec import TAG, Decoder, Node, field
from keras_probckpt.recipe.functions import is_referable, remember_reference
from keras_probckpt.recipe.importing import SCRIPTS, find_attribute, import_names
from keras_probckpt.recipe.likeness import additions_alone, differing_parts
from keras_probckpt.recipe.methods import bind_method
from keras_probckpt.recipe.registry import classes_unpickled_as, find_registered, pickled_classes
from keras_probckpt.recipe.sources import source_of
from keras_probckpt.records import CheckpointInfo, Requirement

__all__ = ["Trust"]

_logger = logging.getLogger("keras_probckpt")

_DEFINITIONS = (type, types.FunctionType)


class Trust:
    """What one restore may import and unpickle.

    Attributes:
        trusts_all: Whether everything is allowed that the checkpoint asks for.

    Args:
        info: The checkpoint; its signature counts.
        trusted: The caller's word: `True` for everything, or names of modules (a package stands for its modules too).
        custom_objects: What the caller gives instead, by `module.name`, qualified name or last name.
        read_code: Returns the bytes of `code.pickle`. Called only after it was allowed.
        finds_live: Whether what this process defined and registered may stand for what is recorded. False is how
            another script would find it.
    """

    def __init__(
        self,
        info: CheckpointInfo,
        *,
        trusted: bool | Iterable[str] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        read_code: Callable[[], bytes],
        finds_live: bool = True,
    ) -> None:
        self._info = info
        self._finds_live = finds_live
        self.trusts_all = trusted is True or info.signature == "own"
        self._modules = frozenset() if trusted is None or isinstance(trusted, bool) else _module_names(trusted)
        self._custom_objects = dict(custom_objects or {})
        self._read_code = read_code
        self._values: dict[int, Any] = {}
        self._classes: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()

    @property
    def replacements(self) -> frozenset[str]:
        """Names of the classes and functions that the caller gives in place of others."""
        return frozenset(label_of(value) for value in self._custom_objects.values())

    def check(self, document: Node, *, alternative: str = "") -> None:
        """Refuse a recipe that asks for more than is allowed, before any of it is followed.

        Args:
            document: The recipe, or the part of it that is about to be followed.
            alternative: What the caller may pass to do without it.

        Raises:
            UntrustedCheckpointError: With all that it asks for beyond what is allowed. Nothing was run.
        """
        wanted = dict.fromkeys(
            requirement
            for node in _reference_nodes(document)
            if self._given(node) is None
            for requirement in requirements_of(node)
            if not self._allows(requirement)
        )
        if wanted:
            modules = sorted({requirement.module for requirement in wanted})
            is_import = all(requirement.kind == "import" for requirement in wanted)
            raise UntrustedCheckpointError(
                path=str(self._info.path),
                reason=_REASONS[self._info.signature],
                requirements=tuple(requirement.describe() for requirement in wanted),
                allow=(f"trusted={modules!r}" if is_import else "trusted=True") + alternative,
            )

    def resolve(self, node: dict[str, Node], decoder: Decoder, where: str) -> Any:
        """Return the class or function that a reference node names.

        Raises:
            MalformedRecipeError: If there is no such thing here.
            UntrustedCheckpointError: If it is not allowed.
        """
        given = self._given(node)
        if given is not None:
            return given
        self.check(node)
        if node[TAG] == "pickle":
            if self._is_of_other_python and (live := self._live(node)) is not None and _has_recorded_text(live, node):
                return live
            value = self._unpickled(field(node, "index", int, where), decoder, where)
            remember_reference(value, node)
            return value
        if node[TAG] == "method":
            return bind_method(node, decoder, where)
        return self._imported(field(node, "module", str, where), field(node, "name", str, where), where)

    def _imported(self, module_name: str, name: str, where: str) -> Any:
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise MalformedRecipeError(
                where=where, problem=f"the module {module_name!r} cannot be imported here: {error}"
            ) from error
        found = find_attribute(module, name)
        # What a module merely imported is not its own: trusting `mypkg.models` is no trust in the `os` it imports.
        # In one's own checkpoint it was once defined there, and has moved.
        is_its_own = self._info.signature == "own" or (module_name, name) in import_names(found)
        if found is None or not is_referable(found) or not is_its_own:
            raise MalformedRecipeError(where=where, problem=f"the module {module_name!r} does not define {name!r}")
        return found

    def _allows(self, requirement: Requirement) -> bool:
        if self.trusts_all:
            return True
        names = requirement.module.split(".")
        parents = {".".join(names[: length + 1]) for length in range(len(names))}
        return requirement.kind == "import" and not parents.isdisjoint(self._modules)

    def _given(self, node: dict[str, Node]) -> Any:
        module, name = str(node.get("module")), str(node.get("name"))
        for key in (f"{module}.{name}", name, name.rpartition(".")[2]):
            if key in self._custom_objects:
                return self._custom_objects[key]
        if node[TAG] == "method":
            return None  # To register a class is to let it be made, not to let a file call its methods.
        if self.trusts_all and node[TAG] == "pickle":
            return None  # The recorded one is at hand: `_unpickled` compares.
        found = self._live(node)
        if not self.trusts_all and (_is_lambda(found) or is_of_library(found)):
            return None
        is_recorded = node[TAG] != "pickle" or _has_recorded_text(found, node)
        return found if is_referable(found) and is_recorded else None

    def _live(self, node: dict[str, Node]) -> Any:
        """Return what this process has under the name that a node gives; `None` if it has nothing."""
        if not self._finds_live:
            return None
        module, name = str(node.get("module")), str(node.get("name"))
        found = find_registered(str(node.get("registered")), f"{module}>{name}")
        if found is None and module in SCRIPTS and self.trusts_all:
            found = find_attribute(sys.modules["__main__"], name)
        return found

    @property
    def _is_of_other_python(self) -> bool:
        written = self._info.versions.get("python")
        return written is not None and written.split(".")[:2] != platform.python_version().split(".")[:2]

    def _unpickled(self, index: int, decoder: Decoder, where: str) -> Any:
        if index not in self._values:
            if not 0 <= index < len(self._code):
                raise MalformedRecipeError(where=where, problem=f"code.pickle holds no item {index}")
            recorded = self._load(self._code[index], decoder, where)
            self._values[index] = self._live_one_of(recorded) if isinstance(recorded, _DEFINITIONS) else recorded
        return self._values[index]

    def _live_one_of(self, recorded: Any) -> Any:
        """Return the class or function of this process that does what the recorded one does, or the recorded one.

        So a script that defines the classes of its models again finds objects of these classes.
        """
        if not self._finds_live:
            return recorded
        module, name = recorded.__module__, recorded.__qualname__
        named = self._live({"module": module, "name": name})
        for live in (named, *pickled_classes(module, name)):
            if not isinstance(live, _DEFINITIONS) or isinstance(live, type) is not isinstance(recorded, type):
                continue
            parts = differing_parts(live, recorded)
            if not parts or additions_alone(live, recorded, parts):
                return live
            if live is named and any(parts.values()):
                _tell_of_another(recorded, [part for part, is_certain in parts.items() if is_certain])
        return recorded

    @functools.cached_property
    def _code(self) -> Sequence[bytes]:
        # Only `resolve` comes here, after it has checked that this checkpoint may run code.
        items = self._loads("code.pickle", pickle.Unpickler(io.BytesIO(self._read_code())))  # noqa: S301 - see above
        if not isinstance(items, list) or not all(isinstance(item, bytes) for item in items):
            raise MalformedRecipeError(where="code.pickle", problem="it does not hold a list of pickles")
        return items

    def _load(self, content: bytes, decoder: Decoder, where: str) -> Any:
        def find(kind: str, number: int) -> Any:
            return decoder.external(number, where) if kind == "external" else self._unpickled(number, decoder, where)

        return self._loads(where, _Unpickler(content, find=find))

    def _loads(self, where: str, unpickler: pickle.Unpickler) -> Any:
        try:
            with classes_unpickled_as(self._classes):
                return unpickler.load()
        except CheckpointError:
            raise
        except Exception as error:
            written, here = self._info.versions.get("python", "unknown"), platform.python_version()
            problem = f"its code cannot be unpickled here ({error})"
            if written.split(".")[:2] != here.split(".")[:2]:
                problem += (
                    f"; it was pickled by Python {written}, this is Python {here}, and pickled code is not portable"
                )
            raise MalformedRecipeError(where=where, problem=problem) from error


class _Unpickler(pickle.Unpickler):
    """Unpickles one function or class; what it refers to by number is found elsewhere."""

    def __init__(self, content: bytes, *, find: Callable[[str, int], Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._find = find

    def persistent_load(self, pid: tuple[str, int]) -> Any:
        kind, number = pid
        return self._find(kind, number)


_REASONS = {
    "own": "it asks for code",
    "foreign": "it needs code, and it was signed with a key that is not one of yours",
    "unsigned": "it needs code, and nobody signed it",
}


def _module_names(trusted: Iterable[str]) -> frozenset[str]:
    if isinstance(trusted, str):
        message = f"trusted is True or a list of module names, got the string {trusted!r}: write trusted=[{trusted!r}]."
        raise TypeError(message)
    return frozenset(trusted)


def _reference_nodes(document: Node) -> Iterable[dict[str, Node]]:
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get(TAG) in ("import", "pickle", "method"):
                yield node
            pending.extend(reversed(node.values()))
        elif isinstance(node, list):
            pending.extend(reversed(node))


def _is_lambda(found: Any) -> bool:
    """Whether Keras and TFP make functions of text that objects of a class are given, by whatever argument."""
    return isinstance(found, type) and issubclass(found, tfk.layers.Lambda)


def _has_recorded_text(found: Any, node: dict[str, Node]) -> bool:
    """Whether the text of a live definition is the recorded one; where either is unknown it may be any."""
    return bool(node.get("source")) and source_of(found) == node["source"]


def _tell_of_another(recorded: Any, parts: Sequence[str]) -> None:
    name = recorded.__qualname__
    _logger.warning(
        "The %s that was saved is not the one of this script: they differ in %s. The saved one is taken. To take that "
        "of this script, pass custom_objects={%r: %s}.",
        name,
        ", ".join(parts),
        name,
        name,
    )
