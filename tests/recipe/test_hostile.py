from __future__ import annotations

import pathlib
import pickle

import pytest
import tf_keras as tfk

from keras_probckpt import builder
from keras_probckpt.errors import MalformedRecipeError, UntrustedCheckpointError
from keras_probckpt.recipe.document import RecipeReader
from keras_probckpt.records import SignatureState
from keras_probckpt.training.variables import find_layers
from tests.recipe.hostility import hostile_documents, hostile_pickle
from tests.recipe.journeys import trust_of

NOT_OWN: list[SignatureState] = ["foreign", "unsigned"]


def test_the_hostile_pickle_of_these_tests_does_run(canary: pathlib.Path) -> None:
    """Or its absence would prove nothing."""
    pickle.loads(hostile_pickle(canary))  # noqa: S301 - it creates an empty directory

    assert canary.exists()


@builder
def build(units: int) -> tfk.Model:
    """Build a model, as a user would."""
    return tfk.Sequential([tfk.layers.Dense(units, input_shape=(2,))])


ATTACKS = list(hostile_documents(pathlib.Path("canary")))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("signature", NOT_OWN)
def test_a_hostile_recipe_runs_nothing(
    canary: pathlib.Path, attack: str, *, signature: SignatureState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever node it uses: an error of ours, and the canary does not appear."""
    monkeypatch.chdir(canary.parent)
    model = hostile_documents(canary)[attack]
    document = {"model": model, "calls": [], "compile": {"arguments": None}, "externals": []}

    with pytest.raises((MalformedRecipeError, UntrustedCheckpointError)):
        RecipeReader(document, arrays={}, trust=trust_of(signature, code=hostile_pickle(canary))).build(None)
    assert not canary.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_recipe_in_the_compile_arguments_or_calls_runs_nothing(canary: pathlib.Path, attack: str) -> None:
    """What is read after the model is no safer place."""
    node = hostile_documents(canary)[attack]
    model = build(units=1)
    trust = trust_of("unsigned", code=hostile_pickle(canary))
    document = {
        "model": {},
        "calls": [{"layer": "", "args": [node], "kwargs": {}}],
        "compile": {"arguments": {"optimizer": "sgd", "loss": node}},
        "externals": [],
    }

    with pytest.raises((MalformedRecipeError, UntrustedCheckpointError)):
        RecipeReader(document, arrays={}, trust=trust).compile(model)
    with pytest.raises((MalformedRecipeError, UntrustedCheckpointError)):
        RecipeReader(document, arrays={}, trust=trust).call_symbolically(
            lambda: find_layers(model), is_complete=lambda: False
        )
    assert not canary.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_recipe_behind_a_reference_runs_nothing(canary: pathlib.Path, attack: str) -> None:
    """A definition may stand anywhere in the file, outside of what is checked beforehand."""
    hidden = {**hostile_documents(canary)[attack], "id": 0}
    model = {"$": "sequential", "name": "m", "layers": [{"$": "same", "id": 0}]}
    document = {"model": model, "elsewhere": [hidden], "calls": [], "compile": {}, "externals": []}

    with pytest.raises((MalformedRecipeError, UntrustedCheckpointError)):
        RecipeReader(document, arrays={}, trust=trust_of("unsigned", code=hostile_pickle(canary))).build(None)
    assert not canary.exists()
