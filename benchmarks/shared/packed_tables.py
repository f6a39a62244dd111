"""Formats the tables of `benchmarks.packed` from what each engine did in its turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.shared.intervals import median_ratio

# By engine, its answers, one per round.
Turns = Mapping[str, Sequence[Mapping[str, Any]]]
RLLIB, SB3, SBX = "rllib", "stable-baselines3", "sbx"
# Engines that train one member each.
SINGLE = (RLLIB, SB3, SBX)
PACKED, JAX = "packed P=", "jax P="
ALIKE = "jax, as many members"
NAME, CELL = 25, 24


def members_of(name: str) -> int:
    """Returns how many members an engine trains, by its name."""
    return int(name.partition("=")[2].partition(",")[0]) if "=" in name else 1


def speeds(turns: Turns, name: str, clock: str = "cpu") -> np.ndarray:
    """Returns env steps per second over all members, one value per round.

    Args:
        turns: Answers of the engines.
        name: Name of the engine.
        clock: "cpu" or "wall".
    """
    return np.array([turn["steps"] / turn[clock] for turn in turns[name]])


def speed_table(turns: Turns, batch: int) -> str:
    """Formats speed with quartiles, first iteration, memory and Adam steps of each engine.

    Args:
        turns: Answers of the engines.
        batch: Env steps of a member in an iteration.
    """
    lines = [
        f"{'engine':<{NAME}}{'steps/CPU s (quartiles)':>28}{'steps/s':>10}{'first, s':>10}{'MB':>7}"
        f"{'Adam steps a batch':>20}"
    ]
    for name in turns:
        low, middle, high = np.quantile(speeds(turns, name), [0.25, 0.5, 0.75])
        cell = f"{middle:,.0f} ({low:,.0f} – {high:,.0f})"
        wall = np.median(speeds(turns, name, "wall"))
        last = turns[name][-1]
        lines.append(
            f"{name:<{NAME}}{cell:>28}{wall:>10,.0f}{last['first']:>10.1f}{last['megabytes']:>7.0f}"
            f"{adam_steps_a_batch(turns, name, batch):>20.1f}"
        )
    return "\n".join(lines)


def adam_steps_a_batch(turns: Turns, name: str, batch: int) -> float:
    """Returns Adam steps of a member for each batch of its env steps, over all rounds.

    Args:
        turns: Answers of the engines.
        name: Name of the engine.
        batch: Env steps of a member in an iteration.
    """
    taken = sum(turn["adam_steps"] for turn in turns[name])
    batches = sum(turn["steps"] for turn in turns[name]) / (batch * members_of(name))
    return float(taken / batches)


def ratio(
    turns: Turns, name: str, other: str, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Returns one engine's env steps per CPU second ÷ another's, paired by round.

    Returns:
        The median, and the ends of its 95 % bootstrap interval.
    """
    return median_ratio(speeds(turns, name), speeds(turns, other), generator)


def alike_of(turns: Turns, name: str) -> str | None:
    """Returns the name of the pack in JAX with as many members, or None if there is none."""
    other = f"{JAX}{members_of(name)}"
    return other if other in turns else None


def ratio_table(turns: Turns) -> str:
    """Formats `ratio` of env steps per CPU second, with a row per pack of ours and a column per peer.

    Args:
        turns: Answers of the engines.

    Returns:
        The lines; empty without packs or peers.
    """
    packs = packs_of(turns)
    singles = [name for name in SINGLE if name in turns]
    alike = any(alike_of(turns, name) for name in packs)
    columns = [*singles, ALIKE] if alike else singles
    if not packs or not columns:
        return ""
    generator = np.random.default_rng(0)
    lines = [f"{'times as fast as':<{NAME}}" + "".join(f"{c:>{CELL}}" for c in columns)]
    for name in packs:
        others = [*singles, alike_of(turns, name)] if alike else singles
        cells = [_cell(turns, name, other, generator) for other in others]
        lines.append(f"{name:<{NAME}}" + "".join(f"{cell:>{CELL}}" for cell in cells))
    return "\n".join(lines)


def _cell(turns: Turns, name: str, other: str | None, generator: np.random.Generator) -> str:
    if other is None:
        return "–"
    middle, low, high = ratio(turns, name, other, generator)
    return f"{middle:.2f} ({low:.2f} – {high:.2f})"


def parts_table(turns: Turns) -> str:
    """Formats the parts of packs' CPU time and their environments' speed alone; empty without packs."""
    packs = packs_of(turns)
    if not packs:
        return ""
    lines = [
        f"{'where its time goes':<{NAME}}{'environment':>12}{'forward':>10}{'update':>10}{'rest':>8}"
        f"{'env alone, steps/CPU s':>26}{'÷ packed':>10}"
    ]
    for name in packs:
        shares = np.median([turn["shares"] for turn in turns[name]], axis=0)
        alone = float(np.median([turn["env_alone"] for turn in turns[name]]))
        cells = "".join(f"{s:>{w}.0%}" for s, w in zip(shares, (12, 10, 10, 8), strict=True))
        share = alone / float(np.median(speeds(turns, name)))
        lines.append(f"{name:<{NAME}}{cells}{alone:>26,.0f}{share:>10.1f}")
    return "\n".join(lines)


def packs_of(turns: Turns) -> list[str]:
    """Returns the names of our packs, in the order of the turns."""
    return [name for name in turns if name.startswith(PACKED)]
