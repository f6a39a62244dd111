"""Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in torch.

A counter-based generator keeps no state: each block of four words follows from a counter and a key
alone, so that any number of blocks is computed at once, in any order. Only integers are computed with,
and what comes out is the same on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
# The golden ratio and √3 − 1, by which the key moves on from round to round.
WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF

Block = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Block, key: tuple[Tensor, Tensor]) -> Block:
    """Four random words for each counter.

    Args:
        counter: Its four words, lowest first; int64, each in [0, 2³²), of shapes that broadcast.
        key: Its two words, likewise.

    Returns:
        Four words, uniform over [0, 2³²), int64, of the shape that counter and key broadcast to.
    """
    c0, c1, c2, c3 = counter
    for k0, k1 in zip(*(_schedule(*each) for each in zip(key, WEYL, strict=True)), strict=True):
        # Products take all 64 bits: the sign is a bit like the others. Their lower halves are put in
        # place with what stands above them, which the next round's mask takes away.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = ((p1 >> 32) ^ (c1 ^ k0)).bitwise_and_(_WORD)
        c2 = ((p0 >> 32) ^ (c3 ^ k1)).bitwise_and_(_WORD)
        c1, c3 = p1, p0
    return c0, c1 & _WORD, c2, c3 & _WORD


def _schedule(word: Tensor, step: int) -> tuple[Tensor, ...]:
    """A word of the key as each round has it."""
    rounds = torch.arange(ROUNDS, device=word.device).view(-1, *[1] * word.dim())
    return ((word + rounds * step) & _WORD).unbind()
