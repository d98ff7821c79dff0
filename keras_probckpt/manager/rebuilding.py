"""From the files of a checkpoint to a working model: what a restore does, and a rehearsal as far as it goes.

The steps, each for both: make the model as the recipe says, call it symbolically so that it has all its variables,
compile it, find the place of each saved value, compare what it returns with what was recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.errors import MalformedRecipeError, OutputMismatchError
from keras_probckpt.recipe.differences import LayerDifferences
from keras_probckpt.recipe.document import RecipeReader
from keras_probckpt.recipe.trust import Trust
from keras_probckpt.storage.contents import CheckpointReader, UnwrittenCheckpoint
from keras_probckpt.training.allowance import allowance_for, variables_within
from keras_probckpt.training.assignment import (
    Specs,
    build_optimizers,
    finish_preprocessing,
    match_trackers,
    put_back,
)
from keras_probckpt.training.hidden import find_located, is_hidden_path, locate_layers, with_hidden_variables
from keras_probckpt.training.process_settings import seeded_if_needed
from keras_probckpt.training.variables import (
    find_layers,
    find_variables,
    is_of_given_optimizer,
    is_tracked_path,
    with_recipe_variables,
)

__all__ = [
    "Request",
    "load",
    "make_variables",
    "needs",
    "place",
    "rebuild",
    "recipe_of",
    "require_output",
    "saved_variables",
]


T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """How a caller wants a model restored; see `restore_best` for the fields."""

    builder: Callable[..., tfk.Model] | None = None
    custom_objects: Mapping[str, Any] | None = None
    trusted: bool | Iterable[str] | None = None
    compile: bool = True
    skip_mismatch: bool = False
    verify_outputs: bool = True


@seeded_if_needed()
def load(reader: CheckpointReader, request: Request) -> tfk.Model:
    """Rebuild the model of a checkpoint and put the saved values into it.

    Raises:
        CheckpointError: If that fails; each kind of trouble has its class, as `restore_best` lists them.
    """
    path = str(reader.info.path)
    recipe = recipe_of(reader, request)
    saved = reader.read_model()
    with recipe.policy(), contextlib.ExitStack() as limits:
        if request.builder is None and not recipe.trusts_all:
            limits.enter_context(variables_within(allowance_for(saved)))
        model, differences = rebuild(recipe, saved, request, path=path)
        optimizer = reader.read_optimizer() if request.compile and model._is_compiled else None
        put = functools.partial(put_back, path=path, skip_mismatch=request.skip_mismatch, layers=differences.all)
        is_complete = place(model, recipe, saved, optimizer, put=put, is_needed=needs(model, request))
        if is_complete:
            differences.report(path, skip_mismatch=request.skip_mismatch)
    if request.builder is None or recipe.trusts_all:
        recipe.put_trainable(find_layers(model), at_compile=False)
    finish_preprocessing(model)
    if request.verify_outputs and is_complete:
        variables = saved_variables(model, recipe, saved)
        values = _Values(variables)
        with recipe.policy():
            require_output(model, recipe, request, path=path, variables=variables, values=values)
    recipe.tell_settings(path)
    return model


class _Values(Mapping[str, Any]):
    """The values of variables by path, read when they are asked for."""

    def __init__(self, variables: Mapping[str, tf.Variable]) -> None:
        self._variables = variables

    def __getitem__(self, path: str) -> Any:
        return self._variables[path].read_value()

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def saved_variables(model: tfk.Model, recipe: RecipeReader, saved: Iterable[str]) -> Mapping[str, tf.Variable]:
    """Find the variables of a rebuilt model, those that only the recipe or plain Python leads to among them."""
    found, _ = with_recipe_variables(find_variables(model), recipe.variables)
    return with_hidden_variables(found, model, saved).model


def recipe_of(
    reader: CheckpointReader | UnwrittenCheckpoint, request: Request, *, finds_live: bool = True
) -> RecipeReader:
    """Read the recipe of a checkpoint, to be followed as far as the caller trusts it.

    Args:
        reader: The checkpoint.
        request: What the caller trusts, and gives instead.
        finds_live: As in `Trust`.
    """
    trust = Trust(
        reader.info,
        trusted=request.trusted,
        custom_objects=request.custom_objects,
        read_code=reader.read_code,
        finds_live=finds_live,
    )
    return RecipeReader(reader.read_recipe(), arrays=reader.read_recipe_arrays(), trust=trust)


def rebuild(recipe: RecipeReader, saved: Specs, request: Request, *, path: str) -> tuple[tfk.Model, LayerDifferences]:
    """Make the model that a recipe describes, with all its variables and compiled; none has its saved value yet.

    Where it has other layers or variables than were saved, though its code is the same, something was attached to it
    or replaced: then it is made once more, and is given what it held.

    Args:
        recipe: The recipe.
        saved: Values of the variables that were saved, or only their shapes and dtypes, by path.
        request: How the caller wants it.
        path: Of the checkpoint, for messages.

    Returns:
        The model, and how its layers differ from those that were saved.
    """
    if request.builder is None:
        recipe.require_trust(compiles=request.compile)
    has_spares = request.builder is None and recipe.has_spares
    try:
        made = _rebuilt(recipe, saved, request, path=path)
        if not has_spares or not _is_other(*made, saved):
            return made
    except MalformedRecipeError:
        # A call may need what was attached later.
        if not has_spares:
            raise
    recipe.begin_with_spares()
    return _rebuilt(recipe, saved, request, path=path)


def _is_other(model: tfk.Model, differences: LayerDifferences, saved: Specs) -> bool:
    """Whether a model of the same code has other variables than were saved, or layers made by other arguments."""
    if differences.is_other_code:
        return False
    found = find_variables(model)
    own = {path: item for path, item in found.model.items() if not found.is_of_tracker(path)}
    has_all = own.keys() <= saved.keys() and all(
        path in found.model and found.model[path].shape.is_compatible_with(item.shape)
        for path, item in saved.items()
        if is_tracked_path(path)
    )
    hidden = {path for path in saved if is_hidden_path(path)}
    lacks_hidden = bool(hidden) and not hidden <= find_located(model).keys()
    return bool(differences.all) or not has_all or lacks_hidden


def _rebuilt(
    recipe: RecipeReader, saved: Iterable[str], request: Request, *, path: str
) -> tuple[tfk.Model, LayerDifferences]:
    with recipe.policy():
        model = recipe.build(request.builder)
        is_made_by_file = request.builder is None or recipe.trusts_all
        if is_made_by_file:
            recipe.put_spares(model)
            recipe.put_attributes(model, only="absent")
        try:
            make_variables(model, recipe, saved)
        except MalformedRecipeError:
            # A call may need what its constructor left None. One that makes it itself must find it None.
            if not is_made_by_file:
                raise
            recipe.put_attributes(model, only="None")
            make_variables(model, recipe, saved)
        if is_made_by_file:
            recipe.put_aliases(model)
            recipe.put_attributes(model)
            recipe.put_trainable(find_layers(model), at_compile=True)
        if request.builder is None:
            recipe.add_losses(find_layers(model))
        # A builder that compiles knows best: it may use losses that no recipe can record.
        reason = recipe.compile(model) if request.compile and not model._is_compiled else ""
        if is_made_by_file:
            recipe.put_attributes(model)
        _make_hidden_variables(model, recipe, saved)
    if reason:
        warnings.warn(f"The model of {path} comes back uncompiled: {reason}.", stacklevel=6)
    return model, recipe.check_layers(find_layers(model), is_as_recorded=request.builder is None)


def make_variables(model: tfk.Model, recipe: RecipeReader, saved: Iterable[str]) -> None:
    """Call a model, or parts of it, symbolically until it has every variable that was saved and that it tracks."""
    tracked = {name for name in saved if is_tracked_path(name)}
    recipe.call_symbolically(
        lambda: find_layers(model),
        is_complete=lambda: (
            tracked <= find_variables(model).model.keys() and recipe.layer_paths <= find_layers(model).keys()
        ),
    )


def _make_hidden_variables(model: tfk.Model, recipe: RecipeReader, saved: Iterable[str]) -> None:
    """Call the layers that the model does not track, as the first training step did, until each has its variables."""
    hidden = {name for name in saved if is_hidden_path(name)}
    if hidden:
        recipe.call_symbolically(lambda: locate_layers(model), is_complete=lambda: hidden <= find_located(model).keys())


def place(  # noqa: PLR0913 - what to place, and the two things that a rehearsal does otherwise
    model: tfk.Model,
    recipe: RecipeReader,
    saved: Specs,
    optimizer: Specs | None,
    *,
    put: Callable[[Mapping[str, tf.Variable], Any], T],
    is_needed: Callable[[str], bool],
    build: Callable[[tfk.Model, Iterable[str]], None] = build_optimizers,
) -> T:
    """Find the variable for each saved value, of the model and then of its optimizers.

    Args:
        model: A model as `rebuild` gives it.
        recipe: The recipe it was made by.
        saved: Saved values of its variables by path, or only their shapes and dtypes.
        optimizer: Likewise of its optimizers' variables; None to leave those as they are.
        put: Called with variables and the saved values for them, both by path.
        is_needed: Whether the model must have a variable of this path.
        build: Makes the variables of the optimizers.

    Returns:
        What `put` returned for the model's variables.

    Raises:
        MalformedRecipeError: If a variable of the recipe is elsewhere now.
    """
    found, paths = with_recipe_variables(find_variables(model), recipe.variables)
    recipe.check_variables(dict(zip(sorted(recipe.variables), paths, strict=True)))
    variables, saved = match_trackers(found, with_hidden_variables(found, model, saved).model, saved)
    # What only the loss or the recorded constructor reached is of no use where neither was made.
    result = put(variables, {name: array for name, array in saved.items() if name in variables or is_needed(name)})
    if optimizer is not None:
        own = {name: array for name, array in optimizer.items() if not is_of_given_optimizer(name)}
        build(model, own)
        put(find_variables(model).optimizers, own)
    return result


def needs(model: tfk.Model, request: Request) -> Callable[[str], bool]:
    """Tell by its path whether a rebuilt model must have a variable that was saved.

    A function of the caller's may build a model that reaches its variables in other ways, and without its loss a model
    has none of the loss's.
    """
    is_as_recorded = request.builder is None and model._is_compiled
    return lambda path: is_tracked_path(path) or (is_as_recorded and is_hidden_path(path))


def require_output(  # noqa: PLR0913 - the model, and what its call is compared with
    model: tfk.Model,
    recipe: RecipeReader,
    request: Request,
    *,
    path: str,
    variables: Mapping[str, tf.Variable],
    values: Mapping[str, Any],
) -> None:
    """Compare what a rebuilt model returns with what was recorded: classes, shapes, and numbers on a fixed input.

    Args:
        model: The rebuilt model.
        recipe: The recipe it was made by.
        request: How the caller wants it.
        path: Of the checkpoint, for messages.
        variables: Its variables, by path.
        values: The saved values, by path.

    Raises:
        OutputMismatchError: If it returns something else; with `skip_mismatch` that is a warning.
    """
    differences = recipe.check_output(model, find_layers(model), variables, values=values)
    if differences:
        mismatch = OutputMismatchError(path=path, differences=tuple(differences))
        if not request.skip_mismatch:
            raise mismatch
        warnings.warn(f"skip_mismatch=True: the model is taken as it is. {mismatch}", stacklevel=5)
