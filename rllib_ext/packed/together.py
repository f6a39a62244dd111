"""Several saved policies evaluated at once: those of one architecture as a stack."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.evaluation.evaluator import Actions, Episodes, Evaluator, Observations, Policy
from rllib_ext.packed.architecture import Architecture, architecture_of
from rllib_ext.packed.layers import Activation, Layers
from rllib_ext.packed.stacked_policy import Actors, StackedPolicy
from rllib_ext.packed.written_out import WrittenOut
from rllib_ext.policy.acting import DirectPolicy
from rllib_ext.policy.shortcut import Array, Normalisation, Shortcut
from rllib_ext.pruning.errors import ConfigError


def evaluate_together(
    policies: Sequence[Policy], make: EnvMaker, seeds: Sequence[int]
) -> list[Episodes]:
    """Plays one finished episode per seed with each policy, in environments that are built once.

    Deterministic policies of RLlib's own feed-forward modules act as a stack, any others by
    themselves; an episode of the former is the same, bit by bit, whichever others are played beside it.

    Args:
        policies: Policies, each deterministic or stochastic as it was built.
        make: Builds one environment.
        seeds: Reset seeds of the episodes of each policy, ≥ 0.

    Returns:
        Of each policy, returns and lengths in the order of the seeds.
    """
    evaluator = Evaluator(make)
    try:
        players = np.repeat(np.arange(len(policies)), len(seeds))
        episodes = evaluator.run(Together(policies, players), [*seeds] * len(policies))
    finally:
        evaluator.close()
    return episodes.split([len(seeds)] * len(policies))


class Together(Policy):
    """Several policies; each episode is played by one of them.

    Args:
        policies: The policies.
        players: Index of the policy that plays an episode, ascending.
    """

    def __init__(self, policies: Sequence[Policy], players: Array) -> None:
        self._parts: list[_Part] = []
        # By episode, which part plays it, and its number there.
        self._part_of = np.zeros(len(players), dtype=np.int64)
        self._number = np.zeros(len(players), dtype=np.int64)
        for rows, stack in _stacks(policies):
            played = np.flatnonzero(np.isin(players, rows))
            self._part_of[played] = len(self._parts)
            self._number[played] = np.arange(len(played))
            policy: Policy = policies[rows[0]]
            if stack is not None:
                policy = StackedPolicy(stack, np.searchsorted(rows, players[played]).tolist())
            self._parts.append(_Part(policy, played))

    @override
    def begin(self, seeds: Sequence[int]) -> None:
        for part in self._parts:
            part.policy.begin([seeds[i] for i in part.episodes])

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> Actions:
        if len(self._parts) == 1:
            return self._parts[0].policy.act(episodes, observations, rewards)
        actions: list[Any] = [None] * len(episodes)
        playing = self._part_of[np.asarray(episodes)]
        for index in np.unique(playing):
            at = np.flatnonzero(playing == index).tolist()
            numbers = [int(self._number[episodes[i]]) for i in at]
            seen, earned = [observations[i] for i in at], [rewards[i] for i in at]
            found = self._parts[index].policy.act(numbers, seen, earned)
            for i, action in zip(at, found, strict=True):
                actions[i] = action
        return actions


@dataclasses.dataclass(frozen=True)
class _Part:
    """A policy, or a stack of them, and the episodes it plays."""

    policy: Policy
    episodes: Array


def _stacks(policies: Sequence[Policy]) -> list[tuple[list[int], Actors | None]]:
    """Indices of policies that act as a stack, and the stack; None: one by itself."""
    found: list[tuple[list[int], Actors | None]] = []
    alike: dict[Any, list[int]] = {}
    for i, policy in enumerate(policies):
        key = _key(policy)
        if key is None:
            found.append(([i], None))
        else:
            alike.setdefault(key, []).append(i)
    for rows in alike.values():
        found.append((rows, _stacked([policies[i] for i in rows])))
    return found


def _key(policy: Policy) -> Any:
    """Equal for policies that can be stacked; None where one can't be."""
    if not isinstance(policy, DirectPolicy) or policy.stochastic:
        return None
    try:
        architecture = architecture_of(policy.module, acting=True)
    except ConfigError:
        return None
    shortcut = policy.shortcut
    normalised = shortcut.normalisation
    return (
        tuple((name, p.shape, p.dtype) for name, p in _parameters(policy.module)),
        _layers(architecture.actor),
        _layers(architecture.policy_head),
        architecture.log_std,
        architecture.discrete,
        (repr(shortcut.action_space), shortcut.unsquash, shortcut.clip),
        normalised and (normalised.mean.shape, normalised.scale.shape, normalised.limit),
    )


def _layers(layers: Layers) -> tuple[str, ...]:
    # Two activations of a kind are two objects.
    return tuple(repr(x.function if isinstance(x, Activation) else x) for x in layers)


def _stacked(policies: Sequence[Any]) -> Actors:
    modules: list[nn.Module] = [policy.module for policy in policies]
    shortcuts: list[Shortcut] = [policy.shortcut for policy in policies]
    architecture: Architecture = architecture_of(modules[0], acting=True)
    rows = [dict(_parameters(module)) for module in modules]
    with torch.no_grad():
        parameters = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    means, scales, limit = _statistics([s.normalisation for s in shortcuts])

    def observed(players: Array, observations: Array) -> Array:
        seen = observations
        if means is not None and scales is not None:
            seen = Normalisation(means[players], scales[players], limit)(observations)
        return seen.reshape(len(seen), -1).astype(np.float32, copy=False)

    return Actors(WrittenOut(architecture), parameters, observed, shortcuts[0].taken)


def _statistics(
    normalisations: Sequence[Normalisation | None],
) -> tuple[Array | None, Array | None, float]:
    """Means and scales, of shape (policies, …), and the limit that all share."""
    given = [each for each in normalisations if each is not None]
    if not given:
        return None, None, np.inf
    means, scales = np.stack([n.mean for n in given]), np.stack([n.scale for n in given])
    return means, scales, given[0].limit


def _parameters(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, parameter.detach()) for name, parameter in module.named_parameters()]
