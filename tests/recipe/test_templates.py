from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from keras_probckpt.errors import MalformedRecipeError
from keras_probckpt.recipe.codec import Decoder
from keras_probckpt.recipe.kinds import ALL_KINDS, new_encoder
from tests.recipe.journeys import trust_of

tfb = tfp.bijectors


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("shift_only", "count"), [(False, 4), (True, 12)])
def test_a_template_of_a_flow_is_made_with_its_variables(shift_only: bool, count: int) -> None:  # noqa: FBT001
    """Its variables are made by its first call, and it holds them in a store of TensorFlow 1."""
    flow = tfb.RealNVP(1, shift_and_log_scale_fn=tfb.real_nvp_default_template([3] * count, shift_only=shift_only))
    flow.forward(tf.zeros((1, 4)))
    template, encoder = flow.parameters["shift_and_log_scale_fn"], new_encoder()

    node = encoder.encode(template, "model")
    decoder = Decoder(ALL_KINDS, arrays={}, resolve=trust_of().resolve, document=node, is_trusted=True)
    made = decoder.decode(node, "model")

    assert [item.shape for item in made.variables] == [item.shape for item in template.variables]
    for one, other in zip(made.variables, template.variables, strict=True):
        one.assign(other)
    inputs = np.float32([[0.5]])
    assert np.array_equal(made(inputs, 3)[0], template(inputs, 3)[0])


def test_a_stranger_calls_no_network() -> None:
    """To make its variables, a template is called: a file that nobody vouches for may not ask for that."""
    node = {"$": "template", "maker": "real_nvp_default_template", "arguments": {"hidden_layers": [3]}, "sizes": [1, 1]}
    decoder = Decoder(ALL_KINDS, arrays={}, resolve=trust_of("none").resolve, document=node)

    with pytest.raises(MalformedRecipeError) as caught:
        decoder.decode(node, "model")

    assert "only a trusted checkpoint may" in str(caught.value)
