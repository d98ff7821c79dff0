"""The state of a live model: as the contents of a checkpoint, and put back from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tf_keras as tfk

from keras_probckpt.recipe.document import Recipe, RecipeBook, RecipeReader
from keras_probckpt.recipe.trust import Trust
from keras_probckpt.storage.contents import CheckpointReader, Contents
from keras_probckpt.training.assignment import build_optimizers, finish_preprocessing, put_back
from keras_probckpt.training.hidden import find_hidden, with_hidden_variables
from keras_probckpt.training.snapshot import snapshot_of
from keras_probckpt.training.variables import (
    ModelVariables,
    find_layers,
    find_variables,
    is_tracked_path,
    with_recipe_variables,
)

__all__ = ["LiveState"]


class LiveState:
    """Takes and puts back the state of a model that is being trained.

    Args:
        builder: The function that built it, recorded in place of its layers.
        builder_kwargs: Keyword arguments the builder was called with.
    """

    def __init__(
        self, *, builder: Callable[..., tfk.Model] | None = None, builder_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self._recipes = RecipeBook(builder=builder, builder_kwargs=builder_kwargs)

    def take(self, model: tfk.Model, *, is_weights_only: bool, training: Mapping[str, Any]) -> Contents:
        """Take the state of a model as it is now, without copying it.

        Args:
            model: The live model.
            is_weights_only: Leave out the optimizers and where training stands.
            training: Where training stands, as plain JSON values.

        Raises:
            UnrecordableError: If some part of the model cannot be written down.
        """
        recipe, variables, paths = self._described(model)
        hidden = find_hidden(model, (*variables.model.values(), *variables.optimizers.values()))
        return Contents(
            recipe={**recipe.document, "recipe_variables": paths},
            recipe_arrays=recipe.arrays,
            code=recipe.code,
            model=snapshot_of({**variables.model, **hidden}),
            optimizer=None if is_weights_only else snapshot_of(variables.optimizers),
            training=None if is_weights_only else training,
        )

    def _described(self, model: tfk.Model) -> tuple[Recipe, ModelVariables, list[str]]:
        found = find_variables(model)
        recipe = self._recipes.recipe_of(
            model, paths=(*found.model, *found.optimizers), find_layers=lambda: find_layers(model)
        )
        return recipe, *with_recipe_variables(found, dict(enumerate(recipe.variables)))

    def put_back(self, model: tfk.Model, reader: CheckpointReader, *, is_weights_only: bool) -> None:
        """Put a checkpoint of the model back into it.

        Args:
            model: The live model; layers that were not called yet are built as they were when it was saved.
            reader: The checkpoint.
            is_weights_only: Leave the optimizers as they are.

        Raises:
            VariableMismatchError: If the model has other variables than were saved.
        """
        saved, path = reader.read_model(), str(reader.info.path)
        _build(model, reader, {name for name in saved if is_tracked_path(name)})
        _, variables, _ = self._described(model)
        put_back(with_hidden_variables(variables, model, saved).model, saved, path=path)
        optimizer = None if is_weights_only else reader.read_optimizer()
        if optimizer is not None:
            build_optimizers(model, optimizer)
            put_back(find_variables(model).optimizers, optimizer, path=path)
        finish_preprocessing(model)


def _build(model: tfk.Model, reader: CheckpointReader, tracked: set[str]) -> None:
    trust = Trust(reader.info, read_code=reader.read_code)
    recipe = RecipeReader(reader.read_recipe(), arrays=reader.read_recipe_arrays(), trust=trust)
    recipe.call_symbolically(
        lambda: find_layers(model), is_complete=lambda: tracked <= find_variables(model).model.keys()
    )
