from __future__ import annotations

import dataclasses
import inspect
import pathlib
from typing import Any

import pytest
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt import ProbCheckpoint
from tests.integration.tiny import Finish, Scores, X, Y, fit, names_in, new_model

Moment = tuple[Any, ...]


class Watch(tfk.callbacks.Callback):
    """Notes, after each batch and epoch, which entries of a directory are new or were written again."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self.events: list[tuple[Moment, str]] = []
        self._directory = directory
        self._known: dict[str, tuple[int, int]] = {}
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count the epochs."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look after a batch."""
        self._look(("batch", self._epoch, batch))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look after an epoch."""
        self._look(("epoch", epoch))

    def _look(self, moment: Moment) -> None:
        paths = [path for path in self._directory.glob("*") if not path.name.startswith(".")]
        now = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
        self.events += [(moment, name) for name in sorted(now) if self._known.get(name) != now[name]]
        self._known = now


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A training to which both callbacks listen.

    Attributes:
        arguments: Of both callbacks.
        name: Last part of both file paths, which `ModelCheckpoint` wants to end so.
        fits: Options of each `fit`, one after the other.
        scores: What the logs of each epoch say of `val_score`.
        steps_per_execution: Batches that `fit` runs between two calls of a callback.
    """

    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    name: str = "{epoch:02d}.weights.h5"
    fits: tuple[dict[str, Any], ...] = ({"epochs": 4},)
    scores: tuple[float | None, ...] = (3.0, 1.0, 2.0, 0.5)
    steps_per_execution: int = 1


BEST = {"save_best_only": True, "monitor": "val_score"}
NAN = float("nan")
CASES = {
    "every epoch": Case(),
    "one name for all": Case(name="best.weights.h5"),
    "two placeholders": Case(name="{epoch:02d}-{val_score:.2f}.weights.h5"),
    "best only, less is better": Case(arguments={**BEST, "mode": "min"}),
    "best only, more is better": Case(arguments={**BEST, "mode": "max"}, scores=(1.0, 0.5, 2.0, 3.0)),
    "best only, auto": Case(arguments={**BEST, "mode": "auto"}),
    "best only, one name": Case(arguments={**BEST, "mode": "min"}, name="best.weights.h5"),
    "best only, equal scores": Case(arguments={**BEST, "mode": "min"}, scores=(1.0, 1.0, 0.5, 0.5)),
    "best only, NaN first": Case(arguments={**BEST, "mode": "min"}, scores=(NAN, 2.0, NAN, 1.0)),
    "best only, late scores": Case(arguments={**BEST, "mode": "min"}, scores=(None, 2.0, None, 1.0)),
    "best only, threshold": Case(arguments={**BEST, "mode": "min", "initial_value_threshold": 1.5}),
    "best only, threshold of max": Case(arguments={**BEST, "mode": "max", "initial_value_threshold": 1.5}),
    "every second epoch": Case(arguments={"period": 2}, fits=({"epochs": 3}, {"epochs": 3})),
    "every second epoch, best only": Case(arguments={**BEST, "mode": "min", "period": 2}),
    "every batch": Case(arguments={"save_freq": 1}, name="{epoch}-{batch}.weights.h5", fits=({"epochs": 2},)),
    "every second batch": Case(arguments={"save_freq": 2}, name="{epoch}-{batch}.weights.h5"),
    "every fourth batch, one name": Case(arguments={"save_freq": 4}, name="last.weights.h5"),
    "batches count on over fits": Case(
        arguments={"save_freq": 5}, name="{epoch}-{batch:03d}.weights.h5", fits=({"epochs": 1}, {"epochs": 3})
    ),
    "batches ignore the period": Case(
        arguments={"save_freq": 2, "period": 3}, name="{epoch}-{batch}.weights.h5", fits=({"epochs": 2},)
    ),
    "batch logs": Case(arguments={"save_freq": 3}, name="{epoch}-{batch}-{loss:.3f}.weights.h5"),
    "best of batches": Case(
        arguments={"save_freq": 1, "save_best_only": True, "monitor": "loss", "mode": "min"},
        name="{epoch}-{batch}.weights.h5",
    ),
    "executions of two batches": Case(
        arguments={"save_freq": 2}, name="{epoch}-{batch}.weights.h5", steps_per_execution=2
    ),
    "executions longer than the frequency": Case(
        arguments={"save_freq": 1}, name="{epoch}-{batch}.weights.h5", steps_per_execution=3
    ),
    "executions of two and every epoch": Case(steps_per_execution=2),
    "several fits": Case(
        arguments={**BEST, "mode": "min"},
        name="{epoch}-{val_score:.1f}.weights.h5",
        fits=({"epochs": 2}, {"epochs": 4, "initial_epoch": 2}, {"epochs": 2}),
    ),
    "several fits under the same names": Case(fits=({"epochs": 2}, {"epochs": 3})),
    "validation": Case(
        arguments={"save_best_only": True, "mode": "min"},
        name="{epoch}-{val_loss:.4f}.weights.h5",
        fits=({"epochs": 4, "validation_data": (X, Y)},),
    ),
    "validation of every third epoch": Case(
        arguments={"save_best_only": True},
        fits=({"epochs": 6, "validation_data": (X, Y), "validation_freq": 3},),
        scores=(1.0,) * 6,
    ),
}


@pytest.mark.filterwarnings(
    # Both cases with late scores: what is said of them is the claim of other tests.
    "ignore:The monitor '.*' is not among the metrics:UserWarning"
)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_saves_when_model_checkpoint_does_and_under_the_same_name(
    case: Case, model: tfk.Sequential, tmp_path: pathlib.Path
) -> None:
    """In one fit both write at the same batches and epochs; where the user names each checkpoint, the same names."""
    stock, ours = tmp_path / "stock", tmp_path / "ours"
    is_template = "{" in case.name
    checkpoint = ProbCheckpoint(ours / case.name if is_template else ours, save_weights_only=True, **case.arguments)
    callbacks = [
        tfk.callbacks.ModelCheckpoint(str(stock / case.name), save_weights_only=True, **case.arguments),
        checkpoint,
        Finish(checkpoint),
    ]
    watches = [Watch(stock), Watch(ours)]
    model = _with_steps_per_execution(model, case.steps_per_execution)

    for options in case.fits:
        fit(model, Scores(val_score=case.scores), *callbacks, *watches, **options)

    expected, found = ([_seen(event, is_template=is_template) for event in watch.events] for watch in watches)
    assert found == expected
    assert found


def _seen(event: tuple[Moment, str], *, is_template: bool) -> object:
    return event if is_template else event[0]


def _with_steps_per_execution(model: tfk.Sequential, steps: int) -> tfk.Sequential:
    if steps == 1:
        return model
    model = new_model()
    model.compile("adam", loss=model.loss, steps_per_execution=steps)
    return model


def test_the_watch_sees_what_is_written_again(tmp_path: pathlib.Path) -> None:
    """The comparison above could fail: a name written twice is two events, one left alone is none."""
    watch = Watch(tmp_path)

    watch.on_epoch_end(0)
    (tmp_path / "a").write_text("1")
    watch.on_epoch_end(1)
    watch.on_epoch_end(2)
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_text("2")
    watch.on_epoch_end(3)

    assert watch.events == [(("epoch", 1), "a"), (("epoch", 3), "a")]


def test_the_first_nine_arguments_are_those_of_model_checkpoint() -> None:
    """A call with positional arguments means the same to both; everything new is keyword-only."""
    stock = list(inspect.signature(tfk.callbacks.ModelCheckpoint.__init__).parameters.values())
    ours = list(inspect.signature(ProbCheckpoint.__init__).parameters.values())

    shared = [(item.name, item.default, item.kind) for item in stock if item.kind is item.POSITIONAL_OR_KEYWORD]

    assert [(item.name, item.default, item.kind) for item in ours[: len(shared)]] == shared
    assert len(shared) == 1 + 9
    assert {item.kind for item in ours[len(shared) :]} == {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    }


def test_it_is_a_model_checkpoint(run: pathlib.Path) -> None:
    """Code that looks for a ModelCheckpoint among the callbacks finds it, with its attributes."""
    callback = ProbCheckpoint(str(run), "val_acc", 1, True, True, "max", 7, None, 0.25)  # noqa: FBT003 - the claim

    assert isinstance(callback, tfk.callbacks.ModelCheckpoint)
    assert (callback.filepath, callback.monitor, callback.verbose) == (str(run), "val_acc", 1)
    assert (callback.save_best_only, callback.save_weights_only, callback.save_freq) == (True, True, 7)
    assert callback.best == 0.25


@pytest.mark.parametrize(
    ("save_weights_only", "options"),
    [
        (False, tf.train.CheckpointOptions()),
        (True, tf.saved_model.SaveOptions()),
        (False, "options"),
        (True, {"experimental_io_device": "/job:localhost"}),
    ],
)
def test_options_of_the_wrong_kind_are_a_type_error(
    *, save_weights_only: bool, options: object, run: pathlib.Path
) -> None:
    """As in ModelCheckpoint, each way of saving has its kind of options."""
    with pytest.raises(TypeError, match="`options` must be"):
        ProbCheckpoint(run, save_weights_only=save_weights_only, options=options)


@pytest.mark.parametrize(
    ("save_weights_only", "options"), [(False, tf.saved_model.SaveOptions()), (True, tf.train.CheckpointOptions())]
)
def test_options_of_the_right_kind_are_taken(
    *, save_weights_only: bool, options: object, model: tfk.Sequential, run: pathlib.Path
) -> None:
    """A script that passes them goes on working; they have nothing to say here."""
    fit(model, ProbCheckpoint(run, "loss", save_weights_only=save_weights_only, options=options), epochs=1)

    assert names_in(run) == ["step-0000000003"]
