"""How the layers of a rebuilt model differ from those that were saved: two descriptions, compared by path."""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from keras_probckpt.errors import LayerMismatchError, MalformedRecipeError
from keras_probckpt.recipe.codec import Node, field
from keras_probckpt.recipe.sources import is_same_code

__all__ = ["LayerDifferences", "checked_description", "layer_differences"]

_LIBRARIES = ("tf_keras.", "tfp.", "tf.", "tensorflow_probability.", "tensorflow.", "keras.")
_CONTAINERS = {"tf_keras.Sequential", "tf_keras.Functional"}  # They are no more than their layers.
_LIMIT_TEXT = 160
_LIMIT_LINES = 40
_MOST_LINES_COMPARED = 1000
# Which layers are trained is recorded by itself, and put back.
_TRAINABLE = "trainable"
_NOT_GIVEN = object()
_RECORDED, _REBUILT = 0, 1


@dataclasses.dataclass(frozen=True)
class LayerDifferences:
    """What differs, in words, by path.

    Attributes:
        layers: Layers that are missing, added or of another class: they make the model another one.
        changes: Configurations and code that changed, though the layers are of the same classes.
        is_other_code: Whether code is among it.
        arguments: Names of the arguments that changed, by path of the layer.
    """

    layers: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    is_other_code: bool = False
    arguments: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)

    @property
    def all(self) -> tuple[str, ...]:
        """Everything that differs, the gravest first."""
        return (*self.layers, *self.changes)

    def report(self, path: str, *, skip_mismatch: bool) -> None:
        """Tell the differences of a model whose variables fit.

        Args:
            path: Of the checkpoint.
            skip_mismatch: Whether even another model is wanted.

        Raises:
            LayerMismatchError: If it is another model.
        """
        if self.layers:
            mismatch = LayerMismatchError(path=path, layers=self.all)
            if not skip_mismatch:
                raise mismatch
            warnings.warn(f"skip_mismatch=True: the model is taken as it is. {mismatch}", stacklevel=5)
        elif self.changes:
            lines = "\n".join(f"  - {change}" for change in self.changes[:_LIMIT_LINES])
            warnings.warn(
                f"The model rebuilt from {path} is not all that was saved, though the saved variables fit and were "
                f"loaded:\n{lines}\nIf what changed is not meant to, restore with the code it was saved with.",
                stacklevel=5,
            )


def checked_description(description: Node) -> dict[str, Node]:
    """Return a recipe's description, which must be of the form that `describe_layers` gives it.

    Raises:
        MalformedRecipeError: If it is not.
    """
    where = "description"
    if not isinstance(description, dict):
        raise MalformedRecipeError(where=where, problem=f"it is an object, not {description!r:.80}")
    field(description, "compile", dict, where)
    for path, layer in field(description, "layers", dict, where).items():
        _check_entry(layer, {"class": str, "config": dict}, f"{where}.layers[{path!r}]")
    for index, function in enumerate(field(description, "functions", list, where)):
        _check_entry(function, {"name": str, "source": str, "uses": dict}, f"{where}.functions[{index}]")
    return description


def _check_entry(entry: Node, fields: Mapping[str, type], where: str) -> None:
    if not isinstance(entry, dict):
        raise MalformedRecipeError(where=where, problem=f"it is an object, not {entry!r:.80}")
    for name, kind in fields.items():
        field(entry, name, kind, where)


def layer_differences(
    recorded: dict[str, Node],
    rebuilt: dict[str, Node],
    *,
    replacements: Collection[str] = (),
    put_back: Sequence[str] = (),
) -> LayerDifferences:
    """Compare what was saved with what was rebuilt, as `describe_layers` describes them.

    Args:
        recorded: The description in a recipe, checked.
        rebuilt: That of the rebuilt model.
        replacements: Names of classes that the caller put in place of others.
        put_back: What the constructors made otherwise than it was saved, and that was put back. A training may have set
            it, so it is told only where something else differs: then the code has changed.

    Raises:
        MalformedRecipeError: If the recorded description refers to what is not in it.
    """
    return _Comparison(recorded, rebuilt, replacements).differences(put_back)


class _Comparison:
    """Compares two descriptions; each pair of functions once, wherever they are used."""

    def __init__(self, recorded: dict[str, Node], rebuilt: dict[str, Node], replacements: Collection[str]) -> None:
        self._recorded, self._rebuilt, self._replacements = recorded, rebuilt, replacements
        self._places: dict[tuple[int, int], list[str]] = {}
        self._arguments: dict[str, set[str]] = {}

    def differences(self, put_back: Sequence[str]) -> LayerDifferences:
        layers, configs = tuple(self._other_layers()), tuple(self._configs())
        code = tuple(self._code())
        is_other_builder = self._is_other_builder()
        is_changed = bool(layers or configs or code) or is_other_builder
        changes = (*configs, *(put_back if is_changed else ()), *code)
        is_other_code = bool(code) or is_other_builder
        return LayerDifferences(layers, changes, is_other_code=is_other_code, arguments=self._arguments)

    def _is_other_builder(self) -> bool:
        """Whether the function that built the model reads otherwise: told is only what that makes of the model."""
        numbers = [side.get("builder") for side in (self._recorded, self._rebuilt)]
        if not all(isinstance(number, dict) and type(number.get("function")) is int for number in numbers):
            return False
        saved, rebuilt = (self._entry(side, number["function"]) for side, number in enumerate(numbers) if number)
        return not is_same_code(saved["source"], rebuilt["source"])

    def _other_layers(self) -> Iterator[str]:
        before, after = self._recorded["layers"], self._rebuilt["layers"]
        told: tuple[str, ...] = ()
        for path in dict.fromkeys((*before, *after)):
            saved, rebuilt = (found.get(path, {}).get("class") for found in (before, after))
            if not path.startswith(told) and not self._is_same_class(saved, rebuilt):
                told += (f"{path}/",) if path else ()
                yield f"{path or 'model'}: saved {saved or 'no such layer'}, rebuilt {rebuilt or 'no such layer'}"

    def _is_same_class(self, saved: Any, rebuilt: Any) -> bool:
        if saved == rebuilt or rebuilt in self._replacements or {saved, rebuilt} <= _CONTAINERS:
            return True
        is_users = not str(saved).startswith(_LIBRARIES) and not str(rebuilt).startswith(_LIBRARIES)
        return is_users and _last(saved) == _last(rebuilt)  # A module may be moved.

    def _configs(self) -> Iterator[str]:
        before, after = self._recorded["layers"], self._rebuilt["layers"]
        for path in before:
            if path in after and self._is_same_class(before[path]["class"], after[path]["class"]):
                for name, line in self._by_argument(path or "model", before[path], after[path]):
                    self._arguments.setdefault(path, set()).add(name)
                    yield line
        for name, saved in self._recorded["compile"].items():
            if name in self._rebuilt["compile"]:
                yield from self._value(f"compile.{name}", saved, self._rebuilt["compile"][name])

    def _object(self, place: str, saved: dict[str, Node], rebuilt: dict[str, Node]) -> Iterator[str]:
        """Compare two layers or other objects of one class."""
        yield from (line for _, line in self._by_argument(place, saved, rebuilt))

    def _by_argument(self, place: str, saved: dict[str, Node], rebuilt: dict[str, Node]) -> Iterator[tuple[str, str]]:
        """Compare two objects of one class: what differs, each with the name of the argument."""
        one, other = _config(saved), _config(rebuilt)
        for key in dict.fromkeys((*one, *other)):
            # Keras writes every argument down: one that is new has come with another version of it.
            if key == _TRAINABLE:
                continue
            if (key in one and key in other) or not str(rebuilt.get("class")).startswith("tf_keras."):
                values = one.get(key, _NOT_GIVEN), other.get(key, _NOT_GIVEN)
                yield from ((key, line) for line in self._value(f"{place}.{key}", *values))
        if "code" in saved and "code" in rebuilt:
            values = {"function": saved["code"]}, {"function": rebuilt["code"]}
            yield from (("", line) for line in self._value(place, *values))

    def _value(self, place: str, saved: Node, rebuilt: Node) -> Iterator[str]:
        if isinstance(saved, list) and isinstance(rebuilt, list) and len(saved) == len(rebuilt):
            for index, (one, other) in enumerate(zip(saved, rebuilt, strict=True)):
                yield from self._value(f"{place}[{index}]", one, other)
        elif not isinstance(saved, dict) or not isinstance(rebuilt, dict):
            if saved != rebuilt and not _is_one_name(saved, rebuilt):
                yield self._line(place, saved, rebuilt)
        elif type(saved.get("function")) is int and type(rebuilt.get("function")) is int:
            yield from self._function(place, saved["function"], rebuilt["function"])
        elif "class" in saved and "class" in rebuilt:
            yield from self._classed(place, saved, rebuilt)
        else:
            for key in dict.fromkeys((*saved, *rebuilt)):
                yield from self._value(f"{place}.{key}", saved.get(key, _NOT_GIVEN), rebuilt.get(key, _NOT_GIVEN))

    def _classed(self, place: str, saved: dict[str, Node], rebuilt: dict[str, Node]) -> Iterator[str]:
        if self._class_of(saved, _RECORDED) == self._class_of(rebuilt, _REBUILT):
            if isinstance(saved["class"], dict):
                yield from self._value(place, saved["class"], rebuilt["class"])
            yield from self._object(place, saved, rebuilt)
        else:
            yield self._line(place, saved, rebuilt)

    def _function(self, place: str, saved: int, rebuilt: int) -> Iterator[str]:
        names = [self._entry(side, number)["name"] for side, number in ((_RECORDED, saved), (_REBUILT, rebuilt))]
        self._places.setdefault((saved, rebuilt), []).append(place)
        if _last(names[0]) != _last(names[1]):
            yield f"{place}: saved {names[0]}, rebuilt {names[1]}"

    def _code(self) -> Iterator[str]:
        """Compare each pair of functions and what they use, which may be further functions."""
        done = 0
        while done < len(self._places):
            saved, rebuilt = list(self._places)[done]
            before, after = self._entry(_RECORDED, saved), self._entry(_REBUILT, rebuilt)
            if not is_same_code(before["source"], after["source"]):
                yield _changed_code(after["name"], self._places[saved, rebuilt], before["source"], after["source"])
            for name in before["uses"]:
                if name in after["uses"]:
                    yield from self._value(f"{after['name']}: {name}", before["uses"][name], after["uses"][name])
            done += 1

    def _entry(self, side: int, number: int) -> dict[str, Node]:
        functions = (self._recorded, self._rebuilt)[side]["functions"]
        if not 0 <= number < len(functions):
            raise MalformedRecipeError(where="description", problem=f"it has no function {number}")
        return dict(functions[number])

    def _line(self, place: str, saved: Node, rebuilt: Node) -> str:
        return f"{place}: saved {self._shown(saved, _RECORDED)}, rebuilt {self._shown(rebuilt, _REBUILT)}"

    def _shown(self, value: Node, side: int) -> str:
        if value is _NOT_GIVEN:
            return "nothing"
        if isinstance(value, dict) and type(value.get("function")) is int:
            return str(self._entry(side, value["function"])["name"])
        if isinstance(value, dict) and "class" in value:
            given = ", ".join(f"{key}={self._shown(item, side)}" for key, item in _config(value).items())
            return _shortened(f"{self._class_of(value, side)}({given})")
        return _shortened(repr(_last(value) if _is_library_name(value) else value))

    def _class_of(self, described: dict[str, Node], side: int) -> str:
        name = described["class"]
        return _last(self._shown(name, side) if isinstance(name, dict) else name)


def _config(described: dict[str, Node]) -> dict[str, Node]:
    config = described.get("config")
    return config if isinstance(config, dict) else {}


def _changed_code(name: str, places: Sequence[str], saved: str, rebuilt: str) -> str:
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    # The time that a comparison takes grows with the square of the lines.
    before, after = (text.splitlines()[:_MOST_LINES_COMPARED] for text in (saved, rebuilt))
    lines = list(difflib.unified_diff(before, after, "saved", "rebuilt", n=_LIMIT_LINES, lineterm=""))
    shown = [line for line in lines if not line.startswith("@@")]
    cut = ["..."] if len(shown) > _LIMIT_LINES else []
    text = textwrap.indent("\n".join([*shown[:_LIMIT_LINES], *cut]), "      ")
    return f"the code of {name}, of {places[0]}{more}:\n{text}"


def _is_one_name(saved: Node, rebuilt: Node) -> bool:
    """Whether both are names of a library's function: the same function may be found in several places there."""
    return _is_library_name(saved) and _is_library_name(rebuilt) and _last(saved) == _last(rebuilt)


def _is_library_name(value: Node) -> bool:
    return isinstance(value, str) and value.startswith(_LIBRARIES)


def _last(name: Any) -> str:
    return str(name).rpartition(".")[2]


def _shortened(text: str) -> str:
    return text if len(text) <= _LIMIT_TEXT else f"{text[:_LIMIT_TEXT]}..."
