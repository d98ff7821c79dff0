"""The kinds of node and their specification."""

from __future__ import annotations

import importlib.resources

import pytest

from keras_probckpt.recipe.codec import Kind
from keras_probckpt.recipe.kinds import ALL_KINDS
from tests.recipe.journeys import described

SPECIFICATION = (importlib.resources.files("keras_probckpt") / "format" / "SPEC.md").read_text(encoding="utf-8")


def test_no_two_kinds_have_one_tag() -> None:
    """Or one of them could not be read."""
    tags = [kind.tag for kind in ALL_KINDS]

    assert sorted(set(tags)) == sorted(tags)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.tag)
def test_every_tag_is_specified(kind: Kind) -> None:
    """A file format that nobody wrote down is nobody's."""
    assert f"`{kind.tag}`" in SPECIFICATION or f'"$": "{kind.tag}"' in SPECIFICATION


def test_every_key_of_a_recipe_is_specified() -> None:
    """Those of the document as it is described; the rest are added by what writes the files."""
    import tf_keras as tfk

    model = tfk.Sequential([tfk.layers.Dense(2, input_shape=(3,))])

    document = described(model).document

    assert [key for key in document if f"| `{key}` |" not in SPECIFICATION] == []
