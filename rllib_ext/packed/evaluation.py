"""Evaluation of members: the episodes of `rllib_ext.evaluate`, of several policies at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rllib_ext.evaluate import MAX_EPISODE_STEPS, Episodes, Evaluator
from rllib_ext.packed.blueprint import Blueprint
from rllib_ext.packed.environments import for_environment
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.native.dynamics import seeded, starts
from rllib_ext.packed.native.registry import Native, native_of
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
        self._native = native_of(blueprint.make_env)

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
        if self._native is None:
            episodes = self._evaluator.run(policy, flat)
        else:
            episodes = native_episodes(policy, flat, self._native)
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


def native_episodes(policy: StackedPolicy, seeds: Sequence[int], native: Native) -> Episodes:
    """What `Evaluator.run` gives, of an environment that has a native version.

    Args:
        policy: Acts.
        seeds: One episode each.
        native: It.
    """
    dynamics = native.dynamics
    states, observations = starts(dynamics, [seeded(int(seed)) for seed in seeds])
    returns, lengths = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=np.int64)
    going = np.arange(len(seeds))
    for step in range(1, min(native.limit, MAX_EPISODE_STEPS) + 1):
        actions = np.asarray(policy.act(list(going), list(observations), []))
        states, rewards, terminated = dynamics.step(states, actions)
        returns[going] += rewards
        lengths[going] = step
        if terminated.any():
            going, states = going[~terminated], states[:, ~terminated]
            if not len(going):
                break
        observations = dynamics.observe(states)
    return Episodes(
        tuple(int(seed) for seed in seeds),
        tuple(float(value) for value in returns),
        tuple(int(value) for value in lengths),
    )
