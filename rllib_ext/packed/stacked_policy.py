"""Deterministic policies of one architecture that act at once, whoever they belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from rllib_ext.evaluation.evaluator import Actions, Observations, Policy
from rllib_ext.packed.computation import Computation
from rllib_ext.packed.frames import Frames

Array = np.ndarray[Any, np.dtype[Any]]

# Observations that are multiplied at once. A product of always the same shape gives an observation the
# same bits whatever is computed beside it; one of another shape differs in the last, and long episodes
# of chaotic environments with it. Larger blocks waste more where few episodes are left.
ROWS = 8


@dataclasses.dataclass(frozen=True)
class Actors:
    """Policies of one architecture.

    Attributes:
        computation: Their stacked computation.
        parameters: By name, of shape (policies, *shape).
        observed: From whose each observation is, and observations of shape (episodes, …), to what the
            networks see: (episodes, features), float32.
        taken: From actions of shape (episodes, …) to what the environments are given.
        frames: Number of observations stacked after `observed`.
    """

    computation: Computation
    parameters: Mapping[str, Tensor]
    observed: Callable[[Array, Array], Array]
    taken: Callable[[Array], Actions]
    frames: int = 1


class StackedPolicy(Policy):
    """Several policies; each episode is played by one of them.

    An episode is the same whichever others are played beside it, bit by bit.

    Args:
        actors: The policies.
        players: Index of the policy that plays each episode, ascending.
    """

    def __init__(self, actors: Actors, players: Sequence[int]) -> None:
        self._actors = actors
        self._players = np.asarray(players, dtype=np.int64)
        self._acting = actors.computation.acting
        self._like = actors.parameters[self._acting[0]]
        self._episodes: Sequence[int] | None = None
        self._rows = np.empty(0, dtype=np.int64)
        self._block = np.empty((0, 0, 0), dtype=np.float32)
        self._frames = Frames(actors.frames)
        # By episode, what its player saw last: nothing but zeros before its start.
        self._last: Array | None = None

    @override
    def begin(self, seeds: Sequence[int]) -> None:
        self._episodes = self._last = None
        # What the policies were is not what they are: members of a pack have learned since.
        self._rows = np.empty(0, dtype=np.int64)

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> Actions:
        if episodes != self._episodes:
            self._lay_out(episodes)
        seen = self._actors.observed(self._playing, np.asarray(observations))
        seen = self._stacked(episodes, seen)
        if self._block.shape != (len(self._rows), ROWS, seen.shape[1]):
            self._block = np.zeros((len(self._rows), ROWS, seen.shape[1]), dtype=np.float32)
        # What is left in other places of a block changes nothing here.
        self._block[self._places] = seen
        with torch.no_grad():
            seen_by_all = torch.from_numpy(self._block).to(self._like)
            actions = self._actors.computation.most_likely(self._parameters, seen_by_all)
        return self._actors.taken(actions.cpu().numpy()[self._places])

    def _stacked(self, episodes: Sequence[int], frames: Array) -> Array:
        """The latest frames of episodes, each behind those before it."""
        if self._frames.count == 1:
            return frames
        if self._last is None:
            shape = (len(self._players), frames.shape[1] * self._frames.count)
            self._last = np.zeros(shape, dtype=frames.dtype)
        seen = self._frames.following(self._last[list(episodes)], frames)
        self._last[list(episodes)] = seen
        return seen

    def _lay_out(self, episodes: Sequence[int]) -> None:
        """Says where in the blocks episodes are, each block one policy's."""
        self._episodes = list(episodes)
        self._playing = self._players[self._episodes]
        whose, first, counts = np.unique(self._playing, return_index=True, return_counts=True)
        blocks = -(-counts // ROWS)
        rank = np.arange(len(self._playing)) - np.repeat(first, counts)
        self._places = np.repeat(np.cumsum(blocks) - blocks, counts) + rank // ROWS, rank % ROWS
        rows = np.repeat(whose, blocks)
        if np.array_equal(rows, self._rows):
            return
        self._rows = rows
        chosen = torch.from_numpy(rows).to(self._like.device)
        with torch.no_grad():
            self._parameters = {
                name: self._actors.parameters[name].index_select(0, chosen) for name in self._acting
            }
