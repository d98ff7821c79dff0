"""The body of a manifest, format version 1: a `Manifest` to a JSON object and back, each field checked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from keras_probckpt.format import strict_json
from keras_probckpt.records import FileRecord, Manifest, Objective

__all__ = ["MANIFEST_NAME", "ManifestFormatError", "body_of", "manifest_of"]

MANIFEST_NAME = "manifest.json"

_LARGEST_COUNT = 2**63 - 1
_RUN_ID = re.compile(r"[0-9a-f]{8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", re.ASCII)
_FORBIDDEN_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')
_LONGEST_NAME_BYTES = 255


class ManifestFormatError(ValueError):
    """Some bytes are not a manifest, or some values could not be one."""


def body_of(manifest: Manifest) -> dict[str, Any]:
    """Lay a manifest out as a JSON object.

    Raises:
        ManifestFormatError: If `manifest_of` would refuse it.
    """
    objective = manifest.objective
    name = {} if manifest.saved_name is None else {"name": manifest.saved_name}
    body = {
        "format_version": manifest.format_version,
        **name,
        "run": {"id": manifest.run, "number": manifest.run_number},
        "step": manifest.step,
        "epoch": manifest.epoch,
        "batch": manifest.batch,
        "logs": {name: strict_json.number_to_json(number) for name, number in manifest.logs.items()},
        "objective": None if objective is None else _objective_body(objective),
        "is_weights_only": manifest.is_weights_only,
        "created_at": manifest.created_at,
        "versions": dict(manifest.versions),
        "custom_metadata": dict(manifest.custom_metadata),
        "files": {
            name: {"size_bytes": file.size_bytes, "blake3": file.blake3} for name, file in manifest.files.items()
        },
    }
    manifest_of(body)
    return body


def manifest_of(body: Mapping[str, Any]) -> Manifest:
    """Read a manifest out of a JSON object. Keys that this release does not know are passed over.

    Raises:
        ManifestFormatError: If a field is missing or is not what it may be; the message names it and what was found.
    """
    run = _field(body, "run", _is_object, wanted="an object")
    objective = _field(body, "objective", _or_null(_is_object), wanted="an object or null")
    return Manifest(
        format_version=_count(body, "format_version", at_least=1),
        run=_field(run, "id", _matches(_RUN_ID), wanted="8 lower-case hexadecimal digits", of="run"),
        run_number=_count(run, "number", at_least=1, of="run"),
        step=_count(body, "step", at_least=0),
        epoch=_count_or_null(body, "epoch", at_least=1),
        batch=_count_or_null(body, "batch", at_least=0),
        logs=_logs(_field(body, "logs", _is_object, wanted="an object")),
        objective=None if objective is None else _objective(objective),
        is_weights_only=_field(body, "is_weights_only", _is_boolean, wanted="true or false"),
        created_at=_field(body, "created_at", _matches(_UTC_TIME), wanted="a time such as 2026-11-23T03:19:00Z"),
        versions=_field(body, "versions", _is_object_of_text, wanted="an object of strings"),
        custom_metadata=_field(body, "custom_metadata", _is_object, wanted="an object"),
        files=_files(_field(body, "files", _is_object, wanted="an object")),
        saved_name=None if "name" not in body else _field(body, "name", _is_text, wanted="a string"),
    )


def _objective_body(objective: Objective) -> dict[str, Any]:
    return {
        "monitor": objective.monitor,
        "mode": objective.mode,
        "min_delta": objective.min_delta,
        "start_from_epoch": objective.start_from_epoch,
    }


def _objective(fields: Mapping[str, Any]) -> Objective:
    return Objective(
        monitor=_field(fields, "monitor", _is_text, wanted="a string", of="objective"),
        mode=_field(fields, "mode", lambda found: found in ("min", "max"), wanted='"min" or "max"', of="objective"),
        min_delta=_field(fields, "min_delta", _is_size, wanted="a number from 0 up", of="objective"),
        start_from_epoch=_count(fields, "start_from_epoch", at_least=0, of="objective"),
    )


def _logs(fields: Mapping[str, Any]) -> dict[str, float]:
    return {name: _logged_number(name, found=found) for name, found in fields.items()}


def _logged_number(name: str, *, found: object) -> float:
    try:
        return strict_json.number_from_json(found)
    except strict_json.StrictJsonError as error:
        raise ManifestFormatError(f"its field logs[{strict_json.preview(name)}]: {error}") from None


def _files(fields: Mapping[str, Any]) -> dict[str, FileRecord]:
    _require_plain_names(fields)
    return {name: _file(name, fields=fields) for name in fields}


def _file(name: str, *, fields: Mapping[str, Any]) -> FileRecord:
    place = f"files[{strict_json.preview(name)}]"
    record = _field(fields, name, _is_object, wanted="an object", of="files")
    return FileRecord(
        size_bytes=_count(record, "size_bytes", at_least=0, of=place),
        blake3=_field(record, "blake3", _matches(_DIGEST), wanted="64 lower-case hexadecimal digits", of=place),
    )


def _require_plain_names(names: Mapping[str, Any]) -> None:
    # One name must be one file, the same one, in every file system a run may be copied to.
    seen = {_folded(MANIFEST_NAME): MANIFEST_NAME}
    for name in names:
        if not _is_plain(name):
            raise ManifestFormatError(
                f"its field files names {strict_json.preview(name)}, which is not a plain file name"
            )
        other = seen.setdefault(_folded(name), name)
        if other != name or name == MANIFEST_NAME:
            raise ManifestFormatError(
                f"its field files names {strict_json.preview(name)}, which some file systems do not tell from {other!r}"
            )


def _is_plain(name: str) -> bool:
    if not name or name.startswith(".") or name.endswith((".", " ")) or _FORBIDDEN_IN_NAMES.search(name):
        return False
    return len(name.encode()) <= _LONGEST_NAME_BYTES


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _field(
    fields: Mapping[str, Any], name: str, is_allowed: Callable[[Any], bool], *, wanted: str, of: str = ""
) -> Any:
    place = f"{of}.{name}" if of else name
    if name not in fields:
        raise ManifestFormatError(f"its field {place} is missing, expected {wanted}")
    if not is_allowed(fields[name]):
        raise ManifestFormatError(f"its field {place} is {strict_json.preview(fields[name])}, expected {wanted}")
    return fields[name]


def _count(fields: Mapping[str, Any], name: str, *, at_least: int, of: str = "") -> int:
    wanted = f"a whole number from {at_least} up"
    return int(_field(fields, name, _is_count(at_least), wanted=wanted, of=of))


def _count_or_null(fields: Mapping[str, Any], name: str, *, at_least: int) -> int | None:
    wanted = f"a whole number from {at_least} up or null"
    found: int | None = _field(fields, name, _or_null(_is_count(at_least)), wanted=wanted)
    return found


def _is_count(at_least: int) -> Callable[[Any], bool]:
    return lambda found: type(found) is int and at_least <= found <= _LARGEST_COUNT


def _or_null(is_allowed: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda found: found is None or is_allowed(found)


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda found: isinstance(found, str) and pattern.fullmatch(found) is not None


def _is_object(found: object) -> bool:
    return isinstance(found, dict)


def _is_object_of_text(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(text, str) for text in found.values())


def _is_text(found: object) -> bool:
    return isinstance(found, str)


def _is_boolean(found: object) -> bool:
    return isinstance(found, bool)


def _is_size(found: object) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool) and 0 <= found <= _LARGEST_COUNT
