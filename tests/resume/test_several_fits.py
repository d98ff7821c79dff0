from __future__ import annotations

import dataclasses
import itertools
import pathlib
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import CheckpointManager, ProbCheckpoint, list_checkpoints
from keras_probckpt.errors import CheckpointNotFoundError
from keras_probckpt.records import CheckpointInfo, Manifest
from tests.resume.test_changes import bytes_below
from tests.resume.trainings import Crash, CrashError, X, Y, arrays, attempt, density_model, plain_model
from tests.storage.samples import store_of


def staged_training(run: pathlib.Path, *, crash: tuple[int, int] | None = None) -> tuple[Any, ...]:
    """Fit in three stages with one callback: with Adam, then anew with another optimizer, then on from there."""
    tfk.utils.set_random_seed(1)
    model = density_model()
    checkpoint = ProbCheckpoint(run, "loss", resume=True, rehearse=False)
    histories = []

    def fit(*more: tfk.callbacks.Callback, **options: Any) -> None:
        training = model.fit(**arrays(), verbose=0, callbacks=[checkpoint, *more], **options)
        histories.append((training.epoch, training.history))

    fit(epochs=2)
    model.compile(tfk.optimizers.SGD(0.03125, momentum=0.5), model.loss)
    fit(*([] if crash is None else [Crash(*crash)]), epochs=2)
    fit(epochs=4, initial_epoch=2)
    return [weight.tobytes() for weight in model.get_weights()], histories, checkpoint.best_model_score


def test_stages_that_were_over_are_passed_over(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """A script of three fits, killed in the second: run again, it goes on there, with the second's optimizer."""
    whole = staged_training(run.with_name("whole"))
    with pytest.raises(CrashError):
        staged_training(run, crash=(1, 2))
    said.clear()

    again = staged_training(run)

    assert again == whole
    assert [epochs for epochs, _ in whole[1]] == [[0, 1], [0, 1], [2, 3]]
    assert said.messages[0] == "Fit 1 of this callback was over before; fit 2 is to go on."
    assert len({info.run for info in list_checkpoints(run)}) == 1


def test_a_later_first_epoch_than_was_reached_is_the_users_choice(run: pathlib.Path) -> None:
    """`initial_epoch` beyond the checkpoint is obeyed, with the state that was saved."""
    first = attempt(run, new_model=plain_model, fit={"epochs": 2})

    later = attempt(run, new_model=plain_model, fit={"epochs": 5, "initial_epoch": 4})

    assert len(later.seen) == 6
    assert int(later.model.optimizer.iterations) == 18
    assert later.history["loss"][:2] == first.history["loss"]
    assert later.model.history.epoch == [0, 1, 4]


def test_an_earlier_first_epoch_than_was_reached_does_not_go_back(run: pathlib.Path) -> None:
    """The same script with its `initial_epoch` goes on where it was."""
    whole = attempt(run.with_name("whole"), new_model=plain_model, fit={"initial_epoch": 1, "epochs": 4})
    attempt(run, crash=(2, 1), new_model=plain_model, fit={"initial_epoch": 1, "epochs": 4})

    resumed = attempt(run, new_model=plain_model, fit={"initial_epoch": 1, "epochs": 4})

    assert resumed.result == whole.result
    assert resumed.model.history.epoch == [1, 2, 3]


def test_a_run_may_begin_from_a_checkpoint_of_another(run: pathlib.Path) -> None:
    """The other is only read, however often the script is run; the new run goes on with its own checkpoints."""
    source = run.with_name("source")
    whole = attempt(source, new_model=plain_model, save_top_k=-1)
    from_here = source / "step-0000000006"
    before = bytes_below(source)

    attempt(run, crash=(2, 3), new_model=plain_model, resume=from_here, save_top_k=-1)
    first_own = [info.step for info in list_checkpoints(run)]
    resumed = attempt(run, new_model=plain_model, resume=from_here, save_top_k=-1)

    assert resumed.result == whole.result
    assert len(resumed.seen) == 6
    assert first_own == [12]
    assert [info.step for info in list_checkpoints(run)] == [12, 18]
    assert {info.run for info in list_checkpoints(run)}.isdisjoint(info.run for info in list_checkpoints(source))
    assert bytes_below(source) == before


def test_what_cannot_be_gone_on_from_is_an_error_at_once(run: pathlib.Path) -> None:
    """A path that was mistyped trains nothing."""
    with pytest.raises(CheckpointNotFoundError, match="nothing-here"):
        attempt(run, resume=run / "nothing-here")


def with_other_versions(info: CheckpointInfo, versions: dict[str, str]) -> None:
    """Write a checkpoint as if other releases had: signed as ever."""
    manifest = Manifest(**{field.name: getattr(info, field.name) for field in dataclasses.fields(Manifest)})
    files = {name: [memoryview((info.path / name).read_bytes())] for name in info.files}
    other = dataclasses.replace(manifest, versions={**info.versions, **versions}, files={})
    store_of(info.path.parent).commit(info.name, manifest=other, files=files)


def test_other_releases_are_named(run: pathlib.Path, said: pytest.LogCaptureFixture) -> None:
    """In one line; training goes on."""
    attempt(run, new_model=plain_model, fit={"epochs": 1})
    (info,) = list_checkpoints(run)
    now = info.versions["numpy"]
    with_other_versions(info, {"numpy": "1.0", "python": "2.7"})
    said.clear()

    resumed = attempt(run, new_model=plain_model, fit={"epochs": 1})

    assert resumed.seen == []
    assert said.messages[0] == (
        f"The checkpoint was written with other versions: numpy 1.0 (now {now}), "
        f"python 2.7 (now {info.versions['python']})."
    )


def test_two_callbacks_that_resume_go_on_together(run: pathlib.Path) -> None:
    """Each from its own directory."""

    def training(epochs: int) -> list[bytes]:
        tfk.utils.set_random_seed(1)
        model = plain_model()
        callbacks = [
            ProbCheckpoint(run / name, "loss", resume=True, rehearse=False, save_freq=6) for name in ("a", "b")
        ]
        model.fit(X, Y, batch_size=2, shuffle=False, epochs=epochs, verbose=0, callbacks=callbacks)
        return [weight.tobytes() for weight in model.get_weights()]

    whole = training(2)
    assert training(2) == whole
    assert [info.step for info in list_checkpoints(run / "b")] == [12]


def test_a_callback_that_resumes_in_another_way_is_refused(run: pathlib.Path) -> None:
    """tf_keras's `BackupAndRestore` puts back what this does; the message says which to leave out."""
    backup = tfk.callbacks.BackupAndRestore(str(run / "backup"))

    with pytest.raises(ValueError, match="BackupAndRestore"):
        attempt(run, new_model=plain_model, new_callbacks=lambda: [backup])


def test_a_manager_and_a_callback_share_a_run(run: pathlib.Path) -> None:
    """A loop may go on from what a fit saved; of legacy optimizers too, which make their variables late."""
    trained = attempt(run, new_model=plain_model)
    model = plain_model()
    manager = CheckpointManager(model, run, monitor="loss")

    point = manager.resume()
    manager.close()

    assert point is not None
    assert (point.info.step, point.info.epoch) == (18, 3)
    assert [value.tobytes() for value in model.get_weights()] == trained.weights
    assert int(model.optimizer.iterations) == 18


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_first_epoch_that_was_reached_leaves_the_data_of_those_to_come(
    run: pathlib.Path, first: int, *, shuffle: bool
) -> None:
    """tf_keras repeats arrays for the epochs from `initial_epoch` on only, without what was used before."""
    attempt(run, new_model=plain_model, new_data=lambda: arrays(shuffle=shuffle), fit={"epochs": 2})

    resumed = attempt(
        run, new_model=plain_model, new_data=lambda: arrays(shuffle=shuffle), fit={"epochs": 5, "initial_epoch": first}
    )

    assert len(resumed.seen) == 18
    assert [sorted(itertools.chain(*resumed.seen[at : at + 6])) for at in (0, 6, 12)] == [X[:, 0].tolist()] * 3
    assert resumed.model.history.epoch == [0, 1, 2, 3, 4]
    assert min(resumed.history["loss"]) > 0.0


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_first_epoch_given_once_one_after_it_was_cut_trains_the_rest_of_each(
    run: pathlib.Path, *, shuffle: bool
) -> None:
    """The cut epoch goes on with the batches that were still to come, and the later ones have all of theirs."""
    script: dict[str, Any] = {"new_model": plain_model, "new_data": lambda: arrays(shuffle=shuffle), "save_freq": 2}
    before = attempt(run, crash=(3, 4), fit={"epochs": 5}, **script)

    resumed = attempt(run, fit={"epochs": 5, "initial_epoch": 2}, **script)

    assert len(resumed.seen) == 2 + 6
    assert sorted(itertools.chain(*before.seen[18:22], *resumed.seen[:2])) == X[:, 0].tolist()
    assert sorted(itertools.chain(*resumed.seen[2:])) == X[:, 0].tolist()


def test_a_loop_of_fits_with_a_callback_each_is_one_training(run: pathlib.Path) -> None:
    """keras#4446: `fit(initial_epoch=r, epochs=r + 1)` in a loop trains every round, in one run."""
    tfk.utils.set_random_seed(1)
    model, rounds = plain_model(), []

    for number in range(4):
        checkpoint = ProbCheckpoint(run, "loss", resume=True, rehearse=False, save_top_k=-1)
        training = model.fit(
            X, Y, batch_size=2, verbose=0, callbacks=[checkpoint], initial_epoch=number, epochs=number + 1
        )
        rounds.append(training.epoch)

    assert rounds == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert int(model.optimizer.iterations) == 24
    assert [info.epoch for info in list_checkpoints(run)] == [1, 2, 3, 4]
