"""Arguments of users' classes that add none to those of the Keras class they derive from, or keep them as they are.

The `get_config` that such a class inherits tells the truth if its constructor is inherited too, or hands its arguments
on under their own names, unchanged. Of what it does not hand on, a loss, a metric or the like may keep each argument
unchanged in an attribute of its own. Whether a class does is read from its source; where that is in doubt, nothing is
known.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras as tfk

from keras_probckpt.model.objects import is_of_library
from keras_probckpt.recipe.construction import accepted_arguments
from keras_probckpt.recipe.keras_objects import LAYER_KEYWORDS, keras_arguments
from keras_probckpt.recipe.sources import source_of

__all__ = ["inherited_arguments"]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def inherited_arguments(value: Any) -> dict[str, Any] | None:
    """Return the arguments of an object as the Keras class it derives from knows them; `None` where that is in doubt.

    Args:
        value: An object of a user's class without a `get_config` of its own. A model is never known in this way: what
            it consists of is up to its constructor. Nor is a Lambda layer: its configuration is code in text; nor what
            Keras has in no table of ours.
    """
    if isinstance(value, (tfk.Model, tfk.layers.Lambda)) or is_of_library(type(value)):
        return None
    names = _handed_on(type(value).__mro__)
    if not names:
        return None if names is None else {}
    kept = {name: attribute for name, attribute in names.items() if attribute}
    if kept and isinstance(value, tfk.layers.Layer) and not isinstance(value, tfk.metrics.Metric):
        return None  # What a layer keeps, such as another layer, may be what it made of an argument later.
    try:
        rest = frozenset(names.keys() - kept.keys())
        handed_on = keras_arguments(value, rest) if rest else {}
        return {**handed_on, **{name: getattr(value, attribute) for name, attribute in kept.items()}}
    except (NotImplementedError, AttributeError):  # Some of Keras's base classes leave `get_config` to the others.
        return None


def _handed_on(classes: Sequence[type]) -> dict[str, str] | None:
    """Name the arguments that reach the constructor of a library's class unchanged, through those before it.

    Returns:
        By the name of an argument the attribute that keeps it, empty for what a library's class keeps.
    """
    place = next(index for index, cls in enumerate(classes) if "__init__" in vars(cls))
    owner, rest = classes[place], classes[place + 1 :]
    if is_of_library(owner):
        names = accepted_arguments(owner) | (LAYER_KEYWORDS if issubclass(owner, tfk.layers.Layer) else frozenset())
        return dict.fromkeys(names, "")
    constructor = vars(owner)["__init__"]
    further, text = _handed_on(rest), source_of(constructor)
    if further is None or not text:
        return None
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    parent = next(cls for cls in rest if "__init__" in vars(cls))
    takes = list(inspect.signature(vars(parent)["__init__"]).parameters)[1:]
    return _Constructor(ast.parse(textwrap.dedent(text)), parameters).handed_on(takes, further)


class _Constructor:
    """The source of one constructor."""

    def __init__(self, tree: ast.AST, parameters: Sequence[inspect.Parameter]) -> None:
        self._nodes = list(ast.walk(tree))
        self._own = {parameter.name for parameter in parameters if parameter.kind in _BY_NAME}
        self._rest = {parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD}
        self._is_plain = len(self._own) + len(self._rest) == len(parameters)

    def handed_on(self, takes: Sequence[str], further: Mapping[str, str]) -> dict[str, str] | None:
        """Name what it takes and hands on or keeps unchanged; `None` if it does anything else with an argument.

        Args:
            takes: Parameters of the next constructor, in order.
            further: Those that are handed on from there, or kept.
        """
        calls = [node for node in self._nodes if isinstance(node, ast.Call) and _is_super(node.func)]
        args = [arg for made in calls for arg in made.args]
        words = [word for made in calls for word in made.keywords]
        is_one = len(calls) == 1 or (not calls and not further)  # Where nothing takes arguments, none need be passed.
        if not self._is_plain or not is_one or len(args) > len(takes) or self._is_changed():
            return None
        given = dict(zip(takes, args, strict=False))
        given.update({word.arg: word.value for word in words if word.arg is not None})
        spread = [word.value for word in words if word.arg is None]
        same = {name for name, node in given.items() if isinstance(node, ast.Name) and node.id == name} & self._own
        kept = {name: attribute for name, attribute in self._kept().items() if name not in same}
        fixed = given.keys() - same
        is_mixed = any(self._names_in(given[name]) - kept.keys() for name in fixed)
        passes_rest = [node.id for node in spread if isinstance(node, ast.Name)] == list(self._rest)
        if same | kept.keys() != self._own or is_mixed or not passes_rest or len(spread) != len(self._rest):
            return None
        names = same | (further.keys() - fixed if self._rest else set())
        return {**{name: further[name] for name in names}, **kept} if names <= further.keys() else None

    def _kept(self) -> dict[str, str]:
        """Name the arguments that become an attribute as they are, one that is set only once."""
        stores = [node for node in self._nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
        set_once = [node.attr for node in stores if [other.attr for other in stores].count(node.attr) == 1]
        return {
            item.value.id: target.attr
            for item in self._nodes
            if isinstance(item, ast.Assign) and isinstance(item.value, ast.Name) and item.value.id in self._own
            for target in item.targets
            if isinstance(target, ast.Attribute) and target.attr in set_once and _is_self(target.value)
        }

    def _is_changed(self) -> bool:
        """Whether a parameter is assigned to, or the rest of them used for anything but to be handed on."""
        names = [node for node in self._nodes if isinstance(node, ast.Name) and node.id in self._own | self._rest]
        is_assigned = any(not isinstance(node.ctx, ast.Load) for node in names)
        return is_assigned or sum(node.id in self._rest for node in names) > len(self._rest)

    def _names_in(self, node: ast.AST) -> set[str]:
        names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
        return names & (self._own | self._rest)


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_super(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "__init__"
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "super"
    )
