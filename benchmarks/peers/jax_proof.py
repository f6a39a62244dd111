"""Checks that the PPO in JAX is a valid peer: it computes PPO, takes all its Adam steps, and learns.

Usage: python -m benchmarks.peers.jax_proof ENV SETTINGS MEMBERS STEPS, with SETTINGS as JSON. Prints one
line of JSON (`benchmarks.shared.proof.Proof`). Advantages are compared with their definition, a sum over
what follows each step, and Adam steps with torch's autograd, clipping and Adam; the trained policies are
played in Gymnasium's own environment, by NumPy.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks.peers.jax_pack import JaxPack
from benchmarks.peers.jax_ppo import Rows, Settings, Steps, Weights, fresh, gae, loss, settings_of
from benchmarks.shared.proof import Proof
from benchmarks.shared.turns import stay_on_one_core

EPISODES, FIRST_SEED = 20, 1_000
ACTIONS, INPUTS = 3, 5


def main() -> None:
    """Trains, plays and compares."""
    stay_on_one_core()
    torch.set_num_threads(1)
    env, ppo, members = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    settings = settings_of(ppo)
    pack = JaxPack(env, ppo, members)
    iterations = -(-int(sys.argv[4]) // settings.batch)
    for _ in range(iterations):
        pack.train()
    actors = jax.device_get(pack.members.weights.actor)
    rng = np.random.default_rng(0)
    proof = Proof(
        env=env,
        env_steps=iterations * settings.batch,
        returns=[
            _mean_return(env, jax.tree.map(lambda x, i=i: x[i], actors)) for i in range(members)
        ],
        adam_steps=pack.adam_steps(),
        expected_adam_steps=iterations * settings.epochs * settings.minibatches,
        advantages_off=_advantages_off(settings, rng),
        weights_off=_weights_off(settings, rng),
    )
    print(proof.as_line(), flush=True)


def _mean_return(env: str, actor: Any) -> float:
    """Returns the mean return of episodes in which the most probable action is taken."""
    *hidden, (matrix, bias) = actor
    played = gymnasium.make(env)
    total = 0.0
    for seed in range(FIRST_SEED, FIRST_SEED + EPISODES):
        seen, _ = played.reset(seed=seed)
        over = False
        while not over:
            for weights, biases in hidden:
                seen = np.tanh(seen @ weights + biases)
            seen, reward, terminated, truncated, _ = played.step(
                int(np.argmax(seen @ matrix + bias))
            )
            total += float(reward)
            over = terminated or truncated
    played.close()
    return total / EPISODES


def _advantages_off(settings: Settings, rng: np.random.Generator) -> float:
    """Returns the largest difference to Σ (γλ)^l δ over an episode's steps ÷ the largest advantage."""
    shape = (60, settings.envs)
    values, following, rewards = (rng.normal(size=shape) for _ in range(3))
    terminated, truncated = (rng.random(shape) < 0.05 for _ in range(2))
    truncated &= ~terminated
    unused = jnp.zeros(shape)
    steps = Steps(
        unused,
        unused,
        unused,
        jnp.array(rewards),
        jnp.array(terminated),
        jnp.array(truncated),
        unused,
    )
    found = gae(steps, jnp.array(values), jnp.array(following), settings.gamma, settings.lambda_)
    errors = rewards + settings.gamma * np.where(terminated, 0.0, following) - values
    expected = np.zeros(shape)
    for t, env in np.ndindex(shape):
        weight = 1.0
        for later in range(t, shape[0]):
            expected[t, env] += weight * errors[later, env]
            weight *= settings.gamma * settings.lambda_
            if terminated[later, env] or truncated[later, env]:
                break
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


def _weights_off(settings: Settings, rng: np.random.Generator) -> float:
    """Returns the largest difference of weights after Adam's first steps here and in torch, ÷ lr.

    Both start from the same weights, take the same minibatch three times and clip its gradient.
    """
    settings = dataclasses.replace(settings, entropy=0.01)
    keys = jax.random.split(jax.random.key(1))
    weights = Weights(
        fresh(keys[0], (INPUTS, *settings.hidden, ACTIONS)),
        fresh(keys[1], (INPUTS, *settings.hidden, 1)),
    )
    count = settings.minibatch
    rows = Rows(
        *(x.astype(np.float32) if x.dtype == float else x for x in (
            rng.normal(size=(count, INPUTS)),
            rng.integers(0, ACTIONS, count),
            rng.normal(-1.0, 0.2, count),
            rng.normal(size=count),
            rng.normal(0.0, 3.0, count),
        ))
    )  # fmt: skip
    before = jax.tree.map(np.asarray, weights)
    adam = optax.chain(
        optax.clip_by_global_norm(settings.grad_clip), optax.adam(settings.lr, eps=1e-8)
    )
    moments = adam.init(weights)
    for _ in range(3):
        changes, moments = adam.update(jax.grad(loss)(weights, rows, settings), moments)
        weights = optax.apply_updates(weights, changes)
    expected = _stepped_by_torch(before, rows, settings, steps=3)
    found = [np.asarray(x) for x in jax.tree.leaves(weights)]
    off = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    return off / settings.lr


def _stepped_by_torch(
    weights: Weights, rows: Rows, settings: Settings, steps: int
) -> list[np.ndarray]:
    """Returns the same weights, in the same order, after steps of torch's Adam."""
    copies = jax.tree.map(lambda x: torch.tensor(x, requires_grad=True), weights)
    leaves = jax.tree.leaves(copies)
    adam = torch.optim.Adam(leaves, lr=settings.lr)
    seen, actions, old, advantages, targets = (torch.as_tensor(np.array(x)) for x in rows)
    for _ in range(steps):
        policy = torch.distributions.Categorical(logits=_applied_by_torch(copies.actor, seen))
        ratio = (policy.log_prob(actions) - old).exp()
        clipped = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
        gained = torch.minimum(ratio * advantages, clipped * advantages).mean()
        missed = torch.nn.functional.mse_loss(_applied_by_torch(copies.critic, seen)[:, 0], targets)
        entropy = policy.entropy().mean()
        adam.zero_grad()
        (settings.value * missed - gained - settings.entropy * entropy).backward()
        torch.nn.utils.clip_grad_norm_(leaves, settings.grad_clip)
        adam.step()
    return [leaf.detach().numpy() for leaf in leaves]


def _applied_by_torch(network: Any, seen: torch.Tensor) -> torch.Tensor:
    for matrix, bias in network[:-1]:
        seen = torch.nn.functional.linear(seen, matrix.T, bias).tanh()
    return torch.nn.functional.linear(seen, network[-1][0].T, network[-1][1])


if __name__ == "__main__":
    main()
