"""The state of a live model: as the contents of a checkpoint, and put back from one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.manager.rebuilding import Request, make_variables, recipe_of
from keras_probckpt.recipe.compare import variables_read
from keras_probckpt.recipe.data import encode_data
from keras_probckpt.recipe.document import Recipe, RecipeBook
from keras_probckpt.storage.contents import CheckpointReader, Contents
from keras_probckpt.training.assignment import build_optimizers, finish_preprocessing, put_back, require_fit
from keras_probckpt.training.hidden import find_hidden, find_hidden_layers, with_hidden_variables
from keras_probckpt.training.inventory import VariableInventory
from keras_probckpt.training.randomness import TraceCounters, find_trace_counters, random_state, trace_counter_values
from keras_probckpt.training.snapshot import Snapshot, snapshot_of
from keras_probckpt.training.used import used_variables
from keras_probckpt.training.variables import (
    ModelVariables,
    find_layers,
    find_variables,
    with_recipe_variables,
)

__all__ = ["LiveState", "ModelValues"]


@dataclasses.dataclass(frozen=True)
class ModelValues:
    """A model at one moment.

    Attributes:
        recipe: How to rebuild it.
        recipe_variables: Path of each variable that the recipe has a node for.
        arrays: Values of its variables by path.
    """

    recipe: Recipe
    recipe_variables: Sequence[str]
    arrays: Snapshot


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
        self._inventory = VariableInventory()
        self._counted: tuple[ModelVariables | None, TraceCounters] = None, {}
        self._read: tuple[ModelVariables | None, Sequence[tf.Variable]] = None, ()

    def take_values(self, model: tfk.Model) -> ModelValues:
        """Take the recipe of a model and the values of its variables as they are now, without copying them.

        Args:
            model: The live model.

        Raises:
            UnrecordableError: If some part of the model cannot be written down.
        """
        recipe, variables, paths = self._described(model)
        known = (*variables.model.values(), *variables.optimizers.values())
        hidden = find_hidden(model, known, self._used(model))
        return ModelValues(recipe, paths, snapshot_of({**variables.model, **hidden}))

    def take(
        self,
        model: tfk.Model,
        *,
        values: ModelValues,
        training: Mapping[str, Any] | None,
        data_position: bytes | None = None,
    ) -> Contents:
        """Take the state of the optimizers and of the training as they are now, and lay it beside the model's.

        Args:
            model: The live model.
            values: What `take_values` returned.
            training: Where training stands, as plain values and arrays; None leaves it out, and the optimizers too.
            data_position: Position of the data iterator.

        Raises:
            UnrecordableError: If some part of the training cannot be written down.
        """
        contents = Contents(
            recipe={**values.recipe.document, "recipe_variables": values.recipe_variables},
            recipe_arrays=values.recipe.arrays,
            code=values.recipe.code,
            model=values.arrays,
            optimizer=None,
            training=None,
            size_bytes=values.arrays.size_bytes,
        )
        if training is None:
            return contents
        found = self._inventory.find(model)
        if found is not self._counted[0]:
            self._counted = found, find_trace_counters(model)
        counters = trace_counter_values(self._counted[1])
        nodes, arrays = encode_data(
            {**training, "random": random_state(), "trace_counters": counters}, where="training"
        )
        optimizer = snapshot_of(found.optimizers)
        return dataclasses.replace(
            contents,
            optimizer=optimizer,
            size_bytes=contents.size_bytes + optimizer.size_bytes,
            training=nodes,
            training_arrays=arrays,
            data_position=data_position,
        )

    def _described(self, model: tfk.Model) -> tuple[Recipe, ModelVariables, list[str]]:
        found = self._inventory.find(model)
        recipe = self._recipes.recipe_of(
            model,
            paths=(*found.model, *found.optimizers),
            find_layers=lambda: find_layers(model),
            find_others=lambda: find_hidden_layers(
                model, (*found.model.values(), *found.optimizers.values()), self._used(model)
            ),
        )
        return recipe, *with_recipe_variables(found, dict(enumerate(recipe.variables)))

    def _used(self, model: tfk.Model) -> Sequence[tf.Variable]:
        """Find the variables that training uses: its train step, or in a loop of the user's a call of the model."""
        used = used_variables(model)
        if used:
            return used
        found = self._inventory.find(model)
        if found is not self._read[0]:
            self._read = found, variables_read(model)
        return self._read[1]

    def put_back(
        self,
        model: tfk.Model,
        reader: CheckpointReader,
        *,
        is_weights_only: bool,
        skip_optimizer_mismatch: bool = False,
        compares_layers: bool = False,
    ) -> None:
        """Put a checkpoint of the model back into it.

        Args:
            model: The live model; layers that were not called yet are built as they were when it was saved.
            reader: The checkpoint.
            is_weights_only: Leave the optimizers as they are.
            skip_optimizer_mismatch: Put back of the optimizers' state what fits, with a warning of the rest.
            compares_layers: Refuse other layers of the same variables too, and warn of changed configurations and code.

        Raises:
            VariableMismatchError: If the model has other variables than were saved. Nothing was put back.
            LayerMismatchError: If it has these variables, but other layers. Nothing was put back.
        """
        # All of it is read and compared before any of it is assigned: trouble must not leave half a restore.
        saved, path = reader.read_model(), str(reader.info.path)
        optimizer = None if is_weights_only else reader.read_optimizer()
        recipe = recipe_of(reader, Request())
        make_variables(model, recipe, saved)
        _, described, _ = self._described(model)
        variables = with_hidden_variables(described, model, saved).model
        slots: Mapping[str, tf.Variable] = {}
        require_fit(variables, saved, path=path)
        if compares_layers:
            recipe.check_layers(find_layers(model), is_as_recorded=False).report(path, skip_mismatch=False)
        if optimizer is not None:
            build_optimizers(model, optimizer)
            slots = find_variables(model).optimizers
            if not skip_optimizer_mismatch:
                require_fit(slots, optimizer, path=path)
        put_back(variables, saved, path=path)
        if optimizer is not None:
            put_back(slots, optimizer, path=path, skip_mismatch=skip_optimizer_mismatch)
        finish_preprocessing(model)
