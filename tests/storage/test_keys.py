from __future__ import annotations

import os
import pathlib
import stat
import subprocess
import sys
from collections.abc import Callable

import platformdirs
import pytest

from keras_probckpt.errors import InvalidKeyError
from keras_probckpt.format.signature import KeyRing
from keras_probckpt.storage.keys import KEY_VARIABLE, key_path, load_keys, load_or_create_keys
from tests.storage.samples import names_in

FIRST = "11" * 32
SECOND = "22" * 32
CHECKOUT = pathlib.Path(__file__).parents[2]


def test_the_variable_goes_before_the_file(config_directory: pathlib.Path) -> None:
    """Its first key signs, all of them read; no file is made."""
    environment = {KEY_VARIABLE: f"{FIRST},{SECOND}"}

    written = load_or_create_keys(environment=environment)
    read = load_keys(environment=environment)

    assert [key.secret.hex() for key in written.keys] == [FIRST, SECOND]
    assert read == written
    assert names_in(config_directory) == []


@pytest.mark.parametrize("text", ["", "abc", FIRST[:-1], f"{FIRST},"])
def test_a_variable_that_is_no_key_is_refused(text: str) -> None:
    """Rather than signing with another key than was meant; and the text is not shown."""
    for load in (load_keys, load_or_create_keys):
        with pytest.raises(InvalidKeyError, match=f"the environment variable {KEY_VARIABLE}") as raised:
            load(environment={KEY_VARIABLE: text})

        assert not text or text not in str(raised.value)


def test_a_reader_makes_no_key(config_directory: pathlib.Path) -> None:
    """Without one it vouches for nothing."""
    assert load_keys(environment={}) == KeyRing()
    assert names_in(config_directory) == []


def test_the_first_save_makes_a_key_that_every_later_process_has(config_directory: pathlib.Path) -> None:
    """A random one, readable by its user only, in a directory that is closed as well."""
    made = load_or_create_keys(environment={})

    path = config_directory / "keras-probckpt" / "signing-key"
    assert path == key_path()
    assert path.read_text() == made.keys[0].secret.hex() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert names_in(path.parent) == ["signing-key"]
    assert load_or_create_keys(environment={}) == made
    assert load_keys(environment={}) == made


def test_keys_are_random(config_directory: pathlib.Path) -> None:
    """Two users never have the same."""
    first = load_or_create_keys(environment={})
    key_path().unlink()

    assert load_or_create_keys(environment={}) != first


def test_a_file_may_hold_several_keys(config_directory: pathlib.Path) -> None:
    """An old key goes on reading after a new one is put before it."""
    load_or_create_keys(environment={})
    key_path().write_text(f"{FIRST},{SECOND}\n")

    keys = load_or_create_keys(environment={})

    assert [key.secret.hex() for key in keys.keys] == [FIRST, SECOND]


def test_processes_that_save_for_the_first_time_at_once_agree_on_one_key(config_directory: pathlib.Path) -> None:
    """The one who comes second takes the first one's."""
    program = (
        "import sys; from keras_probckpt.storage.keys import load_or_create_keys;"
        "print('ready', flush=True); sys.stdin.read(); print(load_or_create_keys().keys[0].key_id)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    found = {process.stdout.read() for process in processes if process.stdout is not None}
    for process in processes:
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    assert found == {load_keys(environment={}).keys[0].key_id + "\n"}
    assert names_in(config_directory / "keras-probckpt") == ["signing-key"]


def test_a_key_that_appears_between_looking_and_making_is_taken(
    config_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race, decided against us."""
    link = os.link

    def lose(source: pathlib.Path, target: pathlib.Path) -> None:
        target.write_text(FIRST)
        target.chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", lose)

    keys = load_or_create_keys(environment={})

    assert [key.secret.hex() for key in keys.keys] == [FIRST]
    assert names_in(config_directory / "keras-probckpt") == ["signing-key"]


def test_without_a_place_for_a_key_checkpoints_are_unsigned_and_one_warning_says_so(
    config_directory: pathlib.Path,
) -> None:
    """As with a read-only home directory: training goes on."""
    (config_directory / "keras-probckpt").write_bytes(b"a file where the directory should be")

    with pytest.warns(UserWarning, match=rf"Checkpoints are saved unsigned.*Set {KEY_VARIABLE} to") as warned:
        keys = load_or_create_keys(environment={})

    assert keys == KeyRing()
    assert len(warned) == 1


def test_without_hard_links_there_is_no_key_and_nothing_is_left(
    config_directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that could replace another process's would make that one's checkpoints a stranger's."""

    def refuse(_source: object, _target: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)

    with pytest.warns(UserWarning, match="Operation not permitted"):
        keys = load_or_create_keys(environment={})

    assert keys == KeyRing()
    assert names_in(config_directory / "keras-probckpt") == []


@pytest.mark.parametrize("release", ["old", "new"])
def test_a_user_without_a_home_directory_gets_no_key_in_the_working_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    """A container's user may have none: older platformdirs then leave the `~` as it is, newer ones refuse."""

    def user_config_path(*_arguments: object, **_keywords: object) -> pathlib.Path:
        if release == "new":
            raise RuntimeError("could not determine the home directory")
        return pathlib.Path("~/.config/keras-probckpt")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platformdirs, "user_config_path", user_config_path)

    with pytest.warns(UserWarning, match="this user has no home directory"):
        written = load_or_create_keys(environment={})
    read = load_keys(environment={})

    assert written == read == KeyRing()
    assert names_in(tmp_path) == []


def test_a_key_that_others_may_read_is_used_with_a_warning(config_directory: pathlib.Path) -> None:
    """The user is told the command that closes it."""
    made = load_or_create_keys(environment={})
    key_path().chmod(0o640)

    with pytest.warns(UserWarning, match="chmod 600"):
        keys = load_keys(environment={})

    assert keys == made


@pytest.mark.parametrize(
    ("data", "problem"), [(b"\xff\xfe", "the file is not text"), (b"", "is empty"), (b"abc", "has 3")]
)
def test_a_key_file_that_is_no_key_is_refused_and_kept(
    config_directory: pathlib.Path, data: bytes, problem: str
) -> None:
    """Making another in its place would turn all older checkpoints into a stranger's."""
    load_or_create_keys(environment={})
    key_path().write_bytes(data)

    for load in (load_keys, load_or_create_keys):
        with pytest.raises(InvalidKeyError, match=problem) as raised:
            load(environment={})

        assert str(key_path()) in str(raised.value)
    assert key_path().read_bytes() == data


def test_a_key_file_that_cannot_be_read_vouches_for_nothing(config_directory: pathlib.Path) -> None:
    """Listing and loading plain data go on, with a warning; nothing is made in its place."""
    (config_directory / "keras-probckpt" / "signing-key").mkdir(parents=True)

    for load in (load_keys, load_or_create_keys):
        with pytest.warns(UserWarning, match="Is a directory") as warned:
            assert load(environment={}) == KeyRing()

        assert len(warned) == 1


def test_a_dangling_link_in_place_of_the_key_does_not_go_unnoticed(config_directory: pathlib.Path) -> None:
    """The disk with the user's keys is not mounted: nothing is written through the link, and the user is told."""
    key_path().parent.mkdir()
    key_path().symlink_to(config_directory / "nothing")

    with pytest.warns(UserWarning, match="Checkpoints are saved unsigned"):
        written = load_or_create_keys(environment={})
    read = load_keys(environment={})

    assert written == read == KeyRing()
    assert not (config_directory / "nothing").exists()


STRANGER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@pytest.mark.parametrize("load", [load_keys, load_or_create_keys])
@pytest.mark.parametrize("part", ["file", "directory"])
@needs_root
def test_a_key_of_another_user_is_refused(
    config_directory: pathlib.Path, part: str, load: Callable[..., KeyRing]
) -> None:
    """It would vouch for that user's code."""
    load_or_create_keys(environment={})
    os.chown(key_path() if part == "file" else key_path().parent, STRANGER, STRANGER)

    with pytest.raises(
        InvalidKeyError, match=r"belongs to another user, 65534, and you are 0.*Remove it, so that a key"
    ):
        load(environment={})


@pytest.mark.parametrize("load", [load_keys, load_or_create_keys])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_key_where_others_may_put_another_is_refused(
    config_directory: pathlib.Path, mode: int, load: Callable[..., KeyRing]
) -> None:
    """With the command that closes the directory."""
    load_or_create_keys(environment={})
    key_path().parent.chmod(mode)

    with pytest.raises(InvalidKeyError, match=rf"others may write to its directory .*mode is {mode:o}.*chmod go-w"):
        load(environment={})


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_key_that_others_may_change_is_refused(config_directory: pathlib.Path, mode: int) -> None:
    """One that they may only read is a warning, as before."""
    load_or_create_keys(environment={})
    key_path().chmod(mode)

    with pytest.raises(InvalidKeyError, match=r"others may write to it .*chmod go-w"):
        load_keys(environment={})


def test_no_key_is_made_where_others_may_put_another(config_directory: pathlib.Path) -> None:
    """The directory was there before, and open."""
    key_path().parent.mkdir()
    key_path().parent.chmod(0o777)

    with pytest.raises(InvalidKeyError, match="others may write to its directory"):
        load_or_create_keys(environment={})

    assert names_in(key_path().parent) == []


@needs_root
def test_a_link_to_the_key_of_another_user_is_refused(config_directory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """One to a key of one's own, in a directory of one's own, is followed."""
    key_path().parent.mkdir(mode=0o700)
    (tmp_path / "key").write_text(FIRST)
    (tmp_path / "key").chmod(0o600)
    tmp_path.chmod(0o700)
    key_path().symlink_to(tmp_path / "key")
    followed = load_keys(environment={})
    os.chown(tmp_path / "key", STRANGER, STRANGER)

    with pytest.raises(InvalidKeyError, match="belongs to another user"):
        load_keys(environment={})

    assert [key.secret.hex() for key in followed.keys] == [FIRST]


def test_a_link_into_a_directory_that_others_write_is_refused(
    config_directory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """What it leads to may be exchanged."""
    key_path().parent.mkdir(mode=0o700)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "key").write_text(FIRST)
    (tmp_path / "shared" / "key").chmod(0o600)
    (tmp_path / "shared").chmod(0o777)
    key_path().symlink_to(tmp_path / "shared" / "key")

    with pytest.raises(InvalidKeyError, match=r"others may write to its directory .*shared"):
        load_keys(environment={})
