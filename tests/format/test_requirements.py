from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_probckpt.format.requirements import requirements_of, variables_of
from keras_probckpt.records import Requirement, VariableRecord

IMPORT = {"$": "import", "module": "mypkg.models", "name": "Regressor", "registered": "mypkg>Regressor"}
PICKLE = {"$": "pickle", "index": 0, "module": "__main__", "name": "Net", "source": "class Net: ..."}
NEEDS_IMPORT = Requirement(kind="import", module="mypkg.models", name="Regressor")
NEEDS_PICKLE = Requirement(kind="unpickle", module="__main__", name="Net", source="class Net: ...")

SURROUNDINGS = st.recursive(
    st.just(IMPORT) | st.none() | st.integers() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
)


def test_what_a_restore_would_run_is_listed_once_in_the_order_of_the_document() -> None:
    """Wherever it stands: in lists, in dicts, in the arguments of other tagged nodes."""
    document = {
        "model": [{"$": "layer", "config": {"f": PICKLE}}, {**IMPORT, "arguments": [{**IMPORT, "name": "Inner"}]}],
        "compile": {"loss": PICKLE, "x": IMPORT},
    }

    found = requirements_of(document)

    inner = Requirement(kind="import", module="mypkg.models", name="Inner")
    assert found == (NEEDS_PICKLE, NEEDS_IMPORT, inner)


@pytest.mark.parametrize(
    "document", [None, 3, "import", [], {}, {"$": "layer"}, {"tag": "import"}, {"$": ["import"]}, {"$": None}]
)
def test_a_document_of_data_needs_nothing(document: object) -> None:
    """Other tags ask for nothing from outside."""
    assert requirements_of(document) == ()


@pytest.mark.parametrize(
    ("node", "described"),
    [
        ({"$": "import"}, "import <unnamed>.<unnamed>"),
        ({"$": "import", "module": None, "name": ["system"]}, "import None.['system']"),
        ({"$": "import", "module": {"$": "x"}, "name": 3}, "import {'$': 'x'}.3"),
        ({"$": "method", "module": "mypkg.models", "name": "Net.make"}, "import mypkg.models.Net.make"),
        ({"$": "pickle", "source": 3}, "unpickle <unnamed>.<unnamed>"),
    ],
)
def test_a_malformed_node_is_listed_too(node: object, described: str) -> None:
    """What the scan does not understand is shown, never hidden."""
    assert [found.describe() for found in requirements_of({"model": [node]})] == [described]


@given(SURROUNDINGS)
def test_no_place_hides_a_node(document: object) -> None:
    """A node is found exactly where its text occurs in the document."""
    assert requirements_of(document) == ((NEEDS_IMPORT,) if "Regressor" in repr(document) else ())


def test_depth_does_not_hide_a_node() -> None:
    """The scan does not recurse, so no depth ends it."""
    document: object = IMPORT
    for _ in range(100_000):
        document = [document]

    assert requirements_of(document) == (NEEDS_IMPORT,)


def test_variables_are_listed_in_order() -> None:
    """Paths, shapes and dtypes as records."""
    document = {
        "variables": [
            {"path": "a/kernel", "shape": [2, 0], "dtype": "float32", "later": "addition"},
            {"path": "step", "shape": [], "dtype": "int64"},
        ]
    }

    assert variables_of(document) == (
        VariableRecord(path="a/kernel", shape=(2, 0), dtype="float32"),
        VariableRecord(path="step", shape=(), dtype="int64"),
    )


def test_the_variables_of_optimizers_are_a_list_of_their_own() -> None:
    """Its name is in the error where it is malformed."""
    document = {"variables": [], "optimizer_variables": [GOOD]}

    assert variables_of(document, of="optimizer_variables") == (VariableRecord(path="a", shape=(2,), dtype="float32"),)
    with pytest.raises(ValueError, match="the recipe's optimizer_variables are None, expected a list"):
        variables_of({"variables": []}, of="optimizer_variables")


GOOD = {"path": "a", "shape": [2], "dtype": "float32"}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "the recipe's variables are None, expected a list"),
        ({}, "the recipe's variables are None, expected a list"),
        ({"variables": {"a": 1}}, "the recipe's variables are {'a': 1}, expected a list"),
        ({"variables": [GOOD, 3]}, "the recipe's variables[1] is 3, expected a path, a shape and a dtype"),
        ({"variables": [{**GOOD, "path": 3}]}, "the recipe's variables[0] is {"),
        ({"variables": [{**GOOD, "dtype": None}]}, "the recipe's variables[0] is {"),
        ({"variables": [{**GOOD, "shape": None}]}, "the recipe's variables[0] is {"),
        ({"variables": [{**GOOD, "shape": [True]}]}, "the recipe's variables[0] is {"),
        ({"variables": [{**GOOD, "shape": [-1]}]}, "the recipe's variables[0] is {"),
        ({"variables": [GOOD, GOOD]}, "the recipe lists the variable 'a' twice"),
    ],
)
def test_malformed_variables_are_refused(document: object, problem: str) -> None:
    """The error says which, and what stands there."""
    with pytest.raises(ValueError, match=r"recipe") as caught:
        variables_of(document)

    assert str(caught.value).startswith(problem)
