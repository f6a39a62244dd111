"""Rollouts of all members at once, and the batches that they train on."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rllib_ext.packed.distributions import DistributionKind
from rllib_ext.packed.draws import Draws
from rllib_ext.packed.environments import Environments, Step, for_environment
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.frames import Frames
from rllib_ext.packed.loss import Minibatch, advantages_of, standardised
from rllib_ext.packed.minibatch_order import advantages_of_bootstrap_rows, in_time
from rllib_ext.packed.network import StackedNetwork, rows_of

Array = np.ndarray[Any, np.dtype[Any]]

# Of a member, so that what comes of them stays near the processor.
STEPS_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class End:
    """The end of an episode: terminated, or cut by a time limit.

    Attributes:
        member: Whose.
        step: After which step of the rollout.
        env: Index among the member's environments.
        observation: The last one, as the policy would see it.
    """

    member: int
    step: int
    env: int
    observation: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rollout:
    """Steps of all members; tensors of shape (members, steps, envs, …).

    Attributes:
        observations: Flat observations of the policies.
        actions: Actions, as drawn from the distribution.
        inputs: The distributions' inputs.
        rewards: The reward of each step.
        terminated: Whether the episode ended with the step.
        truncated: Whether it was cut after it.
        following: The observations after the last step, of shape (members, envs, …).
        ends: Episodes that ended.
        returns: For each member, the returns of the episodes that finished.
    """

    observations: Tensor
    actions: Tensor
    inputs: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    following: Tensor
    ends: tuple[End, ...]
    returns: tuple[tuple[float, ...], ...]

    @functools.cached_property
    def orders(self) -> list[Tensor]:
        """For each member what `rllib_ext.packed.minibatch_order.in_time` gives."""
        return in_time(self.terminated | self.truncated)


class Collector:
    """Steps the environments with the current policies.

    Args:
        network: The members.
        distribution: Distribution that actions are drawn from.
        environments: The members' environments.
        action_space: One environment's action space.
        steps: Env steps of each environment per rollout, ≥ 1.
        filters: Normalise the observations.
        draws: Random numbers for the actions; each rollout begins with the next ones.
        frames: Number of observations stacked after that.
        unsquash: Whether actions in [−1, 1] are scaled to the action space's bounds.
        clip: Whether actions are clipped to the action space's bounds.
    """

    def __init__(
        self,
        network: StackedNetwork,
        distribution: DistributionKind,
        environments: Environments,
        action_space: gym.Space[Any],
        steps: int,
        filters: Filters,
        draws: Draws,
        *,
        frames: int = 1,
        unsquash: bool = True,
        clip: bool = False,
    ) -> None:
        self.steps = steps
        self._network = network
        self._distribution = distribution
        self._environments = environments
        self._space = action_space
        self._filters = filters
        self._frames = Frames(frames)
        self._unsquash, self._clip = unsquash, clip
        members, envs = len(network), environments.per_member
        self._draws = draws
        self._observations: list[Array] = [np.empty(0)] * members
        self._returns = np.zeros(members * envs)
        self._current: Array | None = None

    @property
    def env_steps(self) -> int:
        """Steps of each member in a rollout."""
        return self.steps * self._environments.per_member

    def start(self, member: int, seed: int) -> None:
        """Starts new episodes of a member, in environments that the seed fixes."""
        envs = self._environments.per_member
        raw = self._environments.reset(member, seed)
        seen = self._frames.first(self._filters.see(member, raw))
        rows = slice(member * envs, (member + 1) * envs)
        self._returns[rows] = 0.0
        if self._current is None:
            shape = (len(self._returns), seen.shape[1])
            self._current = np.zeros(shape, dtype=np.float32)
        self._current[rows] = seen

    @torch.no_grad()
    def collect(self) -> Rollout:
        """One rollout of all members, none of which learns in it."""
        network, members = self._network, len(self._network)
        envs = self._environments.per_member
        like = network.weights
        parameters = network.parts(network.weights)
        assert self._current is not None, "members are started before they are stepped"
        current = self._to_tensor(self._current)
        width = network.act(parameters, current[:, :1]).shape[-1]
        self._draws.advance()
        noise = self._noise(width)
        # Time comes first here: a step then lies in one piece.
        observations = like.new_empty(self.steps, *current.shape)
        inputs = like.new_empty(self.steps, members, envs, width)
        actions: list[Tensor] = []
        rewards = np.empty((self.steps, members * envs))
        terminated, truncated = (
            np.empty_like(rewards, dtype=bool),
            np.empty_like(rewards, dtype=bool),
        )
        ends: list[End] = []
        finished: list[list[float]] = [[] for _ in range(members)]
        for t in range(self.steps):
            observations[t] = current
            inputs[t] = logits = network.act(parameters, current, network.scratch)
            drawn = self._distribution(logits).sample(noise[t])
            actions.append(drawn)
            step = self._environments.step(
                for_environment(
                    self._space,
                    drawn.flatten(0, 1).cpu().numpy(),
                    unsquash=self._unsquash,
                    clip=self._clip,
                )
            )
            rewards[t], terminated[t], truncated[t] = step.rewards, step.terminated, step.truncated
            self._returns += step.rewards
            for i, last in step.last.items():
                member, env = divmod(i, envs)
                finished[member].append(float(self._returns[i]))
                self._returns[i] = 0.0
                # No policy acts on it, but RLlib's filters learn of every last observation.
                seen = self._filters.see(member, last[None])
                stacked = self._frames.following(self._current[i : i + 1], seen)
                ends.append(End(member, t, env, stacked[0]))
            self._current = self._following(step)
            current = self._to_tensor(self._current)
        shape = (self.steps, members, envs)
        return Rollout(
            observations=_by_member(observations),
            actions=torch.stack(actions, dim=1),
            inputs=_by_member(inputs),
            rewards=_by_member(torch.from_numpy(rewards).view(shape)).to(like),
            terminated=_by_member(torch.from_numpy(terminated).view(shape)).to(like.device),
            truncated=_by_member(torch.from_numpy(truncated).view(shape)).to(like.device),
            following=current,
            ends=tuple(ends),
            returns=tuple(tuple(r) for r in finished),
        )

    def _following(self, step: Step) -> Array:
        """Returns the observations after a step; those of new episodes hold no earlier frames."""
        frames = self._filters.see_all(step.observations)
        assert self._current is not None
        seen = self._frames.following(self._current, frames)
        over = sorted(step.last)
        if over and self._frames.count > 1:
            seen[over] = self._frames.first(frames[over])
        return seen

    def _noise(self, width: int) -> Tensor:
        shape = (self.steps, self._environments.per_member)
        drawn = self._distribution.noise(self._draws, shape, width)
        # Time comes first here, too.
        return drawn.to(self._network.weights.dtype).transpose(0, 1).contiguous()

    def _to_tensor(self, observations: Array) -> Tensor:
        flat = torch.from_numpy(np.ascontiguousarray(observations, dtype=np.float32))
        members = len(self._network)
        return flat.to(self._network.weights).view(members, -1, flat.shape[-1])


def _by_member(values: Tensor) -> Tensor:
    """(steps, members, …) to (members, steps, …)."""
    return values.transpose(0, 1).contiguous()


@torch.no_grad()
def batch_of(
    network: StackedNetwork,
    distribution: DistributionKind,
    rollout: Rollout,
    discount: Tensor,
    decay: Tensor,
) -> Minibatch:
    """Returns the members' training batch: a rollout with advantages and value targets.

    Args:
        network: The members, as they will be updated.
        distribution: Distribution that actions are drawn from.
        rollout: Steps of the members.
        discount: γ, of shape (members,).
        decay: λ, of shape (members,).

    Returns:
        The whole batch, of shape (members, steps · envs, …).
    """
    parameters = network.parts(network.weights)
    shape = rollout.rewards.shape
    observations = rollout.observations.flatten(1, 2)
    values = _values(network, observations).view(shape)
    following = network.value(parameters, rollout.following).unsqueeze(1)
    next_values = torch.cat([values[:, 1:], following], dim=1)
    _set_last_values(network, rollout, next_values)
    advantages = advantages_of(
        rollout.rewards,
        values,
        next_values,
        rollout.terminated,
        rollout.truncated,
        discount,
        decay,
    )
    flat = zip(
        rollout.orders,
        values.flatten(1, 2),
        next_values.flatten(1, 2),
        advantages.flatten(1, 2),
        discount,
        decay,
        strict=True,
    )
    relative = [standardised(own[3], advantages_of_bootstrap_rows(*own)) for own in flat]
    inputs, actions = rollout.inputs.flatten(1, 2), rollout.actions.flatten(1, 2)
    return Minibatch(
        observations=observations,
        actions=actions,
        inputs=inputs,
        log_probabilities=distribution(inputs).log_probability(actions),
        advantages=torch.stack(relative),
        targets=(advantages + values).flatten(1, 2),
        counted=torch.ones_like(values).flatten(1, 2),
    )


def _values(network: StackedNetwork, observations: Tensor) -> Tensor:
    """Values of many steps of all members, a few at a time in the same memory."""
    parameters, scratch = network.parts(network.weights), network.scratch
    parts = torch.split(observations, STEPS_AT_ONCE, dim=1)
    # Copied, since the next ones come to lie where they are.
    found = [network.value(parameters, part, scratch).clone() for part in parts]
    return torch.cat(found, dim=1)


def _set_last_values(network: StackedNetwork, rollout: Rollout, next_values: Tensor) -> None:
    """Replaces, in place, the values of next episodes' starts by those of the states before them."""
    if not rollout.ends:
        return
    by_member: dict[int, list[End]] = {}
    for end in rollout.ends:
        by_member.setdefault(end.member, []).append(end)
    rows = sorted(by_member)
    most = max(len(ends) for ends in by_member.values())
    seen = network.weights.new_zeros(len(rows), most, rollout.observations.shape[-1])
    for row, member in enumerate(rows):
        stacked = np.stack([end.observation for end in by_member[member]])
        seen[row, : len(stacked)] = torch.from_numpy(stacked)
    own = network.parts(network.weights[rows_of(rows, network)])
    values = network.value(own, seen, network.scratch)
    for row, member in enumerate(rows):
        ends = by_member[member]
        at = [end.step for end in ends], [end.env for end in ends]
        next_values[member][at] = values[row, : len(ends)]
