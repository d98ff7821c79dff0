"""A run directory in which others, too, put what looks like checkpoints."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.storage.filesystem import LocalFileSystem
from keras_probckpt.storage.listing import Listing
from keras_probckpt.storage.run import RunWriter
from keras_probckpt.storage.store import CheckpointStore
from tests.storage.samples import OTHER_KEYS, SECOND_RUN, files_of, manifest_of, names_in, store_of

UNSIGNED = KeyRing()
DEAD = "9999999999-0123456789abcdef"


def plant(directory: pathlib.Path, name: str, step: int, *, keys: KeyRing = UNSIGNED, run: str = SECOND_RUN) -> None:
    """Put a checkpoint of somebody else's there."""
    stranger = CheckpointStore(LocalFileSystem(directory), keys=keys)
    stranger.commit(name, manifest=manifest_of(step, run=run, run_number=99), files=files_of(step))


def listing_of(directory: pathlib.Path) -> Listing:
    """List as this user."""
    return store_of(directory).scan()


def names_of(infos: tuple[object, ...]) -> list[str]:
    """Name checkpoints."""
    return [getattr(info, "name", "") for info in infos]


def test_own_checkpoints_are_preferred_and_the_others_named(run: pathlib.Path) -> None:
    """Each of the others with the reason why it does not count."""
    plant(run, "zz", 9)
    plant(run, "yy", 8, keys=OTHER_KEYS)
    shutil.copytree(run / "step-0000000001", run / "copy")

    listing = listing_of(run)

    assert names_of(listing.counted) == names_of(listing.preferred) == ["step-0000000001", "step-0000000002"]
    assert sorted(names_of(listing.checkpoints)) == ["copy", "step-0000000001", "step-0000000002", "yy", "zz"]
    assert (
        listing.left_out
        == "'copy' (saved as 'step-0000000001'), 'yy' (signed with a key that is not yours), 'zz' (unsigned)"
    )


def test_where_nothing_is_ones_own_all_is_preferred(tmp_path: pathlib.Path) -> None:
    """A colleague's run is restored as ever; nothing is passed over."""
    plant(tmp_path, "a", 1, keys=OTHER_KEYS)
    plant(tmp_path, "b", 2)

    listing = listing_of(tmp_path)

    assert listing.counted == ()
    assert names_of(listing.preferred) == ["a", "b"]
    assert listing.left_out == ""


def test_whoever_has_no_key_counts_what_is_unsigned(tmp_path: pathlib.Path) -> None:
    """In a container without a home directory a run is saved unsigned, and goes on all the same."""
    plant(tmp_path, "a", 1)
    plant(tmp_path, "b", 2, keys=OTHER_KEYS)

    listing = CheckpointStore(LocalFileSystem(tmp_path), keys=UNSIGNED).scan()

    assert names_of(listing.counted) == ["a"]


def test_a_renamed_checkpoint_opens_by_its_own_path(run: pathlib.Path) -> None:
    """It is read as ever, and says what it was saved as."""
    (run / "step-0000000001").rename(run / "mine")

    info = store_of(run).open("mine")

    assert (info.step, info.saved_name, info.signature) == (1, "step-0000000001", "own")
    assert names_of(listing_of(run).counted) == ["step-0000000002"]


def test_an_old_checkpoint_in_the_place_of_a_newer_does_not_count(run: pathlib.Path) -> None:
    """Its signature covers its name."""
    shutil.rmtree(run / "step-0000000002")
    shutil.copytree(run / "step-0000000001", run / "step-0000000002")

    assert names_of(listing_of(run).counted) == ["step-0000000001"]


def test_a_stranger_moved_aside_is_never_given_its_name(run: pathlib.Path) -> None:
    """What a crash of one's own leaves is signed; anything else of such a name somebody put there."""
    plant(run, "best", 7)
    (run / "best").rename(run / f".best.replaced-{DEAD}")

    with pytest.raises(CheckpointNotFoundError):
        store_of(run).open("best")
    swept = store_of(run).sweep()

    assert swept == ()
    assert f".best.replaced-{DEAD}" in names_in(run)
    assert names_of(listing_of(run).counted) == ["step-0000000001", "step-0000000002"]


def test_of_those_moved_aside_the_own_one_is_taken(run: pathlib.Path) -> None:
    """Whatever steps the others claim."""
    (run / "step-0000000002").rename(run / f".step-0000000002.replaced-{DEAD}")
    plant(run, "step-0000000002", 99)
    (run / "step-0000000002").rename(run / f".step-0000000002.replaced-{DEAD[:-1]}e")

    opened = store_of(run).open("step-0000000002")
    store_of(run).sweep()

    assert (opened.step, opened.signature) == (2, "own")
    assert store_of(run).open("step-0000000002").signature == "own"


def test_a_name_that_is_taken_by_others_is_given_with_the_run_added(run: pathlib.Path) -> None:
    """By another run's checkpoint, or by a damaged one, which may be anybody's; not by one of this run."""
    writer = RunWriter(run)
    writer.open()
    (run / "damaged").mkdir()
    (run / "damaged" / "manifest.json").write_bytes(b"")
    plant(run, "claimed", 1, run=writer.run)
    writer.commit("own", manifest=manifest_of(3, run=writer.run), files=files_of(3))

    names = [writer.free_name(name) for name in ("step-0000000001", "damaged", "claimed", "own", "new")]

    suffix = f"-{writer.run}"
    assert names == [f"step-0000000001{suffix}", f"damaged{suffix}", f"claimed{suffix}", "own", "new"]
    writer.close()


def test_a_name_with_the_run_added_is_free_and_not_too_long(tmp_path: pathlib.Path) -> None:
    """It may be taken too, and the file system has a limit; no character is cut in two."""
    writer = RunWriter(tmp_path)
    writer.open()
    for name in ("a", f"a-{writer.run}", "\u00fc" * 100):
        plant(tmp_path, name, 1)

    assert writer.free_name("a") == f"a-{writer.run}-2"
    assert writer.free_name("\u00fc" * 100) == "\u00fc" * 95 + f"-{writer.run}"
    writer.close()
