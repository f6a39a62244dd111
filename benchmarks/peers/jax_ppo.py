"""PPO in JAX on an environment of gymnax, compiled into one function with its environments.

It computes what RLlib's PPO computes with the settings of `benchmarks.packed`: actor and critic are
separate networks, advantages are GAE's (Schulman et al. 2016, arXiv 1506.02438), standardised over the
batch, episodes cut by a time limit are bootstrapped from their last observation, and each epoch passes
once over the batch in a new order. `jax.vmap` over members makes a pack of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
# Weight matrix and bias of each layer.
Network = list[tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings that all members share.

    Attributes:
        envs: Number of environments per member.
        batch: Env steps of a member in an iteration; a multiple of `envs` and of `minibatch`.
        minibatch: Number of steps per gradient.
        epochs: Number of passes over the batch.
        lr: Adam's learning rate.
        gamma: Discount factor.
        lambda_: GAE's λ.
        clip: Largest deviation of the probability ratio from 1 that counts.
        entropy: Weight of the entropy in the loss.
        value: Weight of the squared value error in the loss.
        grad_clip: Largest norm of a gradient.
        hidden: Widths of the hidden layers, each followed by tanh.
    """

    envs: int
    batch: int
    minibatch: int
    epochs: int
    lr: float
    gamma: float
    lambda_: float
    clip: float
    entropy: float
    value: float
    grad_clip: float
    hidden: tuple[int, ...]

    @property
    def minibatches(self) -> int:
        """Number of minibatches, and so of gradients, per epoch."""
        return self.batch // self.minibatch


def settings_of(ppo: dict[str, Any]) -> Settings:
    """Builds settings from those that `benchmarks.packed` passes to all peers.

    Raises:
        ValueError: A batch can't be divided evenly among environments and minibatches.
    """
    names = [field.name for field in dataclasses.fields(Settings) if field.name != "hidden"]
    given = {name: ppo[name.rstrip("_")] for name in names}
    settings = Settings(**given, hidden=tuple(ppo["hidden"]))
    if settings.batch % settings.envs or settings.batch % settings.minibatch:
        raise ValueError(
            f"a batch of {settings.batch}, {settings.envs} environments and minibatches of "
            f"{settings.minibatch}; expected a batch that is a multiple of both."
        )
    return settings


class Weights(NamedTuple):
    """The weights of a member."""

    actor: Network
    critic: Network


class Member(NamedTuple):
    """One policy in training."""

    weights: Weights
    moments: Any
    environments: Any
    observations: Array
    key: Array


class Steps(NamedTuple):
    """The steps of a rollout, arrays of shape (steps, envs, …)."""

    observations: Array
    actions: Array
    log_probabilities: Array
    rewards: Array
    terminated: Array
    truncated: Array
    # Observation that each step led to, before a new episode began.
    following: Array


class Rows(NamedTuple):
    """The data that a gradient is computed from, arrays of shape (rows, …)."""

    observations: Array
    actions: Array
    log_probabilities: Array
    advantages: Array
    targets: Array


class PPO:
    """Trains members on one environment with common settings.

    Args:
        env: An environment of gymnax with discrete actions.
        settings: Settings that all members share.
    """

    def __init__(self, env: Any, settings: Settings) -> None:
        self._env = env
        self._parameters = env.default_params
        self._settings = settings
        self._adam = optax.chain(
            optax.clip_by_global_norm(settings.grad_clip), optax.adam(settings.lr, eps=1e-8)
        )

    def start(self, key: Array) -> Member:
        """Returns a new member, all of whose random draws are determined by a key."""
        key, actor, critic, resets = jax.random.split(key, 4)
        inputs = self._env.observation_space(self._parameters).shape[0]
        hidden = self._settings.hidden
        weights = Weights(
            fresh(actor, (inputs, *hidden, self._env.num_actions)),
            fresh(critic, (inputs, *hidden, 1)),
        )
        resets = jax.random.split(resets, self._settings.envs)
        seen, states = jax.vmap(self._env.reset, (0, None))(resets, self._parameters)
        return Member(weights, self._adam.init(weights), states, seen, key)

    def train(self, member: Member) -> tuple[Member, Array]:
        """Trains for one iteration: a rollout and all gradients of its batch.

        Returns:
            The member after it, and the number of episodes that ended.
        """
        key, collecting, learning = jax.random.split(member.key, 3)
        states, seen, steps = self._collect(member, collecting)
        rows = self._rows(member.weights, steps)
        weights, moments = self._learn(member.weights, member.moments, rows, learning)
        ended = jnp.sum(steps.terminated | steps.truncated)
        return Member(weights, moments, states, seen, key), ended

    def _collect(self, member: Member, key: Array) -> tuple[Any, Array, Steps]:
        envs = self._settings.envs

        def step(carried: tuple[Any, Array], key: Array) -> tuple[tuple[Any, Array], Steps]:
            states, seen = carried
            drawing, stepping = jax.random.split(key)
            logits = applied(member.weights.actor, seen)
            actions = jax.random.categorical(drawing, logits)
            stepped = jax.vmap(self._env.step, (0, 0, 0, None))(
                jax.random.split(stepping, envs), states, actions, self._parameters
            )
            following, states, rewards, terminated, truncated, info = stepped
            found = Steps(
                seen,
                actions,
                log_probability(logits, actions),
                rewards,
                terminated,
                truncated & ~terminated,
                info["final_observation"],
            )
            return (states, following), found

        keys = jax.random.split(key, self._settings.batch // envs)
        (states, seen), steps = jax.lax.scan(step, (member.environments, member.observations), keys)
        return states, seen, steps

    def _rows(self, weights: Weights, steps: Steps) -> Rows:
        values = applied(weights.critic, steps.observations)[..., 0]
        following = applied(weights.critic, steps.following)[..., 0]
        advantages = gae(steps, values, following, self._settings.gamma, self._settings.lambda_)
        targets = advantages + values
        standardised = (advantages - advantages.mean()) / jnp.maximum(advantages.std(), 1e-4)
        found = Rows(
            steps.observations, steps.actions, steps.log_probabilities, standardised, targets
        )
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    def _learn(self, weights: Weights, moments: Any, rows: Rows, key: Array) -> tuple[Weights, Any]:
        settings = self._settings

        def epoch(carried: tuple[Weights, Any], key: Array) -> tuple[tuple[Weights, Any], None]:
            order = jax.random.permutation(key, settings.batch)
            order = order.reshape(settings.minibatches, settings.minibatch)
            return jax.lax.scan(minibatch, carried, order)

        def minibatch(
            carried: tuple[Weights, Any], chosen: Array
        ) -> tuple[tuple[Weights, Any], None]:
            weights, moments = carried
            own = jax.tree.map(lambda x: x[chosen], rows)
            gradient = jax.grad(loss)(weights, own, settings)
            changes, moments = self._adam.update(gradient, moments)
            return (optax.apply_updates(weights, changes), moments), None

        keys = jax.random.split(key, settings.epochs)
        (weights, moments), _ = jax.lax.scan(epoch, (weights, moments), keys)
        return weights, moments


def fresh(key: Array, widths: tuple[int, ...]) -> Network:
    """Draws weights and biases as torch's linear layers do, uniformly within ±1 ÷ √inputs."""
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        key, matrix, bias = jax.random.split(key, 3)
        reach = inputs**-0.5
        layers.append(
            (
                jax.random.uniform(matrix, (inputs, outputs), minval=-reach, maxval=reach),
                jax.random.uniform(bias, (outputs,), minval=-reach, maxval=reach),
            )
        )
    return layers


def applied(network: Network, observations: Array) -> Array:
    """Returns the outputs of a network for observations of shape (…, inputs)."""
    *hidden, (matrix, bias) = network
    for weights, biases in hidden:
        observations = jnp.tanh(observations @ weights + biases)
    return observations @ matrix + bias


def log_probability(logits: Array, actions: Array) -> Array:
    """Returns log-probabilities of actions under categorical distributions; logits: (…, actions)."""
    logs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(logs, actions[..., None], axis=-1)[..., 0]


def gae(steps: Steps, values: Array, following: Array, gamma: float, lambda_: float) -> Array:
    """Returns the advantages, of shape (steps, envs).

    Args:
        steps: The rollout.
        values: Values of the observations before each step.
        following: Values of the observations that each step led to, before a new episode began.
        gamma: Discount factor.
        lambda_: GAE's λ.
    """
    errors = steps.rewards + gamma * following * ~steps.terminated - values
    goes_on = ~(steps.terminated | steps.truncated)

    def back(later: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        error, on = step
        advantage = error + gamma * lambda_ * on * later
        return advantage, advantage

    _, found = jax.lax.scan(back, jnp.zeros_like(errors[0]), (errors, goes_on), reverse=True)
    return found


def loss(weights: Weights, rows: Rows, settings: Settings) -> Array:
    """Returns PPO's clipped loss (Schulman et al. 2017, arXiv 1707.06347) with critic and entropy."""
    logits = applied(weights.actor, rows.observations)
    logs = jax.nn.log_softmax(logits)
    ratio = jnp.exp(log_probability(logits, rows.actions) - rows.log_probabilities)
    clipped = jnp.clip(ratio, 1.0 - settings.clip, 1.0 + settings.clip)
    gained = jnp.minimum(ratio * rows.advantages, clipped * rows.advantages).mean()
    values = applied(weights.critic, rows.observations)[..., 0]
    missed = jnp.square(values - rows.targets).mean()
    entropy = -(jnp.exp(logs) * logs).sum(-1).mean()
    return -gained + settings.value * missed - settings.entropy * entropy
