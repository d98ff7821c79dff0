from __future__ import annotations

import pathlib
import warnings

import numpy as np
import pytest

from keras_probckpt import restore_best, restore_latest
from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.storage.keys import KEY_VARIABLE
from tests.conftest import CHECKOUT
from tests.counts import count
from tests.golden.models import X
from tests.golden.refusals import KEY
from tests.integration.processes import start

GOLDEN = CHECKOUT / "tests/golden/v1/must_load/newest/sequential/step-0000000002"
# A real model's files, saved again and again under the next step's name; the two newest and the best stay.
SAVE_IN_A_LOOP = """
import dataclasses, itertools, pathlib, sys
from keras_probckpt.storage.catalog import verify_checkpoint
from keras_probckpt.storage.run import RunWriter
golden = pathlib.Path(sys.argv[1])
info = verify_checkpoint(golden)
contents = {name: (golden / name).read_bytes() for name in info.files}
writer = RunWriter(pathlib.Path("run").absolute())
writer.open()
for step in itertools.count(1):
    manifest = dataclasses.replace(info, run=writer.run, run_number=1, step=step, logs={"loss": 1.0 / step})
    files = {name: [content] for name, content in contents.items()}
    writer.commit("best" if step % 2 else f"step-{step}", manifest=manifest, files=files)
    for old in writer.infos[:-2]:
        writer.remove(old)
    if step == 3:
        print("saving", flush=True)
    if pathlib.Path("done").exists():
        break
"""


@pytest.mark.parametrize("number", [pytest.param(12, id="short"), pytest.param(600, id="long", marks=pytest.mark.long)])
def test_a_model_restored_beside_a_writer_is_whole_or_said_to_be_gone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Another process saves, replaces and prunes all the while: never damage, never a mixture, never another error."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    expected = restore_latest(GOLDEN)(X).mean().numpy()
    writer = start(tmp_path, "-c", SAVE_IN_A_LOOP, str(GOLDEN))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "saving\n"
    gone: list[str] = []
    restored = 0

    try:
        while restored < number:
            restore = restore_best if restored % 2 else restore_latest
            try:
                model = restore(tmp_path / "run")
            except CheckpointNotFoundError as error:
                gone.append(str(error))
                # Far more often than not, and nobody could restore from a run that is being written.
                if len(gone) > 10 * number:
                    break
                continue
            restored += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert np.array_equal(model(X).mean().numpy(), expected)
    finally:
        (tmp_path / "done").touch()
        said = writer.communicate()[1]

    assert said == ""
    assert restored == number
    assert [error for error in gone if not error.endswith("Call it again.")] == []
    count("models restored beside a writer", restored)
    count("of a writer's checkpoints gone while they were restored", len(gone))
