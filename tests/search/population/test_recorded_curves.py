"""Ranks and selections on recorded learning curves whose front is known."""

import dataclasses

import numpy as np
import pytest

from search.population.selection import (
    Moment,
    Rules,
    at_progress,
    choose_donor,
    nondominated_fronts,
    rank,
)

CURVES, MOMENTS, STEP = 40, 25, 1_000
FRONT = 12


@pytest.fixture(scope="module")
def curves():
    """Curves that end on the front 1 − s² for the first 12, at least 0.05 below it for the others.

    Each has one moment every 1,000 env steps: its return rises while its sparsity does, and once in ten
    moments it falls back.
    """
    rng = np.random.default_rng(11)
    recorded = []
    for member in range(CURVES):
        on_front = member < FRONT
        end = (member + 0.5) / FRONT if on_front else float(rng.uniform(0.02, 0.9))
        reach = 1.0 - end**2 - (0.0 if on_front else float(rng.uniform(0.05, 0.4)))
        pace = float(rng.uniform(0.5, 2.0))
        own = []
        for i in range(1, MOMENTS + 1):
            progress = (i / MOMENTS) ** pace
            dip = 0.0 if i == MOMENTS or rng.random() > 0.1 else float(rng.uniform(0, 0.5))
            sparsity = end * progress
            value = reach * progress - dip
            own.append(
                Moment(
                    snapshot_id=f"c{member}-{i}", member=member, env_steps=i * STEP,
                    objectives=(300.0 * value, sparsity), sparsity=sparsity, feasible=value > 0.02,
                )
            )  # fmt: skip
        recorded.append(own)
    return recorded


def dominated(one, others):
    return any(
        all(b >= a for a, b in zip(one, other, strict=True)) and one != other for other in others
    )


def best_first(moments):
    """The documented order, by counting."""
    able = [m for m in moments if m.feasible]
    points = {m.snapshot_id: m.objectives for m in able}
    columns = list(zip(*points.values(), strict=True))
    spans = [max(c) - min(c) or 1.0 for c in columns]

    def distance(a, b):
        differences = zip(points[a], points[b], spans, strict=True)
        return sum(((x - y) / span) ** 2 for x, y, span in differences)

    order, left = [], [m.snapshot_id for m in able]
    while left:
        layer = [i for i in left if not dominated(points[i], [points[j] for j in left])]
        left = [i for i in left if i not in layer]
        while layer:
            if order:
                pick = max(layer, key=lambda i: min(distance(i, j) for j in order))
            else:
                pick = max(layer, key=lambda i: points[i])
            order.append(pick)
            layer.remove(pick)
    unable = sorted((m for m in moments if not m.feasible), key=lambda m: -m.objectives[0])
    return [*order, *(m.snapshot_id for m in unable)]


def drawn(curves, rng):
    """Some members at one clock, and some of what they were before."""
    clock = int(rng.integers(1, MOMENTS + 1)) * STEP
    chosen = rng.choice(CURVES, size=int(rng.integers(4, 13)), replace=False)
    history = [m for member in chosen for m in curves[member] if m.env_steps <= clock]
    return clock, history


def test_at_their_ends_the_first_front_is_the_known_one(curves):
    rng = np.random.default_rng(12)
    for _ in range(1_000):
        chosen = rng.choice(CURVES, size=int(rng.integers(6, 25)), replace=False)
        ends = [curves[member][-1] for member in chosen]
        known = [i for i, member in enumerate(chosen) if member < FRONT]
        first = nondominated_fronts(np.array([m.objectives for m in ends]))[0].tolist()
        assert set(known) <= set(first)
        for i in set(first) - set(known):
            # Only where no known curve was drawn that beats it.
            assert not dominated(ends[i].objectives, [ends[j].objectives for j in known])


def test_all_curves_together_have_the_known_front_and_no_other(curves):
    ends = np.array([own[-1].objectives for own in curves])
    beaten = [
        i for i in range(FRONT, CURVES) if dominated(tuple(ends[i]), map(tuple, ends[:FRONT]))
    ]
    assert len(beaten) > 20
    first = nondominated_fronts(ends)[0].tolist()
    assert first[:FRONT] == list(range(FRONT))
    assert not set(beaten) & set(first)


def test_ranks_are_those_of_an_independent_computation(curves):
    rng = np.random.default_rng(13)
    for _ in range(1_500):
        clock, history = drawn(curves, rng)
        population = at_progress(history, clock, 0)
        order = rank(
            np.array([m.objectives for m in population]), np.array([m.feasible for m in population])
        )
        assert [population[i].snapshot_id for i in order] == best_first(population)


def test_selections_are_those_of_an_independent_computation(curves):
    rng = np.random.default_rng(14)
    rules = Rules(exploit_share=0.25, density_tolerance=0.1, progress_tolerance=3 * STEP)
    copied = 0
    for _ in range(1_000):
        clock, history = drawn(curves, rng)
        population = at_progress(history, clock, 0)
        receiver = population[int(rng.integers(len(population)))]
        others = [m for m in history if m.member != receiver.member]
        donor = choose_donor(receiver, population, others, rules, rng)
        worst = best_first(population)[-max(1, len(population) // 4) :]
        allowed = [
            m for m in others
            if m.feasible and clock - m.env_steps <= 3 * STEP
            and (not receiver.feasible or 1 - m.sparsity <= 1.1 * (1 - receiver.sparsity))
        ]  # fmt: skip
        # The order in which ties would be broken: the population's own first.
        now = [m for m in population if m in allowed]
        allowed = [*now, *(m for m in allowed if m not in now)]
        if receiver.snapshot_id not in worst or not allowed:
            assert donor is None
            continue
        copied += 1
        assert donor.snapshot_id in best_first(allowed)[: max(1, len(allowed) // 4)]
    assert copied > 150


def test_a_constraint_puts_all_below_it_last(curves):
    rng = np.random.default_rng(15)
    for _ in range(500):
        clock, history = drawn(curves, rng)
        limit = float(rng.uniform(0, 200))
        population = [
            dataclasses.replace(m, feasible=m.feasible and m.objectives[0] >= limit)
            for m in at_progress(history, clock, 0)
        ]
        order = [m for i in best_first(population) for m in population if m.snapshot_id == i]
        found = rank(
            np.array([m.objectives for m in population]), np.array([m.feasible for m in population])
        )
        assert [population[i] for i in found] == order
        below = [m.objectives[0] < limit for m in order]
        assert below == sorted(below)
