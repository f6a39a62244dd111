"""A search that has a goal looks for it: paired with the same search without one."""

import dataclasses
import itertools

import pytest
from pretended_search import RANDOM, Search, Trainer

from search.config.space import TARGET
from search.front.aim import LEAST_OF_LIMIT

pytestmark = pytest.mark.usefixtures("without_sync")

SEARCH = {"members": 8, "segments": 6, "env_steps": 240_000}
FEW = {"goal": {"max_weights": 30}}
KEEP = {"goal": {"min_retained": 0.6}}


def searched(folder, goal, *, seed=0, strategy="pareto_pbt", weights=Trainer.WEIGHTS, **more):
    return Search(
        folder, seed=seed, strategy=strategy, weights=weights, **SEARCH, **goal, **more
    ).run(slots=2)


def truth(snapshot):
    return snapshot.objectives["truth"]


def near(search, few, most):
    return [s for s in search.archive.snapshots() if few <= s.nonzero_params <= most]


@pytest.mark.parametrize(
    "strategy", ["pareto_pbt", "gap_pbt", "pbt", "selection", "optuna", "random"]
)
def test_more_lineages_come_to_lie_where_the_goal_is(tmp_path, strategy):
    most = FEW["goal"]["max_weights"]
    counts = [
        [
            len(near(searched(tmp_path / f"{name}{seed}", goal, seed=seed, strategy=strategy),
                     LEAST_OF_LIMIT * most, most))
            for seed in range(3)
        ]
        for name, goal in (("with", FEW), ("without", {}))
    ]  # fmt: skip
    assert all(a > b for a, b in zip(*counts, strict=True))
    assert sum(counts[0]) > 1.5 * sum(counts[1])


def test_the_best_that_fits_is_better_with_the_goal_than_without(tmp_path):
    most = FEW["goal"]["max_weights"]
    gains = []
    for seed in range(5):
        best = [
            max(truth(s) for s in near(searched(tmp_path / f"{name}{seed}", goal, seed=seed), 0, most))
            for name, goal in (("with", FEW), ("without", {}))
        ]  # fmt: skip
        gains.append(best[0] - best[1])
    assert sum(gain > 0 for gain in gains) >= 4
    assert sum(gains) / len(gains) > 5.0


def test_with_the_goal_fewer_weights_keep_what_is_asked_for(tmp_path):
    fewest = {"with": [], "without": []}
    for seed in range(5):
        for name, goal in (("with", KEEP), ("without", {})):
            search = searched(tmp_path / f"{name}{seed}", goal, seed=seed)
            dense = search.archive.baselines()["dense"].search_return
            enough = RANDOM + KEEP["goal"]["min_retained"] * (dense - RANDOM)
            kept = [s for s in search.archive.snapshots() if truth(s) >= enough]
            fewest[name].append(min(s.nonzero_params for s in kept))
    assert sum(a <= b for a, b in zip(*fewest.values(), strict=True)) >= 4
    assert sum(fewest["with"]) < 0.95 * sum(fewest["without"])


def test_newcomers_spread_over_the_goal_and_some_over_all(tmp_path):
    search = Search(
        tmp_path, weights=Trainer.WEIGHTS, members=16, segments=1, env_steps=64_000, **FEW
    ).run()
    left = sorted(
        Trainer.WEIGHTS * (1 - s.pruning[TARGET.partition(".")[2]]) for s in search.of_members
    )
    most = FEW["goal"]["max_weights"]
    aimed = [n for n in left if LEAST_OF_LIMIT * most - 1e-6 <= n <= most + 1e-6]
    assert 10 <= len(aimed) <= 14
    assert max(b / a for a, b in itertools.pairwise(aimed)) < 1.3
    assert max(left) > 4 * most


def test_before_the_network_is_known_nothing_is_aimed_at_and_then_it_is(tmp_path):
    search = searched(tmp_path, FEW, weights=0)
    first = {s.member: s for s in reversed(search.of_members)}
    plain = searched(tmp_path / "plain", {})
    born = {s.member: s for s in reversed(plain.of_members)}
    assert first[0].pruning == born[0].pruning
    assert len(near(search, 15, 30)) > len(near(plain, 15, 30))


def test_without_a_goal_a_search_is_what_it_was(tmp_path):
    plain, known = searched(tmp_path / "a", {}, weights=0), searched(tmp_path / "b", {})
    for one, other in zip(plain.archive.snapshots(), known.archive.snapshots(), strict=True):
        assert dataclasses.replace(one, wall_time=0.0) == dataclasses.replace(other, wall_time=0.0)
