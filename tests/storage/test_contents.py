from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from keras_probckpt.errors import DamagedCheckpointError, UnrecordableError
from keras_probckpt.format.digest import Buffer
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.storage.contents import CheckpointReader, Contents, UnwrittenCheckpoint, encode_contents
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.memory_filesystem import MemoryFileSystem
from tests.storage.samples import manifest_of

LEAST = Contents(
    recipe={"model": {"$": "sequential"}},
    recipe_arrays={},
    code=None,
    model={"layer-0/kernel": np.ones((2, 1), np.float32)},
    optimizer=None,
    training=None,
)
MOST = dataclasses.replace(
    LEAST,
    recipe_arrays={"constant-0": np.arange(3)},
    code=b"pickled",
    model={**LEAST.model, "layer-0/scale": np.array(2.0, ml_dtypes.bfloat16)},
    optimizer={"optimizer/iterations": np.array(7)},
    training={"step": 7, "epoch": None},
    training_arrays={"python": np.arange(4, dtype=np.uint32)},
    data_position=b"variant",
)


def committed(store: CheckpointStore, files: Mapping[str, Sequence[Buffer]]) -> CheckpointReader:
    """Commit files and give a reader of them."""
    store.commit("step-1", manifest=manifest_of(1), files=files)
    return CheckpointReader(store, store.open("step-1"))


def text_of(files: Mapping[str, Sequence[Buffer]], name: str) -> Any:
    """Read a JSON file that was laid out."""
    return json.loads(b"".join(bytes(part) for part in files[name]))


def test_what_there_is_not_has_no_file() -> None:
    """A weights-only checkpoint of a plain model is a recipe and its weights."""
    assert list(encode_contents(LEAST)) == ["recipe.json", "model.safetensors"]


def test_each_kind_of_content_has_its_file() -> None:
    """Under the names that the format gives them."""
    assert sorted(encode_contents(MOST)) == [
        "code.pickle",
        "data-position",
        "model.safetensors",
        "optimizer.safetensors",
        "recipe.json",
        "recipe.safetensors",
        "training.json",
        "training.safetensors",
    ]


def test_an_optimizer_without_variables_still_has_its_file() -> None:
    """Which says that it was saved, and was empty."""
    assert "optimizer.safetensors" in encode_contents(dataclasses.replace(LEAST, optimizer={}))


def test_the_recipe_lists_the_variables() -> None:
    """So that they can be told without reading the weights; the caller's recipe is left as it is."""
    recipe = text_of(encode_contents(MOST), "recipe.json")

    assert recipe == {
        "model": {"$": "sequential"},
        "variables": [
            {"path": "layer-0/kernel", "shape": [2, 1], "dtype": "float32"},
            {"path": "layer-0/scale", "shape": [], "dtype": "bfloat16"},
        ],
        "optimizer_variables": [{"path": "optimizer/iterations", "shape": [], "dtype": "int64"}],
    }
    assert MOST.recipe == {"model": {"$": "sequential"}}


def test_the_state_of_training_is_written_as_it_is() -> None:
    """Plain JSON values."""
    assert text_of(encode_contents(MOST), "training.json") == {"step": 7, "epoch": None}


def test_no_array_is_copied() -> None:
    """What is written is the memory of the arrays themselves."""
    array = np.zeros(1000)

    chunks = encode_contents(dataclasses.replace(LEAST, model={"v": array}))["model.safetensors"]

    array[:] = 1.0
    assert any(np.asarray(chunk).tobytes() == array.tobytes() for chunk in chunks)


def test_what_was_written_is_read(store: CheckpointStore) -> None:
    """Every part of it."""
    reader = committed(store, encode_contents(MOST))

    optimizer = reader.read_optimizer()

    assert {path: array.tolist() for path, array in reader.read_model().items()} == {
        "layer-0/kernel": [[1.0], [1.0]],
        "layer-0/scale": 2.0,
    }
    assert {name: array.tolist() for name, array in reader.read_recipe_arrays().items()} == {"constant-0": [0, 1, 2]}
    assert optimizer is not None
    assert {path: array.tolist() for path, array in optimizer.items()} == {"optimizer/iterations": 7}
    assert reader.read_code() == b"pickled"
    assert reader.read_training() == {"step": 7, "epoch": None}
    assert {name: array.tolist() for name, array in reader.read_training_arrays().items()} == {"python": [0, 1, 2, 3]}
    assert reader.read_data_position() == b"variant"
    assert dict(reader.read_recipe())["model"] == {"$": "sequential"}  # type: ignore[call-overload]


@pytest.mark.parametrize("contents", [LEAST, MOST], ids=["least", "most"])
def test_what_is_still_to_be_written_reads_as_it_will_from_its_files(
    contents: Contents, store: CheckpointStore
) -> None:
    """The recipe with its arrays and functions: of the variables only shapes and dtypes."""
    later = committed(store, encode_contents(contents))

    unwritten = UnwrittenCheckpoint(later.info, contents)

    assert unwritten.info is later.info
    assert unwritten.read_recipe() == later.read_recipe()
    assert {name: array.tolist() for name, array in unwritten.read_recipe_arrays().items()} == {
        name: array.tolist() for name, array in later.read_recipe_arrays().items()
    }
    assert unwritten.read_code() == (b"" if contents is LEAST else later.read_code())


def test_what_was_left_out_is_read_as_absent(store: CheckpointStore) -> None:
    """Not as damaged."""
    reader = committed(store, encode_contents(LEAST))

    assert reader.read_optimizer() is None
    assert reader.read_recipe_arrays() == {}
    assert reader.read_training() is None
    assert reader.read_training_arrays() == {}
    assert reader.read_data_position() is None


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("model.safetensors", CheckpointReader.read_model),
        ("recipe.json", CheckpointReader.read_recipe),
        ("code.pickle", CheckpointReader.read_code),
    ],
)
def test_a_checkpoint_without_a_file_that_it_must_have_is_damaged(
    store: CheckpointStore, *, name: str, read: Any
) -> None:
    """The file is named."""
    files = encode_contents(MOST)
    del files[name]
    reader = committed(store, files)

    with pytest.raises(DamagedCheckpointError) as caught:
        read(reader)

    assert caught.value.file == name


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("model.safetensors", CheckpointReader.read_model),
        ("optimizer.safetensors", CheckpointReader.read_optimizer),
        ("recipe.safetensors", CheckpointReader.read_recipe_arrays),
        ("recipe.json", CheckpointReader.read_recipe),
        ("training.json", CheckpointReader.read_training),
        ("training.safetensors", CheckpointReader.read_training_arrays),
    ],
)
def test_a_file_that_is_whole_and_says_nothing_is_damaged(store: CheckpointStore, *, name: str, read: Any) -> None:
    """Its digest agrees, and its content is of no known form."""
    reader = committed(store, {**encode_contents(MOST), name: [b"\xffnonsense"]})

    with pytest.raises(DamagedCheckpointError) as caught:
        read(reader)

    assert caught.value.file == name


@pytest.mark.parametrize("read", [CheckpointReader.read_model, CheckpointReader.read_code])
def test_a_changed_bit_is_found_before_a_byte_is_used(
    store: CheckpointStore, filesystem: MemoryFileSystem, read: Any
) -> None:
    """By the digest in the manifest."""
    reader = committed(store, encode_contents(MOST))
    for name in ("model.safetensors", "code.pickle"):
        content = bytearray(filesystem.read(f"step-1/{name}", limit_bytes=10_000))
        content[-1] ^= 1
        filesystem.damage(f"step-1/{name}", bytes(content))

    with pytest.raises(DamagedCheckpointError, match="blake3"):
        read(reader)


@pytest.mark.parametrize("place", [0, 9, -1], ids=["length", "header", "data"])
def test_a_changed_bit_anywhere_is_called_damage(
    store: CheckpointStore, filesystem: MemoryFileSystem, place: int
) -> None:
    """Also where it makes the header one that cannot be read: the file is not what was written, and that is said."""
    reader = committed(store, encode_contents(MOST))
    content = bytearray(filesystem.read("step-1/model.safetensors", limit_bytes=10_000))
    content[place] ^= 1
    filesystem.damage("step-1/model.safetensors", bytes(content))

    with pytest.raises(DamagedCheckpointError, match="the manifest records blake3"):
        reader.read_model()


@pytest.mark.parametrize("large_bytes", [0, 20 * 1024 * 1024])
def test_what_is_read_is_aligned_and_writable_memory_of_its_own(tmp_path: pathlib.Path, large_bytes: int) -> None:
    """TensorFlow takes it over without a copy; of a large file too, which is read in parts."""
    store = CheckpointStore(LocalFileSystem(tmp_path), keys=KeyRing())
    model = {name: np.full(64 + large_bytes * (name == "b"), ord(name), np.uint8) for name in "abc"}
    reader = committed(store, encode_contents(dataclasses.replace(LEAST, model=model)))

    found = reader.read_model()

    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in model.items()
    }
    assert all(array.flags.writeable and array.ctypes.data % 64 == 0 for array in found.values())
    assert np.shares_memory(found["a"].base, found["b"].base) == (large_bytes == 0)  # type: ignore[arg-type]


def test_a_file_is_read_in_order(store: CheckpointStore) -> None:
    """A byte that was read twice or never would not be in the digest as it is in the file."""
    reader = committed(store, encode_contents(LEAST))
    file = store.open_file(reader.info, "model.safetensors")
    file.read(0, 8)

    with pytest.raises(ValueError, match=r"model\.safetensors is read from byte 8 on, not from 9"):
        file.read(9, 10)


def test_a_recipe_that_could_not_be_read_back_is_not_written() -> None:
    """A NaN has no JSON."""
    with pytest.raises(UnrecordableError, match="JSON has no literal for nan"):
        encode_contents(dataclasses.replace(LEAST, recipe={"rate": float("nan")}))
