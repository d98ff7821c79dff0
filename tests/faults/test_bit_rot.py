"""Whatever becomes of a file, it is noticed, the file is named, and the rest of the run is as good as before."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from keras_probckpt.errors import CheckpointError, DamagedCheckpointError
from keras_probckpt.storage.catalog import list_checkpoints, verify_checkpoint
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.keys import KEY_VARIABLE, load_keys
from keras_probckpt.storage.store import CheckpointStore
from tests.conftest import CHECKOUT
from tests.counts import count

GOLDEN = CHECKOUT / "tests" / "golden" / "v1" / "must_load"
GOLDEN_KEY = "60" * 32
NAME = "step-0000000002"
MODELS = ("sequential", "mixin", "builder")
FILES = (
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "recipe.json",
    "recipe.safetensors",
    "training.json",
)
SMALL_BYTES = 400


@pytest.fixture(autouse=True)
def nothing_hangs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where something waits for ever, as a reader of a FIFO does."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for ever"))
    signal.alarm(30 if request.node.get_closest_marker("long") is None else 1200)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Give a run of three checkpoints, written by real trainings."""
    monkeypatch.setenv(KEY_VARIABLE, GOLDEN_KEY)
    for model in MODELS:
        shutil.copytree(GOLDEN / "newest" / model / NAME, tmp_path / "run" / model)
    return tmp_path / "run"


def store_of(run: pathlib.Path) -> CheckpointStore:
    """Open a run for reading."""
    return CheckpointStore(LocalFileSystem(run), keys=load_keys())


def damage_found(store: CheckpointStore, name: str, file: str) -> DamagedCheckpointError | None:
    """Read one file of a checkpoint as every reader does; give the error."""
    try:
        info = store.open(name)
        if file != "manifest.json":
            store.read_file(info, file)
    except DamagedCheckpointError as error:
        return error
    return None


def flip_bits(run: pathlib.Path, name: str, file: str, *, every: int) -> int:
    """Flip bits of one file, each by itself, and expect each to be noticed; give their number."""
    path = run / name / file
    data = path.read_bytes()
    store = store_of(run)
    bits = range(0, 8 * len(data), every)
    with path.open("r+b", buffering=0) as opened:
        for bit in bits:
            place, flipped = bit // 8, data[bit // 8] ^ (1 << bit % 8)
            os.pwrite(opened.fileno(), bytes([flipped]), place)
            error = damage_found(store, name, file)
            os.pwrite(opened.fileno(), data[place : place + 1], place)
            assert error is not None, f"bit {bit} of {file} was flipped and nobody noticed"
            assert (error.path, error.file) == (str(run / name), file)
    assert damage_found(store, name, file) is None
    return len(bits)


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_noticed(run: pathlib.Path, file: str) -> None:
    """Every bit of the small files, and of the others one in 37, which comes by every bit of a byte."""
    size = (run / "sequential" / file).stat().st_size

    count("bits flipped", flip_bits(run, "sequential", file, every=1 if size < SMALL_BYTES else 37))


@pytest.mark.long
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("model", MODELS)
def test_every_flipped_bit_is_noticed(run: pathlib.Path, model: str, file: str) -> None:
    """Each bit of each file of three checkpoints."""
    if file in store_of(run).open(model).files or file == "manifest.json":
        count("bits flipped", flip_bits(run, model, file, every=1))


@pytest.mark.parametrize("file", FILES)
def test_every_truncation_is_noticed(run: pathlib.Path, file: str) -> None:
    """At each length, the empty file included, and one byte too much."""
    path = run / "sequential" / file
    data = path.read_bytes()
    store = store_of(run)

    for length in range(len(data)):
        os.truncate(path, len(data) - 1 - length)
        error = damage_found(store, "sequential", file)
        assert error is not None, f"{file} was cut by {length + 1} bytes and nobody noticed"
        assert error.file == file
    path.write_bytes(data + b"\0")
    assert damage_found(store, "sequential", file) is not None
    path.write_bytes(data)
    assert damage_found(store, "sequential", file) is None
    count("truncations", len(data))


# training.json is the same in both.
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "recipe.json", "recipe.safetensors"])
def test_a_file_of_another_checkpoint_is_noticed(run: pathlib.Path, file: str) -> None:
    """Swapped between two: each of them is damaged, and says which file."""
    first, second = run / "sequential" / file, run / "mixin" / file
    swapped = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped[1])
    second.write_bytes(swapped[0])

    for path in (first, second):
        with pytest.raises(DamagedCheckpointError) as caught:
            verify_checkpoint(path.parent)
        assert (caught.value.path, caught.value.file) == (str(path.parent), file)


def test_a_manifest_of_another_checkpoint_is_noticed(run: pathlib.Path) -> None:
    """It is whole and signed, and none of the files beside it are those that it speaks of."""
    shutil.copy(run / "mixin" / "manifest.json", run / "sequential" / "manifest.json")

    with pytest.raises(DamagedCheckpointError):
        verify_checkpoint(run / "sequential")


@pytest.mark.parametrize("others", [("model.safetensors", "optimizer.safetensors"), ("recipe.json", "training.json")])
def test_two_files_of_one_checkpoint_that_changed_places_are_noticed(
    run: pathlib.Path, others: tuple[str, str]
) -> None:
    """A digest is that of a name."""
    first, second = (run / "sequential" / name for name in others)
    first.rename(run / "aside")
    second.rename(first)
    (run / "aside").rename(second)

    for file in others:
        error = damage_found(store_of(run), "sequential", file)
        assert error is not None
        assert error.file == file


def be_directory(path: pathlib.Path) -> None:
    """Stand there as a directory that holds the file."""
    shutil.move(path, path.with_name("aside"))
    path.mkdir()
    shutil.move(path.with_name("aside"), path / path.name)


def be_link(path: pathlib.Path) -> None:
    """Stand there as a link to the very same bytes."""
    elsewhere = path.parent.parent / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def be_dangling_link(path: pathlib.Path) -> None:
    """Stand there as a link to nothing."""
    path.unlink()
    path.symlink_to("nothing")


def be_fifo(path: pathlib.Path) -> None:
    """Stand there as what a reader would wait for."""
    path.unlink()
    os.mkfifo(path)


def be_socket(path: pathlib.Path) -> None:
    """Stand there as what cannot be opened."""
    path.unlink()
    here = pathlib.Path.cwd()
    os.chdir(path.parent)  # the path of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path.name)
    finally:
        os.chdir(here)


def be_hole(path: pathlib.Path) -> None:
    """Be as long as before and hold nothing: what a file system that allocates late leaves."""
    size = path.stat().st_size
    os.truncate(path, 0)
    os.truncate(path, size)


def be_half_a_hole(path: pathlib.Path) -> None:
    """Hold zeros in the second half."""
    size = path.stat().st_size
    os.truncate(path, size // 2)
    os.truncate(path, size)


def be_another_size(path: pathlib.Path) -> None:
    """Be as long as no file is: it must not be read to be refused."""
    os.truncate(path, 1 << 40)


def be_doubled(path: pathlib.Path) -> None:
    """Hold its bytes twice."""
    path.write_bytes(path.read_bytes() * 2)


REPLACEMENTS = [
    be_directory,
    be_link,
    be_dangling_link,
    be_fifo,
    be_socket,
    be_hole,
    be_half_a_hole,
    be_another_size,
    be_doubled,
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("replace", REPLACEMENTS, ids=lambda replace: replace.__name__.replace("_", " "))
def test_what_is_no_longer_the_file_is_noticed(
    run: pathlib.Path, file: str, replace: Callable[[pathlib.Path], None]
) -> None:
    """Neither followed, nor waited for, nor read to its end; the other checkpoints are listed and whole."""
    replace(run / "sequential" / file)

    with pytest.raises(DamagedCheckpointError) as caught:
        verify_checkpoint(run / "sequential")
    assert caught.value.file == file
    if file == "manifest.json":
        with pytest.warns(UserWarning, match=r"sequential/manifest\.json is damaged"):
            found = list_checkpoints(run)
    else:
        found = list_checkpoints(run)
    others = [info for info in found if info.name != "sequential"]
    assert sorted(info.name for info in others) == ["builder", "mixin"]
    for info in others:
        assert verify_checkpoint(info.path).signature == "own"
    count("files replaced by something else")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_noticed(run: pathlib.Path, file: str) -> None:
    """Without its manifest a directory is no checkpoint, and nothing takes it for one."""
    (run / "sequential" / file).unlink()

    with pytest.raises(CheckpointError) as caught:
        verify_checkpoint(run / "sequential")

    if file == "manifest.json":
        assert "it is a directory without checkpoints" in str(caught.value)
    else:
        assert f"{file} is damaged: the file is missing" in str(caught.value)


def test_a_net_that_does_not_read_catches_nothing(run: pathlib.Path) -> None:
    """The flipping above fails where a reader takes what it finds."""

    class Credulous(CheckpointStore):
        def read_file(self, info: object, file: str) -> memoryview:  # type: ignore[override]
            return memoryview(b"")

    assert damage_found(Credulous(LocalFileSystem(run), keys=load_keys()), "sequential", "model.safetensors") is None
