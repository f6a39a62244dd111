"""The population's algorithm against independent brute force, and on curves with a known front."""

import dataclasses
import math
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended_search import RANDOM, Search, Trainer

from search.front.pareto import hypervolume
from search.population.selection import (
    Moment,
    Rules,
    at_progress,
    choose_donor,
    nondominated_fronts,
    rank,
    stagnant,
)

RULES = Rules(exploit_share=0.25, density_tolerance=0.1, progress_tolerance=1_000)


def dominates(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def peeled(points):
    """Fronts by the definition: again and again what nothing that is left dominates."""
    left, fronts = list(range(len(points))), []
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        fronts.append(front)
        left = [i for i in left if i not in front]
    return fronts


def ranked(points, feasible):
    """The order that `rank` describes, in exact arithmetic and one comparison after the other."""
    able = [i for i in range(len(points)) if feasible[i]]
    order = []
    if able:
        columns = [[Fraction(points[i][k]) for i in able] for k in range(len(points[0]))]
        spans = [max(c) - min(c) or 1 for c in columns]
        at = {
            i: [c[n] / s for c, s in zip(columns, spans, strict=True)] for n, i in enumerate(able)
        }
        for front in peeled([points[i] for i in able]):
            left = [able[n] for n in front]
            if not order:
                order.append(max(left, key=lambda i: (*map(Fraction, points[i]), -i)))
                left.remove(order[0])
            while left:
                gaps = {
                    i: min(
                        sum((x - y) ** 2 for x, y in zip(at[i], at[j], strict=True)) for j in order
                    )
                    for i in left
                }
                pick = max(left, key=lambda i: (gaps[i], -i))
                order.append(pick)
                left.remove(pick)
    unable = [i for i in range(len(points)) if not feasible[i]]
    return order + sorted(unable, key=lambda i: (-points[i][0], i))


def populations(kind, count, seed):
    """Random populations: "grid" is full of ties, "copies" of duplicates, "spread" has neither."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size, width = int(rng.integers(1, 13)), int(rng.integers(2, 4))
        feasible = rng.random(size) < rng.choice([0.3, 0.8, 1.0])
        if kind == "grid":
            points = rng.integers(0, 5, (size, width)).astype(float) / 4
            # Both ends are there, so that distances on the grid are exact and ties are ties.
            points = np.vstack(
                [points, np.tile([0.0, 1.0], 2)[:width], np.tile([1.0, 0.0], 2)[:width]]
            )
            points[-2:, 2:] = [[0.0], [1.0]][: points[-2:, 2:].size]
            feasible = np.r_[feasible, True, True]
        else:
            points = rng.normal(size=(size, width)) * rng.uniform(0.01, 300, width)
            if kind == "copies":
                points = points[rng.integers(size, size=size)]
        yield points, feasible


@pytest.mark.parametrize("kind", ["grid", "copies", "spread"])
def test_fronts_are_those_of_the_definition(kind):
    for points, _ in populations(kind, 1_500, seed=1):
        fronts = [front.tolist() for front in nondominated_fronts(points)]
        assert fronts == peeled(points.tolist())


@pytest.mark.parametrize("kind", ["grid", "copies", "spread"])
def test_the_order_is_that_of_an_exact_computation(kind):
    for points, feasible in populations(kind, 1_000, seed=2):
        assert rank(points, feasible) == ranked(points.tolist(), feasible.tolist())


@pytest.mark.parametrize("kind", ["grid", "spread"])
def test_the_first_few_are_those_of_the_whole_order(kind):
    for points, feasible in populations(kind, 200, seed=5):
        order = rank(points, feasible)
        for first in range(1, len(points) + 1):
            assert rank(points, feasible, first) == order[:first]


def test_many_points_are_sorted_into_the_same_fronts_with_and_without_a_third_equal_objective():
    rng = np.random.default_rng(6)
    for points in (rng.normal(size=(600, 2)), rng.integers(0, 12, (600, 2)) / 4):
        flat = np.column_stack([points, np.ones(len(points))])
        fronts = [front.tolist() for front in nondominated_fronts(points)]
        assert fronts == [front.tolist() for front in nondominated_fronts(flat)]
        assert len(fronts) > 5


def test_the_brute_force_is_not_the_order_of_the_indices():
    differing = [
        rank(points, feasible) != list(range(len(points)))
        for points, feasible in populations("grid", 200, seed=3)
    ]
    assert np.mean(differing) > 0.9


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    points=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=10),
    power=st.integers(-20, 20),
    shift=st.integers(-1000, 1000),
)
def test_the_scale_of_an_objective_does_not_matter(points, power, shift):
    plain = np.array(points, dtype=float)
    moved = plain * [2.0**power, 1.0] + [shift * 2.0**power, 0.0]
    everyone = np.ones(len(plain), dtype=bool)
    assert rank(moved, everyone) == rank(plain, everyone)


def test_an_infeasible_point_comes_after_every_feasible_one_however_good_it_is():
    points = np.array([[20.0, 0.999], [100.0, 0.1], [21.0, 0.99], [90.0, 0.05]])
    assert rank(points, np.array([False, True, False, True])) == [1, 3, 2, 0]


def moment(name, member=0, clock=1_000, objectives=(1.0, 0.5), **more):
    return Moment(
        snapshot_id=name,
        member=member,
        env_steps=clock,
        objectives=objectives,
        sparsity=objectives[1],
        **more,
    )


def random_moments(rng, count, prefix):
    grid = bool(rng.random() < 0.5)
    found = []
    for i in range(count):
        sparsity = float(rng.integers(0, 10) / 10 if grid else rng.uniform(0, 0.99))
        value = float(rng.integers(0, 6) if grid else rng.normal())
        found.append(
            moment(
                f"{prefix}{i}",
                member=i,
                clock=int(rng.integers(500, 3_000)),
                objectives=(value, sparsity),
                feasible=bool(rng.random() < 0.75),
                donates=bool(rng.random() < 0.85),
            )
        )
    return found


def test_donors_are_exactly_those_that_the_rules_allow():
    """Against the rules, one after the other, on thousands of random populations."""
    rng = np.random.default_rng(4)
    chosen = refused = 0
    for _ in range(4_000):
        rules = Rules(
            exploit_share=float(rng.choice([0.1, 0.25, 0.5])),
            density_tolerance=float(rng.choice([0.0, 0.1, 0.5])),
            progress_tolerance=int(rng.choice([0, 500, 1_500])),
        )
        population = random_moments(rng, int(rng.integers(1, 10)), "p")
        archive = random_moments(rng, int(rng.integers(0, 8)), "a")
        receiver = population[int(rng.integers(len(population)))]
        donor = choose_donor(receiver, population, archive, rules, rng)

        order = ranked([m.objectives for m in population], [m.feasible for m in population])
        worst = order[-max(1, int(rules.exploit_share * len(population))) :]
        allowed = [
            m
            for m in population + archive
            if m is not receiver
            and m.feasible
            and m.donates
            and abs(m.env_steps - receiver.env_steps) <= rules.progress_tolerance
            and (
                not receiver.feasible
                or 1 - m.sparsity <= (1 - receiver.sparsity) * (1 + rules.density_tolerance)
            )
        ]
        copies = len(population) >= 4 and population.index(receiver) in worst and bool(allowed)
        assert (donor is not None) == copies
        if donor is None:
            refused += 1
            continue
        chosen += 1
        best = ranked([m.objectives for m in allowed], [True] * len(allowed))
        top = [allowed[i] for i in best[: max(1, int(rules.exploit_share * len(allowed)))]]
        assert donor in top
    assert min(chosen, refused) > 400


def crowd():
    """Four members; the last one is the worst."""
    return [moment(f"m{i}", i, objectives=(10.0 - i, 0.5)) for i in range(4)]


def test_fewer_than_four_members_cannot_tell_who_is_worst():
    population = crowd()
    rng = np.random.default_rng(0)
    assert choose_donor(population[3], population, [], RULES, rng) == population[0]
    for size in (1, 2, 3):
        few = population[-size:]
        assert choose_donor(population[3], few, population, RULES, rng) is None


def test_who_is_not_among_the_worst_goes_on():
    population = crowd()
    for receiver in population[:3]:
        assert choose_donor(receiver, population, [], RULES, np.random.default_rng(0)) is None


def test_a_better_moment_of_the_archive_donates_before_a_member():
    population = crowd()
    best = moment("old", member=9, objectives=(50.0, 0.9))
    assert choose_donor(population[3], population, [best], RULES, np.random.default_rng(0)) == best


@pytest.mark.parametrize(
    "changes",
    [
        {"feasible": False},
        {"donates": False},
        {"env_steps": 2_001},
        {"env_steps": -1},
        {"sparsity": 0.449, "objectives": (50.0, 0.449)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_better_moment_that_a_rule_excludes_does_not_donate(changes):
    population = crowd()
    excluded = dataclasses.replace(moment("old", member=9, objectives=(50.0, 0.9)), **changes)
    donor = choose_donor(population[3], population, [excluded], RULES, np.random.default_rng(0))
    assert donor == population[0]


def test_an_infeasible_receiver_may_go_back_to_a_denser_donor():
    population = crowd()
    population[3] = dataclasses.replace(population[3], feasible=False, sparsity=0.99)
    denser = moment("old", member=9, objectives=(50.0, 0.1))
    rng = np.random.default_rng(0)
    assert choose_donor(population[3], population, [denser], RULES, rng) == denser


def test_a_donor_may_be_denser_by_the_tolerance():
    population = crowd()
    just = moment("old", member=9, objectives=(50.0, 0.45))
    assert choose_donor(population[3], population, [just], RULES, np.random.default_rng(0)) == just


def test_each_members_moment_nearest_to_the_clock_counts():
    rng = np.random.default_rng(5)
    for _ in range(500):
        moments = [
            moment(f"s{i}", int(rng.integers(4)), int(rng.integers(0, 40)))
            for i in range(int(rng.integers(0, 20)))
        ]
        clock, tolerance = int(rng.integers(0, 40)), int(rng.integers(0, 15))
        expected = []
        for member in range(4):
            own = [m for m in moments if m.member == member]
            near = min((abs(m.env_steps - clock) for m in own), default=math.inf)
            if near <= tolerance:
                expected.append([m for m in own if abs(m.env_steps - clock) == near][-1])
        assert at_progress(moments, clock, tolerance) == expected


@pytest.mark.parametrize(
    ("before", "after", "stood_still"),
    [
        ((100.0, 0.5, 0.0), (100.0, 0.5, 0.0), True),
        ((100.0, 0.5, 0.0), (90.0, 0.5, 0.0), True),
        ((100.0, 0.5, 0.0), (100.1, 0.5, 0.0), False),
        ((100.0, 0.5, 3.0), (109.9, 0.5, 4.0), True),
        ((100.0, 0.5, 3.0), (110.1, 0.5, 4.0), False),
        ((100.0, 0.5, 0.0), (90.0, 0.501, 0.0), False),
    ],
)
def test_a_segment_without_pruning_or_a_gain_beyond_its_noise_stood_still(
    before, after, stood_still
):
    first, second = (
        moment("x", objectives=values[:2], standard_error=values[2]) for values in (before, after)
    )
    assert stagnant(first, second) is stood_still


def covered(archive, of=lambda s: s.objectives["truth"]):
    """Hypervolume of true mean return over decades of density."""
    points = [(of(s), -math.log10(1 - s.sparsity)) for s in archive.snapshots()]
    return hypervolume(points, (RANDOM, 0.0))


def test_on_curves_with_a_known_front_the_population_covers_more_than_random_search(
    tmp_path, monkeypatch
):
    # Nothing crashes here, so nothing needs to be synced.
    monkeypatch.setattr(os, "fsync", lambda file: None)
    sparsities = np.linspace(0.0, 0.995, 400)
    whole = hypervolume(
        [(Trainer.true_front(s), -math.log10(1 - s)) for s in sparsities], (RANDOM, 0.0)
    )
    shares = {}
    for strategy in ("pareto_pbt", "random"):
        for seed in range(5):
            folder = tmp_path / f"{strategy}-{seed}"
            search = Search(
                folder, strategy=strategy, seed=seed, members=8, segments=6, env_steps=240_000
            ).run()
            shares[strategy, seed] = covered(search.archive) / whole
            assert search.coordinator.spent["training"] == 240_000
    assert max(shares.values()) < 1.0
    gains = [shares["pareto_pbt", seed] - shares["random", seed] for seed in range(5)]
    assert np.mean(gains) > 0.0, shares
