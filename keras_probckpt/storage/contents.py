"""What the files of a checkpoint hold, as plain values and arrays, in both directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from keras_probckpt.errors import DamagedCheckpointError, UnrecordableError
from keras_probckpt.format import strict_json
from keras_probckpt.format.digest import Buffer
from keras_probckpt.format.tensors import TensorFormatError, encode_tensors, read_tensors
from keras_probckpt.records import CheckpointInfo
from keras_probckpt.storage.catalog import LIMIT_RECIPE_BYTES, RECIPE_NAME, read_recipe
from keras_probckpt.storage.store import CheckpointStore

__all__ = ["CheckpointReader", "Contents", "UnwrittenCheckpoint", "encode_contents"]

Arrays = Mapping[str, npt.NDArray[Any]]

RECIPE_ARRAYS_NAME = "recipe.safetensors"
MODEL_NAME = "model.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
TRAINING_NAME = "training.json"
TRAINING_ARRAYS_NAME = "training.safetensors"
DATA_POSITION_NAME = "data-position"
CODE_NAME = "code.pickle"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a checkpoint holds but its manifest.

    Attributes:
        recipe: How to rebuild the model.
        recipe_arrays: Arrays that the recipe refers to.
        code: Pickled functions; `None` where there are none.
        model: Values of the model's variables by path.
        optimizer: Values of the optimizers' variables by path; `None` to leave them out.
        training: Where training stood, as plain JSON values; `None` to leave it out.
        training_arrays: Arrays that `training` refers to.
        data_position: Position of the data iterator, as TensorFlow writes it; `None` where there is none.
    """

    recipe: Mapping[str, Any]
    recipe_arrays: Arrays
    code: bytes | None
    model: Arrays
    optimizer: Arrays | None
    training: Mapping[str, Any] | None
    training_arrays: Arrays = dataclasses.field(default_factory=dict)
    data_position: bytes | None = None


def encode_contents(contents: Contents) -> dict[str, list[Buffer]]:
    """Lay contents out as files, by name, each as buffers to write one after the other. Arrays are not copied.

    Raises:
        UnrecordableError: If the recipe is more than its format holds, such as nested too deeply.
    """
    files: dict[str, list[Buffer]] = {
        RECIPE_NAME: [_encoded_recipe(contents)],
        MODEL_NAME: encode_tensors(contents.model),
    }
    if contents.recipe_arrays:
        files[RECIPE_ARRAYS_NAME] = encode_tensors(contents.recipe_arrays)
    if contents.optimizer is not None:
        files[OPTIMIZER_NAME] = encode_tensors(contents.optimizer)
    if contents.training is not None:
        files[TRAINING_NAME] = [strict_json.dumps(contents.training)]
    if contents.training_arrays:
        files[TRAINING_ARRAYS_NAME] = encode_tensors(contents.training_arrays)
    if contents.data_position is not None:
        files[DATA_POSITION_NAME] = [contents.data_position]
    if contents.code is not None:
        files[CODE_NAME] = [contents.code]
    return files


def _encoded_recipe(contents: Contents) -> bytes:
    recipe = {
        **contents.recipe,
        "variables": _described(contents.model),
        "optimizer_variables": _described(contents.optimizer or {}),
    }
    try:
        return strict_json.dumps(recipe)
    except ValueError as error:
        raise UnrecordableError(
            where="the model", problem=str(error), advice="Write a function that builds it and pass it as builder=."
        ) from error


def _described(arrays: Arrays) -> list[dict[str, Any]]:
    return [{"path": path, "shape": list(array.shape), "dtype": array.dtype.name} for path, array in arrays.items()]


class UnwrittenCheckpoint:
    """Gives the recipe of a checkpoint as it will be read once it is written.

    Args:
        info: What its manifest will say, but for the files.
        contents: What it will hold. Of the variables only shapes and dtypes are looked at.
    """

    def __init__(self, info: CheckpointInfo, contents: Contents) -> None:
        self._contents = contents
        self.info = info

    def read_recipe(self) -> object:
        """Give how to rebuild the model, as plain JSON values that went through the file's text."""
        return strict_json.loads(_encoded_recipe(self._contents), where="the recipe", limit_bytes=LIMIT_RECIPE_BYTES)

    def read_recipe_arrays(self) -> Arrays:
        """Give the arrays that the recipe refers to."""
        return self._contents.recipe_arrays

    def read_code(self) -> bytes:
        """Give the pickled functions."""
        return self._contents.code or b""


class CheckpointReader:
    """Reads the files of one checkpoint, each checked against the manifest before anything in it is given out."""

    def __init__(self, store: CheckpointStore, info: CheckpointInfo) -> None:
        self._store = store
        self.info = info

    def read_recipe(self) -> object:
        """Read how to rebuild the model, as plain JSON values."""
        return read_recipe(self._store, self.info)

    def read_recipe_arrays(self) -> Arrays:
        """Read the arrays that the recipe refers to."""
        return self._tensors(RECIPE_ARRAYS_NAME) if RECIPE_ARRAYS_NAME in self.info.files else {}

    def read_code(self) -> bytes:
        """Read the pickled functions, which are not unpickled here."""
        self._require(CODE_NAME)
        return bytes(self._store.read_file(self.info, CODE_NAME))

    def read_model(self) -> Arrays:
        """Read the values of the model's variables, by path."""
        return self._tensors(MODEL_NAME)

    def read_optimizer(self) -> Arrays | None:
        """Read the values of the optimizers' variables, by path; `None` if they were left out."""
        return self._tensors(OPTIMIZER_NAME) if OPTIMIZER_NAME in self.info.files else None

    def read_training(self) -> object:
        """Read where training stood, as plain JSON values; `None` if it was left out."""
        if TRAINING_NAME not in self.info.files:
            return None
        try:
            data = bytes(self._store.read_file(self.info, TRAINING_NAME))
            return strict_json.loads(data, where="it", limit_bytes=LIMIT_RECIPE_BYTES)
        except ValueError as error:
            raise DamagedCheckpointError(path=str(self.info.path), file=TRAINING_NAME, problem=str(error)) from error

    def read_training_arrays(self) -> Arrays:
        """Read the arrays that `read_training` refers to."""
        return self._tensors(TRAINING_ARRAYS_NAME) if TRAINING_ARRAYS_NAME in self.info.files else {}

    def read_data_position(self) -> bytes | None:
        """Read the position of the data iterator; `None` where there is none."""
        if DATA_POSITION_NAME not in self.info.files:
            return None
        return bytes(self._store.read_file(self.info, DATA_POSITION_NAME))

    def _require(self, name: str) -> None:
        if name not in self.info.files:
            problem = "the manifest does not record it"
            raise DamagedCheckpointError(path=str(self.info.path), file=name, problem=problem)

    def _tensors(self, name: str) -> Arrays:
        self._require(name)
        file = self._store.open_file(self.info, name)
        try:
            tensors = read_tensors(file.read, size_bytes=file.size_bytes, where=name)
        except TensorFormatError as error:
            file.verify()  # Of a file that was changed after it was written, that is the thing to say.
            raise DamagedCheckpointError(path=str(self.info.path), file=name, problem=str(error)) from error
        file.verify()
        return tensors
