"""What is told of a running search: members by state, the front so far and what it covers."""

import math

import numpy as np
import pytest
from pretended_search import RANDOM, Search

from search.front.hypervolume_curve import running_hypervolume
from search.front.pareto import nondominated
from search.population.how_far import scale_so_far
from search.population.progress import Point, covered
from search.store.archive import Baseline


def begun(folder, **how):
    """A search that has measured the random policy, as each has before its members train."""
    search = Search(folder, **how)
    search.archive.add_baseline(
        Baseline(name="random", description="", env_steps=0, wall_time=0.0, search_return=RANDOM)
    )
    return search


def test_before_anything_began_nobody_has(tmp_path):
    progress = Search(tmp_path, members=6).coordinator.progress
    assert (progress.unborn, progress.waiting, progress.given_up, progress.dense) == (
        6,
        0,
        0,
        False,
    )
    assert progress.front == ()
    assert not progress.heard_of
    assert math.isnan(progress.hypervolume)


def test_each_member_is_in_one_state_at_any_moment(tmp_path, without_sync):
    search = begun(tmp_path, members=5, segments=3, env_steps=60_000)
    seen = []

    def look():
        p = search.coordinator.progress
        assert p.running - p.dense + p.waiting + p.unborn + p.given_up == p.members == 5
        seen.append(p)

    search.run(slots=2, after_each=look)
    assert any(p.dense for p in seen)
    assert seen[0].unborn >= 4
    assert (seen[-1].unborn, seen[-1].given_up) == (0, 0)
    # The dense baseline is trained by then.
    assert math.isfinite(seen[-1].hypervolume)


def test_who_failed_too_often_is_given_up(tmp_path, without_sync):
    search = Search(
        tmp_path, members=4, segments=3, env_steps=60_000,
        fails=lambda segment: "raise" if segment.member == 2 else "",
    )  # fmt: skip
    search.run(slots=2)
    progress = search.coordinator.progress
    assert (progress.given_up, progress.failures) == (1, 3)


def test_the_front_so_far_and_its_hypervolume_are_those_that_the_report_finds(
    tmp_path, without_sync
):
    search = begun(tmp_path, members=8, segments=6, env_steps=240_000, seed=4).run(slots=2)
    progress = search.coordinator.progress
    records = list(search.archive.snapshots())
    able = [s for s in records if s.usable and s.status == "ok"]
    on = nondominated(np.array([(s.return_mean, s.sparsity) for s in able]))
    wanted = {(s.return_mean, s.sparsity) for s, is_on in zip(able, on, strict=True) if is_on}
    assert {(p.return_mean, p.sparsity) for p in progress.front} == wanted
    assert [p.sparsity for p in progress.front] == sorted(p.sparsity for p in progress.front)
    weights = {(s.return_mean, s.sparsity): s.nonzero_params for s in able}
    assert all(p.weights == weights[p.return_mean, p.sparsity] for p in progress.front)
    scale = scale_so_far(search.archive.baselines(), RANDOM)
    curve = running_hypervolume(records, scale)["over_sparsity"]
    assert progress.hypervolume == pytest.approx(curve.iloc[-1])


def test_without_a_dense_baseline_nothing_is_kept_of_it():
    scale = scale_so_far({}, 20.0)
    assert math.isnan(covered([Point(100.0, 0.5, 10, math.nan)], scale))
