from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from keras_probckpt.format.manifest import encode_manifest
from tests.format.manifest_examples import MANIFEST, changed, decode, envelope, problem_of


def test_keys_of_later_releases_are_passed_over() -> None:
    """A release that only adds keys does not raise the version."""
    body = changed(
        lambda fields: (fields.update(new=1), fields["run"].update(new=1), fields["objective"].update(new=1))
    )

    assert decode(envelope(body)) == (MANIFEST, "unsigned")


def test_what_may_be_null_is_read() -> None:
    """Outside of `fit`, with nothing monitored."""
    manifest = dataclasses.replace(MANIFEST, epoch=None, batch=7, objective=None, logs={}, files={}, versions={})

    assert decode(encode_manifest(manifest, key=None)) == (manifest, "unsigned")


COUNT = "expected a whole number from"
DIGITS = "expected 64 lower-case hexadecimal digits"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[]", "its field format_version is None, expected a whole number from 1 up"),
        ("{}", "its field format_version is None, expected a whole number from 1 up"),
        ('{"format_version": true}', "its field format_version is True, expected a whole number from 1 up"),
        ('{"format_version": 0}', "its field format_version is 0, expected a whole number from 1 up"),
        ('{"format_version": "1"}', "its field format_version is '1', expected a whole number from 1 up"),
        ('{"format_version": 1, "format_version": 1}', "its body repeats the key 'format_version'"),
        ('{"format_version": 1}, "a": {}', "its body is not JSON: Extra data at line 1, column 22"),
        ('{"format_version": 1}', "its field run is missing, expected an object"),
        ("", "its body is not JSON: Expecting value at line 1, column 1"),
    ],
)
def test_a_body_of_another_kind_is_refused(body: str, problem: str) -> None:
    """Sealed rightly, but not what a release has written."""
    assert problem_of(envelope(body)) == problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda body: body.update(run=[]), "its field run is [], expected an object"),
        (lambda body: body["run"].pop("id"), "its field run.id is missing, expected 8 lower-case hexadecimal digits"),
        (lambda body: body["run"].update(id="5F3A9C01"), "its field run.id is '5F3A9C01', expected 8 lower-case"),
        (lambda body: body["run"].update(id="5f3a9c01\n"), "its field run.id is '5f3a9c01\\n', expected 8 lower-case"),
        (lambda body: body["run"].update(id=1), "its field run.id is 1, expected 8 lower-case hexadecimal digits"),
        (lambda body: body["run"].update(number=0), f"its field run.number is 0, {COUNT} 1 up"),
        (lambda body: body.pop("step"), f"its field step is missing, {COUNT} 0 up"),
        (lambda body: body.update(step=-1), f"its field step is -1, {COUNT} 0 up"),
        (lambda body: body.update(step=1.0), f"its field step is 1.0, {COUNT} 0 up"),
        (lambda body: body.update(step=True), f"its field step is True, {COUNT} 0 up"),
        (lambda body: body.update(step=2**63), f"its field step is 9223372036854775808, {COUNT} 0 up"),
        (lambda body: body.update(epoch=0), f"its field epoch is 0, {COUNT} 1 up or null"),
        (lambda body: body.update(batch=-1), f"its field batch is -1, {COUNT} 0 up or null"),
        (lambda body: body.pop("batch"), f"its field batch is missing, {COUNT} 0 up or null"),
        (lambda body: body.update(logs=None), "its field logs is None, expected an object"),
        (lambda body: body["logs"].update(loss="NaN"), "its field logs['loss']: expected a finite number,"),
        (lambda body: body["logs"].update(loss=True), "its field logs['loss']: expected a finite number,"),
        (lambda body: body.update(objective=3), "its field objective is 3, expected an object or null"),
        (lambda body: body["objective"].update(monitor=3), "its field objective.monitor is 3, expected a string"),
        (lambda body: body["objective"].update(mode="auto"), "its field objective.mode is 'auto', expected \"min\" or"),
        (lambda body: body["objective"].update(mode=[]), 'its field objective.mode is [], expected "min" or "max"'),
        (
            lambda body: body["objective"].update(min_delta=-0.5),
            "its field objective.min_delta is -0.5, expected a num",
        ),
        (
            lambda body: body["objective"].update(min_delta=True),
            "its field objective.min_delta is True, expected a num",
        ),
        (lambda body: body["objective"].update(min_delta="0"), "its field objective.min_delta is '0', expected a numb"),
        (lambda body: body["objective"].update(start_from_epoch=-1), "its field objective.start_from_epoch is -1, exp"),
        (lambda body: body.update(is_weights_only=0), "its field is_weights_only is 0, expected true or false"),
        (lambda body: body.update(created_at="yesterday"), "its field created_at is 'yesterday', expected a time such"),
        (lambda body: body.update(created_at="2026-11-23T03:19:00+01:00"), "its field created_at is '2026-11-23T03:19"),
        (
            lambda body: body.update(versions={"python": 3}),
            "its field versions is {'python': 3}, expected an object of",
        ),
        (lambda body: body.update(versions=None), "its field versions is None, expected an object of strings"),
        (lambda body: body.update(custom_metadata=[]), "its field custom_metadata is [], expected an object"),
        (lambda body: body.update(files=[]), "its field files is [], expected an object"),
        (lambda body: body.update(files={"a": 3}), "its field files.a is 3, expected an object"),
        (lambda body: body.update(files={"a": {}}), f"its field files['a'].size_bytes is missing, {COUNT} 0 up"),
        (lambda body: body.update(files={"a": {"size_bytes": -1}}), f"its field files['a'].size_bytes is -1, {COUNT}"),
        (lambda body: body["files"]["model.safetensors"].update(blake3="AB" * 32), "its field files['model.safetenso"),
        (lambda body: body["files"]["model.safetensors"].update(blake3="ab"), f"{'its field files'}['model.safetensor"),
        (lambda body: body["files"]["model.safetensors"].pop("blake3"), "its field files['model.safetensors'].blake3 "),
    ],
)
def test_a_field_that_is_not_what_it_may_be_is_named(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    """The error names the field, and shows what stands there and what may."""
    assert problem_of(envelope(changed(change))).startswith(problem)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".lock", "../x", "a/b", "a\\b", "/etc/passwd", "C:x", "a?", "a*", 'a"', "a<", "a>", "a|"),
        *("a\0", "a\n", "\x7f", "a.", "a ", "x" * 256, "é" * 128, "\ud800"),
    ],
)
def test_a_file_name_that_is_not_plain_is_refused(name: str) -> None:
    """No name leads out of the checkpoint, is hidden, or means something else on another system."""
    body = changed(lambda fields: fields.update(files={name: fields["files"]["model.safetensors"]}))

    assert problem_of(envelope(body)).endswith("which is not a plain file name")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "A"),
        ("straße", "STRASSE"),
        ("é", "e\u0301"),
        ("É", "e\u0301"),
        ("\u1fb4", "\u03b1\u0345\u0301"),
        ("Model.Safetensors", "model.safetensors"),
    ],
)
def test_names_that_a_file_system_may_take_for_one_are_refused(first: str, second: str) -> None:
    """A run may be copied to a disk that folds case or normalizes Unicode."""
    files = {first: MANIFEST.files["model.safetensors"], second: MANIFEST.files["model.safetensors"]}

    with pytest.raises(ValueError, match="which some file systems do not tell from") as caught:
        encode_manifest(dataclasses.replace(MANIFEST, files=files), key=None)

    assert repr(first) in str(caught.value)
    assert repr(second) in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "Manifest.JSON"])
def test_the_manifest_does_not_name_itself(name: str) -> None:
    """It could not hold its own digest."""
    files = {name: MANIFEST.files["model.safetensors"]}

    with pytest.raises(ValueError, match=r"which some file systems do not tell from 'manifest\.json'"):
        encode_manifest(dataclasses.replace(MANIFEST, files=files), key=None)


@pytest.mark.parametrize("name", ["model.safetensors", "x" * 255, "data-position.index", "Zoë", "模型 1", "a..b"])
def test_plain_names_are_read(name: str) -> None:
    """Every name that is one file everywhere."""
    manifest = dataclasses.replace(MANIFEST, files={name: MANIFEST.files["model.safetensors"]})

    assert decode(encode_manifest(manifest, key=None))[0].files == manifest.files


@pytest.mark.parametrize("field", ["run", "step", "created_at"])
def test_a_manifest_that_would_not_be_read_back_is_not_written(field: str) -> None:
    """The save fails, not the restore."""
    with pytest.raises(ValueError, match=f"its field {field}"):
        encode_manifest(dataclasses.replace(MANIFEST, **{field: ""}), key=None)


def test_the_writer_takes_what_the_clock_gives() -> None:
    """Fractions of a second and `+00:00` are times in UTC too."""
    manifest = dataclasses.replace(MANIFEST, created_at="2026-11-23T03:19:00.123456+00:00")

    assert decode(encode_manifest(manifest, key=None))[0] == manifest
