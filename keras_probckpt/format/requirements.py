"""What a recipe would have run, and which variables it speaks of: read from plain values, running nothing."""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

from keras_probckpt.format import strict_json
from keras_probckpt.records import Requirement, VariableRecord

__all__ = ["TAG", "requirements_of", "variables_of"]

TAG = "$"

_UNNAMED = "<unnamed>"


def requirements_of(document: Any) -> tuple[Requirement, ...]:
    """List what a restore of this recipe would import or unpickle, wherever in it that stands.

    A node whose fields are missing or of a wrong type is listed all the same: what a restore might make of it must not
    depend on this scan's having understood it.

    Args:
        document: A recipe as decoded JSON.

    Returns:
        Each requirement once, in the order of the document.

    Example:
        >>> node = {"$": "import", "module": "mypkg.models", "name": "Regressor"}
        >>> [requirement.describe() for requirement in requirements_of({"model": [node, node]})]
        ['import mypkg.models.Regressor']
    """
    found: dict[Requirement, None] = {}
    # A stack of our own: recursion would let a deep document end the scan.
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            requirement = _requirement(node)
            if requirement is not None:
                found[requirement] = None
            pending.extend(reversed(node.values()))
        elif isinstance(node, list):
            pending.extend(reversed(node))
    return tuple(found)


def variables_of(
    document: Any, *, of: Literal["variables", "optimizer_variables"] = "variables"
) -> tuple[VariableRecord, ...]:
    """List the variables of the model, or of its optimizers, by a recipe's own account.

    Args:
        document: A recipe as decoded JSON.
        of: The key of the list.

    Raises:
        ValueError: If the recipe has no list of variables, or one of them is not of the form it must have.

    Example:
        >>> variables_of({"variables": [{"path": "layer-0/bias", "shape": [8], "dtype": "float32"}]})
        (VariableRecord(path='layer-0/bias', shape=(8,), dtype='float32'),)
    """
    entries = document.get(of) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f"the recipe's {of} are {strict_json.preview(entries)}, expected a list")  # noqa: TRY004 - a wrong file, not a wrong call
    variables = tuple(_variable(entry, place=f"{of}[{index}]") for index, entry in enumerate(entries))
    _require_distinct_paths(variables)
    return variables


def _requirement(node: dict[str, Any]) -> Requirement | None:
    tag = node.get(TAG)
    module, name = str(node.get("module", _UNNAMED)), str(node.get("name", _UNNAMED))
    if tag in ("import", "method"):
        return Requirement(kind="import", module=module, name=name)
    if tag == "pickle":
        return Requirement(kind="unpickle", module=module, name=name, source=str(node.get("source", "")))
    return None


def _variable(entry: object, *, place: str) -> VariableRecord:
    fields = entry if isinstance(entry, dict) else {}
    path, shape, dtype = fields.get("path"), fields.get("shape"), fields.get("dtype")
    if not isinstance(path, str) or not isinstance(dtype, str) or not _is_shape(shape):
        raise ValueError(f"the recipe's {place} is {strict_json.preview(entry)}, expected a path, a shape and a dtype")
    return VariableRecord(path=path, shape=tuple(shape), dtype=dtype)


def _is_shape(found: object) -> TypeGuard[list[int]]:
    return isinstance(found, list) and all(type(length) is int and length >= 0 for length in found)


def _require_distinct_paths(variables: tuple[VariableRecord, ...]) -> None:
    seen = set()
    for variable in variables:
        if variable.path in seen:
            raise ValueError(f"the recipe lists the variable {strict_json.preview(variable.path)} twice")
        seen.add(variable.path)
