"""Reads a search's progress from its state."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rllib_ext.member.segment import DENSE
from search.front.retained import Scale
from search.population.progress import Progress, covered
from search.population.state import State
from search.store.archive import Baseline


def how_far(
    state: State, budget: int | None, scale: Scale, *, before: int, seconds_left: float
) -> Progress:
    """Returns the progress of a search.

    Args:
        state: State of the search.
        budget: Training env steps that members may do; None: only time limits them.
        scale: Scale of returns, as far as it is known.
        before: Env steps that an earlier process did.
        seconds_left: Seconds left of the budget; infinite without one.
    """
    idle = [m for m in state.members if m.index not in state.running]
    given_up = sum(m.given_up for m in idle)
    unborn = sum(
        m.last is None and not m.segment and m.index not in state.lost and not m.given_up
        for m in idle
    )
    front = state.so_far.front(scale)
    return Progress(
        env_steps=state.spent["training"],
        budget=budget,
        running=len(state.running),
        members=len(state.members),
        snapshots=state.made,
        best_return=state.so_far.best,
        sparsest_good=state.so_far.sparsest_good,
        failures=len(state.failures),
        before=before,
        seconds_left=seconds_left,
        dense=DENSE in state.running,
        waiting=len(idle) - unborn - given_up,
        unborn=unborn,
        given_up=given_up,
        front=front,
        hypervolume=covered(front, scale),
    )


def scale_so_far(baselines: Mapping[str, Baseline], floor: float) -> Scale:
    """Returns the scale of returns in a running search, from the search scores measured so far.

    Args:
        baselines: Those so far, by name.
        floor: Mean return of the better of random and constant action; −∞ where it isn't known.
    """
    random, dense = (
        baselines[name].search_return if name in baselines else math.nan
        for name in ("random", "dense")
    )
    return Scale(random, dense, floor)
