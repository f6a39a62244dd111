"""Random numbers for the members of a pack: drawn for all at once, each member's from its own seed.

A draw follows from the member's seed, from what it is for, from the number of the rollout since the
member's start and from its index. Nothing else counts: not who else is in the pack, nor the member's
place, nor the device. Integers and uniforms are exact. Other numbers are computed in float64: rounded to
float32 they are the same on every device, but where the last bit of a float64 logarithm decides.
"""

from __future__ import annotations

import enum
import math

import numpy as np
import torch
from torch import Tensor

from rllib_ext.packed.philox import Block, philox

# Sets what is drawn here apart from what is seeded with words of the same seed.
_STREAM = 1
_TO_UNIT = 2.0**-32


class Purpose(enum.IntEnum):
    """The purpose of random numbers; those of different purposes are independent."""

    ACTIONS = 0
    ORDER = 1


class Draws:
    """Draws of P members.

    Args:
        members: P, ≥ 1.
        device: Device on which numbers are drawn.
    """

    def __init__(self, members: int, device: torch.device | str = "cpu") -> None:
        self._keys = torch.zeros(2, members, dtype=torch.int64, device=device)
        self._rollouts = torch.zeros(members, dtype=torch.int64, device=device)

    @property
    def device(self) -> torch.device:
        """Device on which numbers are drawn."""
        return self._rollouts.device

    def __len__(self) -> int:
        return len(self._rollouts)

    def restart(self, member: int, seed: int) -> None:
        """Starts a member's draws.

        Args:
            member: Whose.
            seed: Fixes all of them; ≥ 0.
        """
        key = np.random.SeedSequence(seed, spawn_key=(_STREAM,)).generate_state(2)
        self._keys[:, member] = torch.from_numpy(key.astype(np.int64)).to(self.device)
        self._rollouts[member] = 0

    def advance(self) -> None:
        """Goes on to the next rollout: from now on, other numbers are drawn for every member."""
        self._rollouts += 1

    def words(
        self, purpose: Purpose, count: int, *, parts: int = 1, members: Tensor | slice = slice(None)
    ) -> Tensor:
        """Random words.

        Args:
            purpose: Purpose of the numbers.
            count: Numbers per part, ≥ 1.
            parts: Indices of the parts; a part's numbers depend neither on the other parts nor on
                `count`.
            members: For whom.

        Returns:
            A tensor of shape (members, parts, count), int64, uniform over [0, 2³²).
        """
        blocks = self._blocks(purpose, -(-count // 4), parts, members)
        return torch.stack(blocks, dim=-1).flatten(-2)[..., :count]

    def uniform(self, purpose: Purpose, shape: tuple[int, ...]) -> Tensor:
        """Uniform over (0, 1): odd multiples of 2⁻³³, never 0 or 1.

        Args:
            purpose: Purpose of the numbers.
            shape: Shape of the numbers of each member.

        Returns:
            A tensor of shape (members, *shape), float64; of the two below likewise.
        """
        words = self.words(purpose, math.prod(shape))
        return _to_unit(words).view(len(self), *shape)

    def gumbel(self, purpose: Purpose, shape: tuple[int, ...]) -> Tensor:
        """Standard Gumbel: −log(−log u). Arguments as of `uniform`."""
        return self.uniform(purpose, shape).log_().neg_().log_().neg_()

    def normal(self, purpose: Purpose, shape: tuple[int, ...]) -> Tensor:
        """Standard normal (Box & Muller 1958), two from two words. Arguments as of `uniform`."""
        count = math.prod(shape)
        words = self._blocks(purpose, -(-count // 4), 1, slice(None))
        first, second, third, fourth = (_to_unit(each) for each in words)
        pairs = [*_box_muller(first, second), *_box_muller(third, fourth)]
        return torch.stack(pairs, dim=-1).flatten(1)[:, :count].view(len(self), *shape)

    def _blocks(self, purpose: Purpose, count: int, parts: int, members: Tensor | slice) -> Block:
        index = torch.arange(count, device=self.device)
        part = torch.arange(parts, device=self.device).unsqueeze(1)
        rollout = self._rollouts[members].view(-1, 1, 1)
        low, high = self._keys[:, members].unsqueeze(-1).unsqueeze(-1).unbind()
        return philox((index, part, rollout, torch.full_like(part, purpose)), (low, high))


def _to_unit(words: Tensor) -> Tensor:
    return words.double().add_(0.5).mul_(_TO_UNIT)


def _box_muller(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    radius = one.log_().mul_(-2.0).sqrt_()
    angle = other.mul_(2.0 * math.pi)
    return angle.cos().mul_(radius), angle.sin_().mul_(radius)
