"""Evaluation of members: the episodes of `rllib_ext.evaluate`, of several policies at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from rllib_ext.evaluate import Episodes, Evaluator
from rllib_ext.packed.blueprint import Blueprint
from rllib_ext.packed.environments import (
    cartpole_starts,
    for_environment,
    plain_cartpole,
)
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.network import StackedNetwork


class StackedPolicy:
    """The deterministic policies of all members; each episode is played by one of them.

    Gives the actions that each member's own policy would give, as a `rllib_ext.evaluate.Policy`.

    Args:
        blueprint: Says what becomes of an action on its way to the environment.
        network: The members.
        filters: Theirs; they learn nothing here.
        members: Who plays which episode, ascending.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        network: StackedNetwork,
        filters: Filters,
        members: Sequence[int],
    ) -> None:
        self._blueprint = blueprint
        self._network = network
        self._filters = filters
        self._members = np.asarray(members)
        self._rows = np.unique(self._members)
        with torch.no_grad():
            rows = torch.from_numpy(self._rows).to(network.weights.device)
            self._parameters = network.parts(network.weights[rows])

    def begin(self, seeds: Sequence[int]) -> None:
        """As `rllib_ext.evaluate.Policy.begin`."""

    def act(
        self, episodes: Sequence[int], observations: Sequence[Any], rewards: Sequence[float]
    ) -> list[Any]:
        """As `rllib_ext.evaluate.Policy.act`."""
        players = self._members[np.asarray(episodes)]
        seen = np.stack(observations).reshape(len(observations), -1)
        # Members with fewer episodes left are filled up: the stack is computed as one block.
        starts = np.searchsorted(players, self._rows)
        counts = np.searchsorted(players, self._rows, side="right") - starts
        block = np.zeros((len(self._rows), counts.max(), seen.shape[1]), dtype=np.float32)
        for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
            own = seen[start : start + count]
            block[row, :count] = self._filters.normalised(int(self._rows[row]), own)
        with torch.no_grad():
            stacked = torch.from_numpy(block).to(self._network.weights)
            inputs = self._network.act(self._parameters, stacked)
            if self._network.architecture.discrete:
                actions = inputs.argmax(dim=-1)
            else:
                actions = inputs.chunk(2, dim=-1)[0]
        chosen = actions.cpu().numpy()
        flat = np.concatenate([chosen[row, :count] for row, count in enumerate(counts)])
        ppo = self._blueprint.ppo
        return list(
            for_environment(
                self._blueprint.action_space,
                flat,
                unsquash=bool(ppo.normalize_actions),
                clip=bool(ppo.clip_actions),
            )
        )


class PackedEvaluator:
    """Evaluates members in environments that are built once.

    Args:
        blueprint: What the members share.
        network: They.
        filters: Theirs.
    """

    def __init__(self, blueprint: Blueprint, network: StackedNetwork, filters: Filters) -> None:
        self._blueprint = blueprint
        self._network = network
        self._filters = filters
        self._evaluator = Evaluator(blueprint.make_env)
        self._cartpole = plain_cartpole(blueprint.make_env)

    def run(self, seeds: Mapping[int, Sequence[int]]) -> dict[int, Episodes]:
        """One episode a seed, all finished, of each of some members.

        Args:
            seeds: By member.

        Returns:
            By member, returns and lengths in the order of its seeds.
        """
        order = sorted(seeds)
        players = [member for member in order for _ in seeds[member]]
        flat = [int(seed) for member in order for seed in seeds[member]]
        if not flat:
            return {}
        policy = StackedPolicy(self._blueprint, self._network, self._filters, players)
        limit, sutton_barto = self._cartpole
        if limit is None:
            episodes = self._evaluator.run(policy, flat)
        else:
            episodes = cartpole_episodes(policy, flat, limit, sutton_barto_reward=sutton_barto)
        found: dict[int, Episodes] = {}
        start = 0
        for member in order:
            part = slice(start, start + len(seeds[member]))
            start = part.stop
            found[member] = Episodes(
                episodes.seeds[part], episodes.returns[part], episodes.lengths[part]
            )
        return found

    def close(self) -> None:
        """Closes the environments."""
        self._evaluator.close()


def cartpole_episodes(
    policy: StackedPolicy, seeds: Sequence[int], limit: int, *, sutton_barto_reward: bool
) -> Episodes:
    """What `Evaluator.run` gives for Gymnasium's CartPole, stepped as one.

    Args:
        policy: Acts.
        seeds: One episode each.
        limit: The time limit.
        sutton_barto_reward: As in Gymnasium.
    """
    vector = CartPoleVectorEnv(len(seeds), limit, sutton_barto_reward=sutton_barto_reward)
    vector.reset(seed=0)
    vector.state = cartpole_starts(seeds)
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=np.int64)
    going = np.ones(len(seeds), dtype=bool)
    actions = np.zeros(len(seeds), dtype=np.int64)
    observations = vector.state.T.astype(np.float32)
    while going.any():
        active = np.flatnonzero(going)
        actions[active] = policy.act(list(active), list(observations[active]), [])
        observations, rewards, terminated, truncated, _ = vector.step(actions)
        returns[going] += rewards[going]
        lengths[going] += 1
        going &= ~(terminated | truncated)
    return Episodes(
        tuple(int(seed) for seed in seeds),
        tuple(float(value) for value in returns),
        tuple(int(value) for value in lengths),
    )
