import dataclasses
import math

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.front.pareto import (
    candidates,
    hypervolume,
    hypervolume_history,
    knee,
    log_density,
    nondominated,
)
from search.store.archive import Snapshot

# Few values, so that ties and duplicates are common.
few = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
points = st.lists(st.tuples(few, few), min_size=1, max_size=25).map(np.array)
exact = settings(deadline=None, derandomize=True, max_examples=200)


def by_pairs(array):
    """Non-domination by its definition, pair by pair."""
    return np.array(
        [not any((b >= a).all() and (b > a).any() for b in array) for a in array], dtype=bool
    )


@exact
@given(points)
def test_nondominated_agrees_with_the_definition_and_with_moocore(array):
    found = nondominated(array)
    assert (found == by_pairs(array)).all()
    assert (found == moocore.is_nondominated(array, maximise=True, keep_weakly=True)).all()


def test_nondominated_agrees_with_moocore_on_many_points():
    array = np.random.default_rng(0).normal(size=(20_000, 2)).round(2)
    assert (
        nondominated(array) == moocore.is_nondominated(array, maximise=True, keep_weakly=True)
    ).all()


def test_points_that_are_not_finite_never_count_and_dominate_nothing():
    array = [[math.nan, 9], [9, math.nan], [math.inf, 0], [1, 1]]
    assert nondominated(array).tolist() == [False, False, False, True]
    assert not nondominated(np.empty((0, 2))).size


@exact
@given(points, few, few)
def test_hypervolume_agrees_with_moocore(array, x, y):
    expected = moocore.hypervolume(array, ref=[x, y], maximise=True)
    assert hypervolume(array, (x, y)) == pytest.approx(expected, abs=1e-12)


@exact
@given(points)
def test_history_is_the_hypervolume_of_each_beginning(array):
    reference = (-0.5, -0.5)
    expected = [hypervolume(array[: i + 1], reference) for i in range(len(array))]
    assert hypervolume_history(array, reference) == pytest.approx(expected, abs=1e-12)


def test_log_density_counts_decades_down_to_one_weight():
    assert log_density([0.0, 0.9, 0.999, 1.0], 1000) == pytest.approx([0, 1, 3, 3])


def test_knee_is_the_corner_and_ignores_units():
    decades = np.array([0.0, 1.0, 2.0, 3.0])
    returns = np.array([500.0, 495.0, 480.0, 20.0])
    assert knee(returns, decades) == 2
    assert knee(returns / 7 - 3, decades * 5) == 2
    assert knee(returns[::-1], decades[::-1]) == 1


@pytest.mark.parametrize(
    ("returns", "decades"),
    [
        ([1.0, 0.0], [0.0, 1.0]),
        ([2.0, 1.0, 0.0], [0.0, 1.0, 2.0]),
        ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]),
        ([2.0, math.nan, 0.0], [0.0, 1.0, 2.0]),
        ([], []),
    ],
)
def test_no_knee_where_nothing_bends(returns, decades):
    assert knee(returns, decades) is None


def snapshot(i: int, return_mean: float, sparsity: float, **changes) -> Snapshot:
    plain = Snapshot(
        snapshot_id=f"s{i}", trial_number=i, member=0, segment=0, iteration=i, env_steps=i,
        wall_time=0.0, status="ok", return_mean=return_mean, return_std=1.0, episodes=4,
        sparsity=sparsity, critic_sparsity=0.0, nonzero_params=round(1000 * (1 - sparsity)),
        total_params=1000, parent="", checkpoint=f"policies/s{i}", state="", hyperparameters={},
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def test_candidates_hold_the_search_front_before_near_misses():
    front = [snapshot(i, 100 - 10 * i, 0.5 + 0.04 * i, member=i) for i in range(10)]
    behind = [snapshot(20 + i, 99.5 - 10 * i, 0.48 + 0.04 * i, member=20 + i) for i in range(9)]
    chosen = candidates(behind + front, 15)
    assert len(chosen) == 15
    assert {s.snapshot_id for s in chosen} > {s.snapshot_id for s in front}


def test_candidates_leave_out_what_failed_or_cannot_be_evaluated_again():
    left_out = [
        snapshot(1, math.nan, 0.9),
        snapshot(2, 99, 0.9, status="failed"),
        snapshot(3, 99, 0.9, status="infeasible"),
        snapshot(4, 99, 0.9, checkpoint=""),
        snapshot(5, 10, 0.99),
    ]
    good = snapshot(6, 50, 0.5)
    assert candidates([*left_out, good], 9, floor=10) == [good]
    assert candidates(left_out, 9, floor=10) == []
    assert candidates([good], 0) == []


def test_the_cap_thins_crowds_and_keeps_the_sparse_end():
    crowd = [snapshot(i, 500 - i, 0.5 + 0.0001 * i, member=i) for i in range(200)]
    sparse = [snapshot(300 + i, 290 - i, 1 - 10.0**-i, member=300 + i) for i in (1, 2, 3)]
    chosen = candidates(crowd + sparse, 6)
    assert len(chosen) == 6
    assert chosen[-3:] == sparse
    assert crowd[0] in chosen


def test_the_low_end_of_a_front_is_not_crowded_out_by_a_plateau_that_holds_the_cap():
    # As CartPole's: hundreds hold 500 at every count down to 4 weights; the one of 3 scores 212.
    plateau = [
        snapshot(i, 500, 1 - (4 + i // 8) / 1000, return_std=i / 10, episodes=10, member=i)
        for i in range(320)
    ]
    end = snapshot(999, 212, 0.997, member=999)
    assert end in candidates([*plateau, end], 12)


def test_what_a_sparser_snapshot_clearly_beats_is_no_candidate():
    good = snapshot(1, 500, 0.9, member=1)
    hopeless = [snapshot(2 + i, 100, 0.1 + 0.01 * i, member=2 + i) for i in range(20)]
    assert candidates([good, *hopeless], 10) == [good]


def test_a_lucky_sparse_snapshot_does_not_hide_the_good_ones_behind_it():
    # 60 snapshots reach the cap in five episodes each; the sparsest of them by luck.
    lucky = snapshot(1, 500, 0.999, return_std=0.0, episodes=5, member=1)
    plateau = [
        snapshot(2 + i, 500, 0.9 + 0.0001 * i, return_std=0.0, episodes=5, member=2 + i)
        for i in range(60)
    ]
    chosen = candidates([lucky, *plateau], 8)
    assert lucky in chosen
    assert len(chosen) == 8


def test_of_equal_scores_the_steadier_member_is_chosen():
    steady = [snapshot(i, 500, 0.9, iteration=i, member=1) for i in range(3)]
    lucky = [snapshot(10, 100, 0.9, member=2), snapshot(11, 500, 0.9, member=2)]
    assert candidates([*lucky, *steady], 1)[0] in steady


@pytest.mark.parametrize("seed", range(6))
def test_candidates_of_a_noisy_capped_search_hold_a_policy_that_truly_keeps_95(
    seed, tmp_path, simulate
):
    world = simulate(tmp_path / "a", seed=seed, members=16, segments=8, purposes=())
    random, dense = world.truth["random"], world.truth["dense"]
    enough = random + 0.95 * (dense - random)
    good = [s for s in world.snapshots if world.truth[s.snapshot_id] >= enough]
    found = [s for s in candidates(world.snapshots, 16, floor=random) if s in good]
    # Two bands of the 2.8 decades that 16 candidates cover: a factor of 3.3.
    assert min(s.nonzero_params for s in found) <= 3.3 * min(s.nonzero_params for s in good)
