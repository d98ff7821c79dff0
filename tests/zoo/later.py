"""A later program that restores every model of the zoo: nothing is defined here of what the first one defined.

It is run as a script: `python later.py <directory> <shard>`, and leaves `restored-<shard>.json` in the directory.
"""

from __future__ import annotations

import json
import pathlib
import sys
import traceback
import warnings
from typing import Any

from keras_probckpt import CheckpointManager, restore_latest
from tests.zoo.cases import batch
from tests.zoo.observe import observe


def _restore(about: dict[str, Any], place: pathlib.Path) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        model = restore_latest(place / about["directory"])
    ours = [str(warning.message) for warning in caught if "restore" in str(warning.message)]
    with CheckpointManager(model, place / f"{about['directory']}-again", rehearse=False) as manager:
        manager.save(3)
    x, y = batch(about["inputs"], about["targets"])
    return {**observe(model, x, y, parts=about["parts"]), "warnings": ours}


def _restored(about: dict[str, Any], place: pathlib.Path) -> dict[str, Any]:
    try:
        return _restore(about, place)
    except Exception:  # noqa: BLE001 - the others are to be seen too; the test of this one fails
        return {"failed": traceback.format_exc()}


def main(place: pathlib.Path, shard: int) -> None:
    """Restore every one of a shard, save each again, and write down what came back."""
    saved = json.loads((place / f"saved-{shard}.json").read_text())
    said = {name: _restored(about, place) for name, about in saved.items()}
    (place / f"restored-{shard}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
