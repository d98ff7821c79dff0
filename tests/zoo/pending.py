"""The models of the zoo that do not come back yet: name and reason of each."""

from __future__ import annotations

__all__ = ["PENDING"]

PENDING: tuple[tuple[str, str], ...] = (
    # Refused at the first save.
    ("public: a clustering VAE whose prior has an optimizer of its own", "arguments of a plain Model are not known"),
    ("public: a flow of templates that is set before the model is initialised", "the same"),
    (
        "public: a kernel mixture network whose centers are found in the data",
        "arguments of a DistributionLambda subclass",
    ),
    ("public: a conditional autoregressive flow, with log_prob of symbolic tensors", "tf.broadcast_dynamic_shape"),
    ("public: an autoencoder with planar steps", "tf.broadcast_dynamic_shape, in a loss of a Functional model"),
    (
        "public: evidential regression, by a layer whose get_config does not fit its constructor",
        "a get_config that does not fit is trusted",
    ),
    ("public: distribution layers by alias, that remember what they gave last", "a prior that is set is lost"),
    ("public: a forecaster with an embedding of its groups, switched before it is trained", "arguments of a Loss"),
    ("attributes: an argparse namespace with a list, changed between two saves", "refused by the mixin"),
    ("drawn: a lookup table that is made of the words before it is trained", "a table that is set is lost"),
    ("attributes: a head replaced by one of another size after the model was made", "a layer that is set is lost"),
    ("attributes: a layer that is added to a list before the model is trained", "a layer that is added is lost"),
    ("attributes: a prior replaced by one that is trained, before it is trained", "variables that are set are lost"),
    # Silently another function.
    (
        "public: a Sequential subclass whose fit sets the mean that its Lambda subtracts",
        "arrays that fit sets are lost",
    ),
    ("public: autoregressive steps with normalisation and drawn orders", "a drawn order of tfb.Permute"),
    ("public: a Kalman filter over codes, with a drawn observation matrix", "a drawn tensor"),
    (
        "public: a mixture of latents over a drawn prior, weighed by the iterations of the optimizer",
        "a drawn prior, and Nadam's _u_product_counter",
    ),
    ("public: a soft actor-critic with four optimizers and a list of past returns", "a deque of numbers"),
    ("attributes: a number of a layer in a list, changed between two saves", "a number"),
    ("attributes: an item of a dict in a list in a dict, changed between two saves", "an item of a dict"),
    ("attributes: a function of a layer in a dict, set before it is trained", "functions"),
    ("attributes: a method replaced on an instance", "a method on an instance"),
    ("attributes: a dataclass that was an argument, changed between two saves", "an argument that is changed"),
    ("attributes: a plain object that is fitted before the model is", "attributes of a plain object"),
    ("attributes: a list in the closure of a distribution, changed between two saves", "what a closure holds now"),
    ("attributes: a global that a lambda reads, changed between two saves", "what a global is now"),
    (
        "attributes: a regularizer that is given to a layer after it was made",
        "a kernel_regularizer without effect has one when it is restored",
    ),
    ("attributes: a prior replaced by another between two saves", "a distribution"),
    ("attributes: a part of a nested model frozen between two saves", "trainable is warned of, not put back"),
    ("attributes: layers of a user and of a nested model frozen before the model is compiled", "trainable is lost"),
    ("attributes: a step that counts, remembers losses and finds a scale", "a number, a deque and a tensor"),
    ("attributes: the weight of a loss object, raised between two saves", "a number of a loss object"),
    ("drawn: what is drawn when a model is built and when it is first called", "tensors, arrays and a ragged tensor"),
    ("drawn: a bijector of one's own with a drawn rotation", "an array of a bijector"),
    ("drawn: a Bayesian graph convolution along drawn edges", "a sparse tensor"),
    ("drawn: random features of ragged rows, with a generator of one's own", "a tensor of float64"),
)
