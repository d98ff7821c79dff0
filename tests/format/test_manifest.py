from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.errors import DamagedCheckpointError, TamperedCheckpointError, UnsupportedFormatError
from keras_probckpt.format import manifest as manifest_module
from keras_probckpt.format.digest import digest_hex
from keras_probckpt.format.manifest import LIMIT_MANIFEST_BYTES, encode_manifest
from keras_probckpt.format.signature import KeyRing, SigningKey
from keras_probckpt.records import FileRecord, Manifest, Objective
from tests.format.manifest_examples import BODY, MANIFEST, MINE, THEIRS, decode, envelope, problem_of, seal


def test_an_unsigned_manifest_has_these_bytes() -> None:
    """The file is the one SPEC.md describes, to the byte: later releases must read it."""
    data = encode_manifest(MANIFEST, key=None)

    sealed = f'{{"manifest":\n{BODY},\n"signature":"none",\n'
    assert data.decode() == (
        sealed + '"seal":"blake3:0dbe3a553079937c498841a51513430f5efa699eaf858f21519679055466bf05"}\n'
    )


def test_a_signed_manifest_has_this_signature() -> None:
    """The key's id and its HMAC of the body's bytes, computed with openssl."""
    data = encode_manifest(MANIFEST, key=MINE)

    signature = data.decode().splitlines()[-2]
    hmac = "44b5bc84906bda92a90910aa31e63d81c3ef85df5585a3bbed05db0780a653c9"
    assert signature == f'"signature":"hmac-sha256:71e47313748d7ad5:{hmac}",'


def test_the_file_is_valid_json() -> None:
    """Any JSON tool shows a manifest."""
    document = json.loads(encode_manifest(MANIFEST, key=MINE))

    assert list(document) == ["manifest", "signature", "seal"]
    assert document["manifest"] == json.loads(BODY)


def test_a_manifest_reads_back_equal() -> None:
    """Every field, with the kinds of number that JSON lacks."""
    assert decode(encode_manifest(MANIFEST, key=None)) == (MANIFEST, "unsigned")


@pytest.mark.parametrize(
    ("writer", "reader", "state"),
    [
        (None, KeyRing((MINE,)), "unsigned"),
        (MINE, KeyRing((MINE,)), "own"),
        (MINE, KeyRing((THEIRS, MINE)), "own"),
        (THEIRS, KeyRing((MINE,)), "foreign"),
        (MINE, KeyRing(), "foreign"),
    ],
)
def test_the_signature_says_who_vouches(writer: SigningKey | None, reader: KeyRing, state: str) -> None:
    """Only the reader's own keys vouch."""
    data = encode_manifest(MANIFEST, key=writer)

    assert decode(data, reader)[1] == state


def test_a_forged_signature_is_refused() -> None:
    """Whoever lacks the key can seal a changed manifest, but not sign it."""
    genuine = encode_manifest(MANIFEST, key=MINE).decode()
    forged = genuine[: genuine.rindex('"seal"')].replace('"step": 1200', '"step": 1201')

    with pytest.raises(TamperedCheckpointError) as caught:
        decode(seal(forged.encode()), KeyRing((MINE,)))

    assert (caught.value.path, caught.value.key_id) == ("runs/a/step-0000001200", "71e47313748d7ad5")


def test_a_signature_of_another_manifest_is_refused() -> None:
    """A signature cannot be moved from one checkpoint to another."""
    other = encode_manifest(dataclasses.replace(MANIFEST, step=1), key=MINE).decode().splitlines()[-2]
    line = encode_manifest(MANIFEST, key=MINE).decode().splitlines()[-2]
    genuine = encode_manifest(MANIFEST, key=MINE).decode()
    forged = genuine[: genuine.rindex('"seal"')].replace(line, other)

    with pytest.raises(TamperedCheckpointError):
        decode(seal(forged.encode()), KeyRing((MINE,)))


def test_every_changed_bit_is_detected() -> None:
    """Wherever it is: in the body, the signature line, the seal line or the last line feed."""
    data = encode_manifest(MANIFEST, key=MINE)

    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedCheckpointError):
            decode(bytes(flipped), KeyRing((MINE,)))


def test_every_cut_is_detected() -> None:
    """A manifest of any shorter length, from either end, is damaged."""
    data = encode_manifest(MANIFEST, key=MINE)

    for length in range(len(data)):
        for part in (data[:length], data[len(data) - length :]):
            with pytest.raises(DamagedCheckpointError):
                decode(part, KeyRing((MINE,)))


def test_an_addition_is_detected() -> None:
    """Not even a line feed may follow."""
    data = encode_manifest(MANIFEST, key=None)

    assert "ought to end in the seal" in problem_of(data + b"\n")


def test_damage_is_told_with_both_values() -> None:
    """The seal that the bytes call for, and the one that is there."""
    data = encode_manifest(MANIFEST, key=None)
    written = data[-68:-4].decode()
    damaged = data.replace(b"1200", b"1201")

    problem = problem_of(damaged)

    assert written in problem
    assert digest_hex(damaged[: damaged.rindex(b'"seal"')]) in problem


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"{}",
        b'{"manifest":\n' + BODY.encode() + b",\n",
        BODY.encode() + b',\n"signature":"none",\n',
        b'{"manifest":\n' + BODY.encode() + b',"signature":"none",\n',
        b'{"manifest":\n' + BODY.encode() + b',\n"signature":"no"ne",\n',
    ],
)
def test_a_sealed_file_of_another_layout_is_refused(sealed: bytes) -> None:
    """A right seal on something else does not make it a manifest."""
    assert problem_of(seal(sealed)) == "it is not laid out in a manifest, a signature and a seal"


def test_a_manifest_above_the_limit_is_not_looked_into() -> None:
    """Nor digested: a hostile file costs nothing."""
    data = b" " * (LIMIT_MANIFEST_BYTES + 1)

    assert problem_of(data) == "it has 16777217 bytes, more than the 16777216 that are read"


def test_a_manifest_above_the_limit_is_not_written() -> None:
    """What could not be read is not called saved."""
    manifest = dataclasses.replace(MANIFEST, custom_metadata={"note": "x" * LIMIT_MANIFEST_BYTES})

    with pytest.raises(ValueError, match="the manifest has 16777896 bytes, more than the 16777216 that are read"):
        encode_manifest(manifest, key=None)


@pytest.mark.parametrize("version", [2, 10**300])
def test_a_newer_version_is_refused_before_anything_else_of_it_is_read(version: int) -> None:
    """Its fields and its signature may be of kinds that this release does not know."""
    data = envelope(f'{{"format_version": {version}, "other": {{}}}}', signature="ed25519:0")

    with pytest.raises(UnsupportedFormatError) as caught:
        decode(data)

    assert (caught.value.found_version, caught.value.supported_version) == (version, 1)


def test_a_damaged_manifest_of_a_newer_version_is_damaged() -> None:
    """Upgrading would not help."""
    data = envelope('{"format_version": 2}').replace(b": 2}", b": 3}")

    assert "ought to end in the seal" in problem_of(data)


def test_only_the_current_version_is_written() -> None:
    """A manifest that says something else was not made for this writer."""
    with pytest.raises(ValueError, match="this release writes format version 1, the manifest says 2"):
        encode_manifest(dataclasses.replace(MANIFEST, format_version=2), key=None)


@pytest.mark.parametrize("signature", ["", "None", "hmac-sha256:71e47313748d7ad5:00", "hmac-md5:0:0", "ü"])
def test_a_signature_of_an_unknown_form_is_refused(signature: str) -> None:
    """In this version there are two forms."""
    problem = problem_of(envelope(BODY, signature=signature))

    assert problem == f"its signature is {signature!r}, expected 'none' or 'hmac-sha256:<key id>:<64 digits>'"


def test_the_module_knows_the_names_others_use() -> None:
    """The store and the reader take the file's name from here."""
    assert (manifest_module.MANIFEST_NAME, manifest_module.FORMAT_VERSION) == ("manifest.json", 1)


PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN_TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(PLAIN_TEXT, children, max_size=3),
    max_leaves=5,
)
COUNTS = st.integers(0, 2**63 - 1)
MANIFESTS = st.builds(
    Manifest,
    run=st.text("0123456789abcdef", min_size=8, max_size=8),
    run_number=st.integers(1, 2**63 - 1),
    step=COUNTS,
    epoch=st.none() | st.integers(1, 2**63 - 1),
    batch=st.none() | COUNTS,
    logs=st.dictionaries(PLAIN_TEXT, st.floats(allow_nan=False), max_size=3),
    objective=st.none()
    | st.builds(
        Objective,
        monitor=PLAIN_TEXT,
        mode=st.sampled_from(["min", "max"]),
        min_delta=st.floats(0, 1e9),
        start_from_epoch=COUNTS,
    ),
    is_weights_only=st.booleans(),
    created_at=st.datetimes().map(lambda time: time.isoformat(timespec="microseconds") + "Z"),
    versions=st.dictionaries(PLAIN_TEXT, PLAIN_TEXT, max_size=3),
    custom_metadata=st.dictionaries(PLAIN_TEXT, JSON_VALUES, max_size=3),
    files=st.dictionaries(
        st.text("abc-_09", min_size=1, max_size=9),
        st.builds(FileRecord, size_bytes=COUNTS, blake3=st.text("0123456789abcdef", min_size=64, max_size=64)),
        max_size=3,
    ),
    format_version=st.just(1),
)


@given(MANIFESTS, st.sampled_from([MINE, THEIRS, None]))
def test_every_manifest_reads_back_equal(manifest: Manifest, key: SigningKey | None) -> None:
    """Whatever a run may put into it, signed or not."""
    state = {MINE: "own", THEIRS: "foreign", None: "unsigned"}[key]

    assert decode(encode_manifest(manifest, key=key), KeyRing((MINE,))) == (manifest, state)
