"""Policies, and a copula, as public repositories write them, re-told at the smallest size that trains.

Nothing is copied: the structure is the case, and each names the repository and the path that it re-tells.
In a module that a later process can import.
"""

from __future__ import annotations

import collections
import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from keras_probckpt import ProbModelMixin
from tests.zoo.cases import Cases, Made, compiled

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tfk.layers

CASES = Cases()
public = functools.partial(CASES.add, control="a step further")

LOG_SCALES = (-5.0, 2.0)


class Squash(tfb.Tanh):
    """The bijector that keeps actions between -1 and 1."""

    def _inverse(self, y: Any) -> Any:
        return tf.atanh(tf.clip_by_value(y, -0.999, 0.999))


# rail-berkeley/softlearning: softlearning/policies/gaussian_policy.py
@public(
    "public: a policy of lambdas over a base distribution and a bijector of one's own",
    inputs="pair",
    targets=[(2,), (1,)],
)
def _gaussian_policy() -> Made:
    base, squash, bounds = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2)), Squash(), LOG_SCALES
    inputs = [tfk.Input((2,)), tfk.Input((1,))]
    conditions = layers.Lambda(lambda parts: tf.concat(parts, axis=-1))(inputs)
    both = layers.Dense(4)(layers.Dense(3, "relu")(conditions))
    shift, log_scale = layers.Lambda(lambda t: tf.split(t, num_or_size_splits=2, axis=-1))(both)
    log_scale = layers.Lambda(lambda t: tf.clip_by_value(t, *bounds))(log_scale)
    size = layers.Lambda(lambda t: tf.shape(t)[0])(conditions)
    latents = layers.Lambda(lambda count: base.sample(count))(size)  # noqa: PLW0108 - as users write

    def act(parts: Any) -> Any:
        affine = tfb.Chain([tfb.Shift(parts[0]), tfb.Scale(log_scale=parts[1])])
        return squash.forward(affine.forward(parts[2]))

    def log_pis(parts: Any) -> Any:
        chain = tfb.Chain([squash, tfb.Shift(parts[0]), tfb.Scale(log_scale=parts[1])])
        return tfd.TransformedDistribution(base, chain).log_prob(parts[2])[:, None]

    actions = layers.Lambda(act)((shift, log_scale, latents))
    log_probs = layers.Lambda(log_pis)([shift, log_scale, actions])
    return compiled(tfk.Model(inputs, (actions, log_probs)), loss=["mse", "mae"])


class Actor(tfk.Model):
    """A squashed policy whose `call` is traced and gives three tensors."""

    def __init__(self, states: int, actions: int) -> None:
        super().__init__()
        orthogonal = {"kernel_initializer": "orthogonal"}
        first = layers.Dense(3, input_shape=(states,), activation=tf.nn.relu, **orthogonal)
        self.trunk = tfk.Sequential([first, layers.Dense(2 * actions, **orthogonal)])

    def distribution_and_mode(self, states: Any) -> tuple[Any, Any]:
        """Give the policy of states, and the best actions."""
        mu, log_scale = tf.split(self.trunk(states), num_or_size_splits=2, axis=1)
        low, high = LOG_SCALES
        scale = tf.exp(low + 0.5 * (high - low) * (tf.tanh(log_scale) + 1))
        chain = tfb.Chain([tfb.Tanh(), tfb.Shift(mu), tfb.ScaleMatvecDiag(scale)])
        return tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros_like(mu)), chain), tf.tanh(mu)

    @tf.function
    def call(self, states: Any) -> Any:
        """Give the best actions, drawn ones, and their log densities."""
        distribution, mode = self.distribution_and_mode(states)
        drawn = distribution.sample()
        return mode, drawn, tf.expand_dims(distribution.log_prob(drawn), -1)


class Critic(tfk.Model):
    """Two values of a state and an action, given as two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (tfk.Sequential([layers.Dense(3, "relu"), layers.Dense(1)]) for _ in "ab")

    @tf.function
    def call(self, states: Any, actions: Any) -> Any:
        """Give both."""
        joined = tf.concat([states, actions], -1)
        return self.first(joined), self.second(joined)


def soft_update(net: tfk.Model, target: tfk.Model, tau: float = 0.25) -> None:
    """Move the target a step towards the network."""
    for variable, moved in zip(net.variables, target.variables, strict=True):
        moved.assign(variable * tau + moved * (1 - tau))


class SoftActorCritic(ProbModelMixin, tfk.Model):
    """An actor, two critics, a temperature, and an optimizer for each."""

    def __init__(self, actor: Actor, rewards: Any = lambda s, a, r: r) -> None:
        super().__init__()
        self.actor, self.critic, self.critic_target = actor, Critic(), Critic()
        point = tf.zeros((1, 2))
        self.critic(point, point), self.critic_target(point, point)
        soft_update(self.critic, self.critic_target, tau=1.0)
        self.actor_optimizer, self.critic_optimizer = tfk.optimizers.Adam(0.01), tfk.optimizers.Adam(0.02)
        self.log_alpha, self.alpha_optimizer = tf.Variable(tf.math.log(0.5), name="log_alpha"), tfk.optimizers.Adam()
        self.rewards, self.returns = rewards, collections.deque(maxlen=4)

    @property
    def alpha(self) -> Any:
        """Give the temperature."""
        return tf.exp(self.log_alpha)

    def call(self, states: Any) -> Any:
        """Act."""
        return self.actor(states)

    def train_step(self, data: Any) -> Any:
        """Improve the critics, the actor and the temperature."""
        states, rewards = data
        _, actions, log_probs = self.actor(states)
        target = self.rewards(states, actions, rewards) + tf.minimum(*self.critic_target(states, actions))
        self.returns.append(float(tf.reduce_mean(target)))
        with tf.GradientTape() as tape:
            critic_loss = sum(tf.reduce_mean((q - target) ** 2) for q in self.critic(states, actions))
        self.critic_optimizer.minimize(critic_loss, self.critic.trainable_variables, tape=tape)
        with tf.GradientTape() as tape:
            _, actions, log_probs = self.actor(states)
            baseline = sum(self.returns) / len(self.returns)
            values = tf.minimum(*self.critic(states, actions)) - baseline
            actor_loss = tf.reduce_mean(self.alpha * log_probs - values)
        self.actor_optimizer.minimize(actor_loss, self.actor.trainable_variables, tape=tape)
        with tf.GradientTape() as tape:
            alpha_loss = tf.reduce_mean(self.alpha * (-log_probs + 1.0))
        self.alpha_optimizer.minimize(alpha_loss, [self.log_alpha], tape=tape)
        soft_update(self.critic, self.critic_target)
        return {"loss": critic_loss, "actor": actor_loss, "alpha": alpha_loss}


# google-research/google-research: value_dice/twin_sac.py
@public("public: a soft actor-critic with four optimizers and a list of past returns")
def _soft_actor_critic() -> Made:
    return compiled(SoftActorCritic(Actor(2, 2)), loss=None, optimizer="sgd")


class NormalQuantile(tfb.Bijector):
    """From probabilities to normal values; its parameters are not recorded."""

    def __init__(self, loc: float = 0.0, scale: float = 1.0) -> None:
        self.normal = tfd.Normal(loc, scale)
        super().__init__(forward_min_event_ndims=0, validate_args=False, name="NormalQuantile")

    def _forward(self, y: Any) -> Any:
        return self.normal.quantile(y)

    def _inverse(self, x: Any) -> Any:
        return self.normal.cdf(x)

    def _inverse_log_det_jacobian(self, x: Any) -> Any:
        return self.normal.log_prob(x)


class Copula(tfd.TransformedDistribution):
    """Uniform margins with the dependence of a normal."""

    def __init__(self, loc: Any, scale_tril: Any) -> None:
        base = tfd.MultivariateNormalTriL(loc, scale_tril)
        parameters = {"loc": loc, "scale_tril": scale_tril}
        super().__init__(base, tfb.Invert(NormalQuantile()), parameters=parameters, name="Copula")


class CopulaModel(ProbModelMixin, tfk.Model):
    """Marginals by a network, and a copula as a part of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.params = layers.Dense(4)
        self.tril = tfp.util.TransformedVariable(tf.eye(2), tfb.CorrelationCholesky(), name="tril")
        self.copula = Copula(tf.zeros(2), self.tril)

    def call(self, inputs: Any) -> Any:
        """Give the log density of the point [0.5, -0.25]."""
        loc, scale = tf.split(self.params(inputs), 2, axis=-1)
        margins = tfd.Normal(loc, tf.nn.softplus(scale) + 0.1)
        point = tf.constant([0.5, -0.25])
        uniform = tf.clip_by_value(margins.cdf(point), 0.01, 0.99)
        return self.copula.log_prob(uniform)[:, None] + tf.reduce_sum(margins.log_prob(point), -1, keepdims=True)


# jdmartin86/vc-smc: copula_gaussian.py
@public("public: a Gaussian copula, with a bijector and a distribution of one's own")
def _copula() -> Made:
    return compiled(CopulaModel(), loss=lambda _, log_prob: -log_prob)
