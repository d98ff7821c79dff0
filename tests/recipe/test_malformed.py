from __future__ import annotations

import copy
import json
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin, builder
from keras_probckpt.errors import MalformedRecipeError, UntrustedCheckpointError
from keras_probckpt.recipe.document import Recipe, RecipeReader
from keras_probckpt.recipe.kinds import ALL_KINDS
from keras_probckpt.training.variables import find_layers
from tests.recipe.journeys import described, read, trust_of


class Pair(ProbModelMixin, tfk.Model):
    """A subclassed model with arguments of several kinds."""

    def __init__(self, shape: Any, table: Any, *parts: Any, settings: Any = None) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(shape[0])
        self.parts, self.table, self.settings = parts, table, settings

    def call(self, inputs: Any) -> Any:
        """Apply the layer."""
        return self.dense(inputs)


@builder
def build(units: int, *, options: Any = None) -> tfk.Model:
    """Build a model."""
    return tfk.Sequential([tfk.layers.Dense(units, input_shape=(2,))])


def recipes() -> dict[str, Recipe]:
    """Describe a model of each way to make one."""
    sequential = tfk.Sequential(
        [
            tfk.layers.Dense(2, "relu", kernel_regularizer=tfk.regularizers.L2(0.1), input_shape=(3,)),
            tfp.layers.IndependentNormal(1, convert_to_tensor_fn=tfp.distributions.Distribution.mean),
        ]
    )
    sequential.compile(tfk.optimizers.Adam(0.1), loss="mse", metrics=[tfk.metrics.MeanAbsoluteError()])
    first, second = tfk.Input((2,), name="first"), tfk.Input((2,), name="second")
    shared = tfk.layers.Dense(2)
    merged = tfk.layers.Concatenate()([shared(first), shared(second)])
    functional = tfk.Model({"a": first, "b": second}, [merged, tfk.layers.Lambda(abs)(merged)])
    settings = {(1, 2): b"a", (3, 4): {2}, (5,): {"$": 1j}}
    pair = Pair((2, 3), np.arange(3.0), tfk.layers.Dense(1), float("nan"), settings=settings)
    built = build(2, options=[(1,)])
    models = {"sequential": sequential, "functional": functional, "subclassed": pair, "built": built}
    return {name: described(model) for name, model in models.items()}


RECIPES = recipes()
TAGS = sorted(kind.tag for kind in ALL_KINDS)
WITHOUT_REQUIRED_FIELDS = ["ellipsis", "tf.TensorShape"]
NAMES = ["tf_keras.layers.Dense", "tf_keras.layers.Lambda", "tfp.layers.DistributionLambda", "tf.math.abs"]
WORDS = ["$", "id", "class", "arguments", "items", "calls", "name", "layers"]
WORDS += ["same", "known", "tuple", "symbolic", "call"]

# Numbers stay small: a layer of 10**12 units is no malformed recipe, only a large one.
replacements = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(-2, 2) | st.sampled_from([*WORDS, *TAGS, *NAMES, ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=5,
)


def places_in(node: Any) -> list[tuple[Any, Any]]:
    """List every place of a document, as the container and the key or index in it."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, item in items for place in ((node, key), *places_in(item))]


@st.composite
def damaged_recipes(draw: st.DrawFn) -> tuple[dict[str, Any], Recipe]:
    """Take a recipe and put something else in one to three places, or leave something out."""
    recipe = RECIPES[draw(st.sampled_from(sorted(RECIPES)))]
    document = copy.deepcopy(recipe.document)
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places_in(document) or [(document, "model")]))
        how = draw(st.sampled_from(["replace", "remove", "move"]))
        if how == "remove":
            del container[key]
        elif how == "move":
            other, other_key = draw(st.sampled_from(places_in(document)))
            container[key] = copy.deepcopy(other[other_key])
        else:
            container[key] = draw(replacements)
    return document, recipe


@hypothesis.settings(max_examples=250, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(damaged_recipes(), st.sampled_from(["own", "unsigned"]))
def test_a_damaged_recipe_is_followed_or_refused(damaged: tuple[dict[str, Any], Recipe], signature: Any) -> None:
    """It builds some model or gives an error of ours that says where, never one of another kind."""
    document, recipe = damaged
    trust = trust_of(signature, code=recipe.code or b"")

    outcome: Any
    try:
        reader = RecipeReader(document, arrays=recipe.arrays, trust=trust)
        outcome = reader.build(None)
        reader.compile(outcome)
        reader.check_layers(find_layers(outcome), is_as_recorded=True)
    except (UntrustedCheckpointError, MalformedRecipeError) as error:
        outcome = error

    if isinstance(outcome, MalformedRecipeError):
        assert outcome.where.split("[")[0].split(".")[0] in {"recipe", *recipe.document}
        assert outcome.where in str(outcome)
    elif isinstance(outcome, UntrustedCheckpointError):  # To ask for code is not wrong in itself.
        assert outcome.requirements
    else:
        assert isinstance(outcome, tfk.Model)


@pytest.mark.parametrize("name", RECIPES)
def test_an_undamaged_recipe_is_followed(name: str) -> None:
    """Or the test before would prove nothing."""
    recipe = RECIPES[name]
    document = json.loads(json.dumps(recipe.document))
    reader = RecipeReader(document, arrays=recipe.arrays, trust=trust_of(code=recipe.code or b""))

    model = reader.build(None)

    assert reader.compile(model) == ""
    assert isinstance(model, tfk.Model)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag not in WITHOUT_REQUIRED_FIELDS])
@pytest.mark.parametrize(
    "fields", [{}, {"items": 3}, {"class": {}}, {"class": {"$": "same", "id": 1}, "arguments": {}}]
)
def test_a_node_of_any_tag_without_its_fields_is_refused(tag: str, fields: dict[str, Any]) -> None:
    """Also of the tags that later releases add."""
    with pytest.raises((MalformedRecipeError, UntrustedCheckpointError)):
        read({"$": tag, **fields}, trust=trust_of("own"))


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("number", [True, 1.5, "0", [0], 10**30])
def test_a_node_of_any_tag_with_an_id_of_another_kind_is_refused(tag: str, number: Any) -> None:
    """An id is a small integer, and only objects whose identity matters have one."""
    with pytest.raises((MalformedRecipeError, UntrustedCheckpointError)):
        read({"$": tag, "id": number}, trust=trust_of("own"))


GRAPH_ERRORS: list[dict[str, Any]] = [
    {"calls": [], "inputs": [], "outputs": []},
    {"calls": [{}], "inputs": [], "outputs": [], "name": "m"},
    {"calls": [[]], "inputs": [], "outputs": [], "name": "m"},
    {"calls": [[3]], "inputs": [], "outputs": [], "name": "m"},
    {"calls": [[{"$": "known", "name": "tf.math.abs"}]], "inputs": [], "outputs": [], "name": "m"},
    {"calls": [], "inputs": {"$": "symbolic", "call": 0, "output": 0}, "outputs": [], "name": "m"},
    {"calls": [], "inputs": {"$": "symbolic", "call": -1, "output": 0}, "outputs": [], "name": "m"},
    {"calls": [], "inputs": {"$": "symbolic", "call": True, "output": 0}, "outputs": [], "name": "m"},
    {"calls": [], "inputs": 3, "outputs": None, "name": "m"},
]


@pytest.mark.parametrize("fields", GRAPH_ERRORS, ids=str)
def test_a_graph_of_calls_that_cannot_be_made_is_malformed(fields: dict[str, Any]) -> None:
    """A call of no layer, an output of a call that has not been made."""
    with pytest.raises(MalformedRecipeError):
        read({"$": "functional", **fields})


@pytest.mark.parametrize("layers", [None, {}, [3], ["Dense"], [{"$": "known", "name": "tf_keras.layers.Dense"}]])
def test_a_sequence_of_what_is_no_layer_is_malformed(layers: Any) -> None:
    """Keras's own complaint is the cause."""
    with pytest.raises(MalformedRecipeError):
        read({"$": "sequential", "name": "m", "layers": layers})


DESCRIPTION: dict[str, Any] = {"layers": {}, "compile": {}, "functions": []}
DESCRIPTION_ERRORS: list[Any] = [
    None,
    [],
    "layers",
    {},
    {**DESCRIPTION, "layers": []},
    {**DESCRIPTION, "layers": {"": None}},
    {**DESCRIPTION, "layers": {"": {}}},
    {**DESCRIPTION, "layers": {"": {"class": {}, "config": {}}}},
    {**DESCRIPTION, "layers": {"": {"class": "A", "config": []}}},
    {**DESCRIPTION, "compile": None},
    {**DESCRIPTION, "functions": {}},
    {**DESCRIPTION, "functions": ["f"]},
    {**DESCRIPTION, "functions": [{"name": "f", "source": None, "uses": {}}]},
    {**DESCRIPTION, "functions": [{"name": "f", "source": "", "uses": []}]},
]


@pytest.mark.parametrize("description", DESCRIPTION_ERRORS, ids=str)
def test_a_description_of_another_form_is_malformed(description: Any) -> None:
    """It is looked at before anything is built."""
    document = {**RECIPES["subclassed"].document, "description": description}

    with pytest.raises(MalformedRecipeError, match="description"):
        RecipeReader(document, arrays={}, trust=trust_of())


@pytest.mark.parametrize("number", [-1, 7, 10**30])
def test_a_description_that_refers_to_what_is_not_in_it_is_malformed(number: int) -> None:
    """Where a function is looked up, it is there or refused."""
    recipe = RECIPES["subclassed"]
    document = copy.deepcopy(recipe.document)
    document["description"]["layers"][""]["code"] = number
    reader = RecipeReader(document, arrays=recipe.arrays, trust=trust_of(code=recipe.code or b""))
    model = reader.build(None)

    with pytest.raises(MalformedRecipeError, match=f"it has no function {number}"):
        reader.check_layers(find_layers(model), is_as_recorded=True)
