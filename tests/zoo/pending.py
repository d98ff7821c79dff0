"""The models of the zoo that do not come back yet: name and reason of each."""

from __future__ import annotations

__all__ = ["PENDING"]

PENDING: tuple[tuple[str, str], ...] = (
    ("attributes: a head replaced by one of another size after the model was made", "refused: other variables"),
    ("attributes: a layer that is added to a list before the model is trained", "refused: other variables"),
    ("attributes: a prior replaced by one that is trained, before it is trained", "refused: other variables"),
    (
        "attributes: a regularizer that is given to a layer after it was made",
        "refused: a kernel_regularizer without effect has one when it is restored, and the losses differ",
    ),
    ("drawn: a lookup table that is made of the words before it is trained", "refused: its constructor makes none"),
    (
        "drawn: what is drawn when a model is built and when it is first called",
        "saved again, its recipe reads otherwise",
    ),
    ("public: a clustering VAE whose prior has an optimizer of its own", "refused: other variables"),
    ("public: a flow of templates that is set before the model is initialised", "refused: a template of TensorFlow 1"),
    (
        "public: an amortizer over conditional couplings with drawn permutations",
        "saved again, its recipe reads otherwise",
    ),
)
