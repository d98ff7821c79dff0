from __future__ import annotations

import math
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.policy.naming import (
    format_name,
    is_template,
    next_run_number,
    placeholders_of,
    require_plain_parents,
    step_name,
)
from keras_probckpt.records import CheckpointInfo, Manifest


def manifest_of(run_number: int) -> Manifest:
    """Make a checkpoint of some run."""
    return CheckpointInfo(
        run="0a1b2c3d",
        run_number=run_number,
        step=1,
        epoch=1,
        batch=None,
        logs={},
        objective=None,
        is_weights_only=False,
        created_at="2026-11-23T00:00:00Z",
        versions={},
        custom_metadata={},
        files={},
        path=pathlib.Path("step-0000000001"),
        signature="own",
    )


def named(template: str, **changed: Any) -> str:
    """Fill in a template at the end of epoch 3."""
    known = {"epoch": 3, "batch": None, "step": 1200, "logs": {"loss": 0.25, "val_loss": 0.5}}
    return format_name(template, **{**known, **changed})


@pytest.mark.parametrize(
    ("step", "run_number", "name"),
    [
        (1200, 1, "step-0000001200"),
        (0, 1, "step-0000000000"),
        (1200, 2, "step-0000001200-0a1b2c3d"),
        (12345678901, 1, "step-12345678901"),
    ],
)
def test_a_checkpoint_is_named_by_step_and_later_runs_by_run_too(step: int, run_number: int, name: str) -> None:
    """Ten digits sort as numbers do."""
    assert step_name(step, run="0a1b2c3d", run_number=run_number) == name


def test_a_negative_step_is_rejected() -> None:
    """There is no update before the first."""
    with pytest.raises(ValueError, match="step must be at least 0, got -1"):
        step_name(-1, run="0a1b2c3d", run_number=1)


@given(
    st.tuples(st.integers(0, 10**11), st.integers(1, 3)),
    st.tuples(st.integers(0, 10**11), st.integers(1, 3)),
)
def test_names_we_choose_never_collide(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Two checkpoints of one directory have one name only if they have one step and one run."""
    runs = {1: "11111111", 2: "22222222", 3: "33333333"}
    names = {step_name(step, run=runs[number], run_number=number) for step, number in (first, second)}

    assert len(names) == len({first, second})


@pytest.mark.parametrize(("numbers", "following"), [([], 1), ([1], 2), ([3, 1, 2], 4), ([7, 7], 8)])
def test_a_new_run_is_numbered_after_the_highest(numbers: list[int], following: int) -> None:
    """A number is not used again while a checkpoint bears it."""
    assert next_run_number([manifest_of(number) for number in numbers]) == following


def test_a_stranger_leaves_ones_own_runs_their_numbers() -> None:
    """The largest number there is has none after it; those of honest others count, to be told apart."""
    own, honest, absurd = [manifest_of(2)], manifest_of(7), manifest_of(2**63 - 1)

    assert next_run_number(own, others=[absurd]) == 3
    assert next_run_number(own, others=[absurd, honest]) == 8
    assert next_run_number([manifest_of(2**31 + 1)], others=[manifest_of(2**31 + 7)]) == 2**31 + 2


@pytest.mark.parametrize(("last_part", "expected"), [("{epoch:02d}", True), ("a-{epoch}.keras", True), ("exp1", False)])
def test_a_brace_makes_a_template(last_part: str, *, expected: bool) -> None:
    """Without one the path is the directory of the run."""
    assert is_template(last_part) is expected


@pytest.mark.parametrize(
    ("template", "changed", "name"),
    [
        ("weights.{epoch:02d}-{val_loss:.2f}.keras", {}, "weights.03-0.50.keras"),
        ("{epoch}", {}, "3"),
        ("{epoch:03d}-{batch:04d}", {"batch": 17}, "003-0017"),
        ("{batch}", {"logs": {"batch": 5.0}}, "5.0"),
        ("{batch}", {"batch": 17, "logs": {"batch": 5.0}}, "5.0"),
        ("{epoch}", {"logs": {"epoch": 9.0}}, "3"),
        ("at-{step}", {}, "at-1200"),
        ("at-{step}", {"logs": {"step": 7.0}}, "at-7.0"),
        ("{val_loss}", {"epoch": None}, "0.5"),
        ("{val_loss!r:>6}", {}, "   0.5"),
        ("{val_loss:.2f}", {"logs": {"val_loss": math.nan}}, "nan"),
        ("{val_loss:+.1e}", {}, "+5.0e-01"),
        ("{{{epoch}}}", {}, "{3}"),
        ("plain", {}, "plain"),
        ("é-{epoch}", {}, "é-3"),
        ("x" * 199 + "{epoch}", {}, "x" * 199 + "3"),
    ],
)
def test_a_template_is_filled_in_as_model_checkpoint_does(template: str, changed: dict[str, Any], name: str) -> None:
    """Epochs and batches count from 1, any metric can be named, and a metric called batch takes its place."""
    assert named(template, **changed) == name


@pytest.mark.parametrize(
    ("template", "changed", "message"),
    [
        ("{vall_loss}", {}, "asks for {vall_loss}; known are epoch, loss, step, val_loss. Did you mean {val_loss}?"),
        ("{nothing_alike}", {}, "known are epoch, loss, step, val_loss. Nothing was saved"),
        ("{batch}", {}, "{batch} is known only at saves inside of an epoch: pass save_freq="),
        ("{Epoch}", {}, "Did you mean {epoch}?"),
        ("{epoch}", {"epoch": None, "step": None, "logs": {}}, "known are no names."),
        ("{step}", {"step": None}, "known are epoch, loss, val_loss."),
        ("{ epoch }", {}, "Did you mean {epoch}?"),
    ],
)
def test_an_unknown_placeholder_is_answered_with_the_known_ones(
    template: str, changed: dict[str, Any], message: str
) -> None:
    """A KeyError, as ModelCheckpoint raises, that says what there is."""
    with pytest.raises(KeyError) as caught:
        named(template, **changed)

    assert repr(template) in caught.value.args[0]
    assert message in caught.value.args[0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{}", "has the placeholder {}, which names nothing"),
        ("{0}", "has the placeholder {0}, which names nothing"),
        ("{epoch.__class__}", "reaches into a value with {epoch.__class__}"),
        ("{epoch[0]}", "reaches into a value with {epoch[0]}"),
        ("{.real}", "reaches into a value"),
        ("{epoch:{loss}}", "has a placeholder inside the format of {epoch}"),
        ("{epoch:9999d}", "asks for a width of thousands in {epoch:9999d}"),
        ("{epoch", "is malformed: expected '}' before end of string"),
        ("{epoch}}", "is malformed: Single '}' encountered"),
        ("{epoch!}", "is malformed"),
    ],
)
def test_a_template_is_data(template: str, message: str) -> None:
    """It may name values and their formats, and nothing else: it is refused before anything is filled in."""
    for use in (placeholders_of, named):
        with pytest.raises(ValueError, match="Nothing was saved") as caught:
            use(template)
        assert repr(template) in str(caught.value)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{val_loss:d}", "formats val_loss = 0.5 with 'd': Unknown format code 'd'"),
        ("{epoch:zz}", "formats epoch = 3 with 'zz': "),
        ("{epoch!x}", "formats epoch = 3 with '': Unknown conversion specifier"),
        ("{epoch:.2d}", "formats epoch = 3 with '.2d': Precision not allowed"),
    ],
)
def test_a_format_that_does_not_suit_its_value_is_named(template: str, message: str) -> None:
    """The error shows the name, the value and the format."""
    with pytest.raises(ValueError, match="Whole numbers take formats such as 02d") as caught:
        named(template)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "gives the name '', which is empty"),
        (".{epoch}", "gives the name '.3', which starts with a dot"),
        ("{epoch}/a", "gives the name '3/a', which is not one plain part of a path"),
        ("{epoch:/>3}", "gives the name '//3', which is not one plain part of a path"),
        ("{epoch}\\a", "which is not one plain part of a path"),
        ("{epoch}\0", "which is not one plain part of a path"),
        ("{epoch:0201d}", "asks for a width of thousands"),
        ("{epoch:201d}", "takes 201 bytes, more than 200"),
        ("é" * 100 + "{epoch}", "takes 201 bytes, more than 200"),
    ],
)
def test_a_result_that_is_no_plain_name_is_refused(template: str, message: str) -> None:
    """A checkpoint is one visible directory directly in that of its run."""
    with pytest.raises(ValueError, match="Nothing was saved") as caught:
        named(template)

    assert message in str(caught.value)


def test_the_placeholders_of_a_template_are_listed() -> None:
    """So a callback can look at them before anything is trained."""
    assert placeholders_of("a-{epoch:02d}-{{x}}-{val_loss:.2f}") == ("epoch", "val_loss")
    assert placeholders_of("plain") == ()


@given(st.text(max_size=30), st.floats(), st.integers(1, 10**6))
def test_a_template_gives_a_plain_name_or_one_of_two_errors(template: str, score: float, epoch: int) -> None:
    """Whatever is written in it, nothing but a KeyError or ValueError comes out, and no path."""
    try:
        name = named(template, epoch=epoch, logs={"val_loss": score})
    except (KeyError, ValueError):
        return

    assert name == pathlib.PurePosixPath(name).name
    assert not name.startswith(".")


def outcome_of(template: str) -> str:
    """Fill in a template, or read what is said against it."""
    try:
        return named(template, batch=4)
    except ValueError as error:
        return str(error)


@given(
    st.sampled_from(["epoch", "batch", "step", "val_loss"]),
    st.text(alphabet="0123456789.+-<>^=_,#%efgdxsbcn !r:", max_size=8),
)
def test_any_format_of_a_known_name_gives_a_plain_name_or_an_error(field: str, spec: str) -> None:
    """Formats that Python refuses are ValueErrors of ours, which quote the template."""
    template = f"{{{field}:{spec}}}"

    outcome = outcome_of(template)

    assert repr(template) in outcome or 0 < len(outcome.encode()) <= 200


def outcome_of_parts(parts: tuple[str, ...]) -> str:
    """Give the error that a path is refused with, empty if it is not."""
    try:
        require_plain_parents(parts)
    except ValueError as error:
        return str(error)
    return ""


def test_a_placeholder_before_the_last_part_is_refused_by_name() -> None:
    """One run has one directory, so what precedes the last part is the same for all of its checkpoints."""
    with pytest.raises(ValueError, match=r"a placeholder in '{epoch}'.* only the last part of a filepath may hold"):
        require_plain_parents(("runs", "{epoch}", "model"))


@pytest.mark.parametrize("parts", [(), ("runs",), ("{epoch:02d}",), ("/", "runs", "exp1"), ("runs", "{epoch}-{loss}")])
def test_a_placeholder_in_the_last_part_alone_is_fine(parts: tuple[str, ...]) -> None:
    """So is none at all."""
    problem = outcome_of_parts(parts)

    assert problem == ""
