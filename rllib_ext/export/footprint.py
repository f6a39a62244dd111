"""Counts the flash that a policy takes in C, without a compiler: the same number on every machine."""

from __future__ import annotations

import dataclasses
import re

from typing_extensions import override

from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_place import FAST_TANH
from rllib_ext.export.c_text import Numbers, size_of
from rllib_ext.export.program import Program

# Bytes of code and of what it loads, fitted to what arm-none-eabi-gcc 12 -Os makes of 280 random
# policies for a Cortex-M4, of 0.1 to 13 kB: perceptrons of up to two layers with and without a filter,
# and programs with every operation. Half of them are off by less than 6 %, 95 % by less than 15 %; the
# worst, of a few hundred bytes, by 45 %. gcc for x86-64 takes 1.4 times as much, 0.9 to 1.7 times.
_LITERAL, _ELEMENT, _FAST_TANH = 7.7, 5.2, 155.0
_TABLE = re.compile(r"^static const (\w+) \w+\[(\d+)\] = \{$", re.MULTILINE)
_NUMBER = re.compile(r"\b\d+\.\d*(?:e[-+]?\d+)?f")


def counted_bytes(program: Program) -> int:
    """Returns the bytes of flash of a policy as written by `prunefront export --format c`, in float.

    Tables – weights, indices, biases, constants – are counted as they are laid out, sparse or dense,
    exactly. Code is estimated from the C that would be compiled: by its literals, its elements read and
    written, and its tanh, each at what it takes on a Cortex-M4. math.h is not counted.

    Args:
        program: Program of the policy.

    Returns:
        Bytes.
    """
    text = write_c(program, _Unread(), "policy", ()).source
    tables = sum(size_of(kind) * int(count) for kind, count in _TABLE.findall(text))
    code = text[text.index("\nvoid policy_reset(") :]
    estimated = (
        _LITERAL * len(_NUMBER.findall(code))
        + _ELEMENT * code.count("[")
        + (_FAST_TANH if FAST_TANH in text else 0.0)
    )
    return round(tables + estimated)


@dataclasses.dataclass(frozen=True)
class _Unread(Numbers):
    """Numbers that nobody reads: writing each to the last digit would take most of the time."""

    @override
    def literal(self, value: float) -> str:
        return "0.0f"
