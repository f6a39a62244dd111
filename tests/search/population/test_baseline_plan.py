"""Which baselines are trained: how many, at which levels of the front, and not twice."""

import pandas as pd
import pytest
from pretended_search import coordinated

from rllib_ext.pruning.config import PruningConfig
from search.config.baseline_kinds import KINDS
from search.front.confirmed_front import FRONT_COLUMNS
from search.population.baseline_plan import levels
from search.population.baseline_plan import plan_baselines as planned_with
from search.population.plain_sizes import PlainSizes
from search.store.archive import Baseline

# CartPole's 64-64: dense networks of 7, 16, 27, 40 … weights; 4 linear weights.
PLAIN = PlainSizes(layers=((64, 4), (64, 64), (2, 64)), linear=4, leaf=1)


def plan_baselines(settings, table, there, plain=PLAIN):
    return planned_with(settings, table, there, plain)


def front(*points, keeps=None, knee=None, goal=None):
    """A front's table of (non-zero weights of 10,000)."""
    rows = [
        {
            "snapshot_id": f"m{i:02d}",
            "sparsity": 1 - weights / 10_000,
            "nonzero_params": weights,
            "total_params": 10_000,
            "keeps_95": weights == keeps,
            "knee": weights == knee,
            "goal": weights == goal,
        }
        for i, weights in enumerate(points)
    ]
    marks = dict.fromkeys(("keeps_95", "knee", "goal"), bool)
    return pd.DataFrame(rows, columns=list(FRONT_COLUMNS)).astype(marks)


def weights(table, count):
    return [row["nonzero_params"] for row in levels(table, count)]


def config(**counts):
    return coordinated(baselines={**dict.fromkeys(KINDS, 0), **counts})


def known(*planned):
    return {
        p.name: Baseline(
            name=p.name, description="", env_steps=1, wall_time=0.0, search_return=1.0, kind=p.kind
        )
        for p in planned
    }


def test_levels_begin_with_the_picks_and_go_on_with_what_lies_farthest():
    table = front(9000, 3000, 900, 100, 90, 10, keeps=100, knee=900)
    assert weights(table, 1) == [100]
    assert weights(table, 2) == [100, 900]
    # 9,000 and 10 lie one decade from what is taken, 3,000 half a one, 90 next to nothing.
    assert set(weights(table, 4)) == {100, 900, 9000, 10}
    assert sorted(weights(table, 9)) == sorted(table["nonzero_params"])


def test_what_meets_the_goal_is_the_first_that_is_compared():
    table = front(9000, 3000, 900, 100, keeps=100, knee=900, goal=3000)
    assert weights(table, 3) == [3000, 100, 900]


def test_one_point_that_is_both_picks_counts_once():
    assert weights(front(900, 100, 10, keeps=100, knee=100), 2)[0] == 100
    assert len(set(weights(front(900, 100, 10, keeps=100, knee=100), 3))) == 3


def test_without_picks_the_sparsest_comes_first_and_an_empty_front_has_no_levels():
    assert weights(front(900, 100, 10), 1) == [10]
    assert weights(front(), 3) == []
    assert weights(front(900, keeps=900), 0) == []


def test_each_kind_gets_as_many_as_the_configuration_says():
    table = front(900, 100, 10, keeps=100)
    planned = plan_baselines(config(random_masks=2, train_then_prune=1), table, {})
    assert next(p.name for p in planned) == "random_masks-100"
    assert [p.kind for p in planned] == ["random_masks"] * 2 + ["train_then_prune"]
    assert plan_baselines(config(), table, {}) == []
    assert len(plan_baselines(config(small_dense=5), table, {})) == 3


def test_what_is_there_is_not_trained_again_even_where_the_front_has_moved():
    settings = config(random_masks=2, small_dense=1)
    table = front(900, 100, 10, keeps=100)
    first = plan_baselines(settings, table, {})
    assert plan_baselines(settings, table, known(*first)) == []
    (missing,) = plan_baselines(settings, table, known(first[0], first[2]))
    assert missing.name == first[1].name
    # Its training is the one that was planned at first.
    assert missing.segment == first[1].segment
    moved = front(800, 80, 8, keeps=80)
    assert plan_baselines(settings, moved, known(*first)) == []


def test_every_baseline_trains_alone_for_one_horizon_from_its_own_seed():
    settings = config(random_masks=2, small_dense=2, train_then_prune=2)
    planned = plan_baselines(settings, front(900, 100, 10, keeps=100), {})
    segments = [p.segment for p in planned]
    assert len({s.seed for s in segments}) == len({s.member for s in segments}) == 6
    assert {s.until_env_steps for s in segments} == {settings.horizon}
    assert {(s.state, s.parent) for s in segments} == {("", "")}
    assert all(s.member < -1 for s in segments)
    assert len({s.evaluation_seeds for s in segments}) == 1


def test_each_kind_is_pruned_in_its_own_way():
    planned = plan_baselines(
        config(random_masks=1, small_dense=1, train_then_prune=1), front(100, keeps=100), {}
    )
    how = {p.kind: PruningConfig.from_dict(p.segment.pruning) for p in planned}
    masks, small, once = (how[k] for k in ("random_masks", "small_dense", "train_then_prune"))
    assert (masks.criterion, masks.schedule) == ("random", "constant")
    assert masks.final_sparsity == once.final_sparsity == pytest.approx(0.99)
    assert (once.schedule, once.begin, once.end) == ("one_shot", 0.5, 0.5)
    assert once.criterion == config().pruning.criterion
    assert small.final_sparsity == 0.0


def test_baselines_start_as_they_are_called_whatever_members_start_with():
    settings = coordinated(
        baselines={**dict.fromkeys(KINDS, 0), "small_dense": 1, "train_then_prune": 1},
        pruning={"start": "narrow", "start_density": 0.1},
    )
    planned = plan_baselines(settings, front(100, keeps=100), {})
    assert [p.segment.pruning["start"] for p in planned] == ["dense", "dense"]


def test_small_networks_are_named_by_their_true_weights_and_none_is_trained_twice():
    table = front(900, 41, 9, 8, 3, keeps=9)
    planned = plan_baselines(config(small_dense=4), table, {})
    # 3, 8 and 9 weights are held against the same network, the pick first of all.
    assert [(p.name, p.level) for p in planned] == [
        ("small_dense-7", "m02"),
        ("small_dense-891", "m00"),
        ("small_dense-40", "m01"),
    ]
    assert [p.weights for p in planned] == [7, 891, 40]
    (left,) = plan_baselines(config(small_dense=3), table, known(*planned[:2]))
    assert left.name == "small_dense-40"
    assert plan_baselines(config(small_dense=3), table, known(*planned)) == []


def test_linear_policies_and_trees_hold_no_more_than_the_point_that_they_are_held_against():
    table = front(900, 41, 9, 3, keeps=9)
    planned = plan_baselines(config(linear=4, tree=4), table, {})
    assert [p.name for p in planned if p.kind == "linear"] == ["linear-4", "linear-3"]
    # Thresholds and actions of 5, 2, 21 and the most leaves.
    assert {p.name for p in planned if p.kind == "tree"} == {
        "tree-9",
        "tree-3",
        "tree-41",
        "tree-511",
    }
    continuous = PlainSizes(layers=PLAIN.layers, linear=102, leaf=6)
    trees = plan_baselines(config(tree=4), table, {}, continuous)
    # Two leaves of six numbers hold 13: a threshold more than the sparsest points have room for.
    assert {p.name for p in trees} == {"tree-13", "tree-41", "tree-895"}


def test_what_the_environment_has_none_of_is_not_planned():
    plain = PlainSizes(refused={"small_dense": "…", "linear": "images", "tree": "images"})
    settings = config(small_dense=1, linear=1, tree=1, random_masks=1)
    planned = plan_baselines(settings, front(900, 9, keeps=9), {}, plain)
    assert [p.kind for p in planned] == ["random_masks"]


def test_where_the_front_is_empty_nothing_is_planned():
    assert plan_baselines(config(random_masks=2, small_dense=1), front(), {}) == []


def test_what_there_will_never_be_is_not_planned_again_in_another_ones_place():
    """A tree that comes out as one that is there is left out; the search may be interrupted then."""
    settings, table = config(tree=3), front(900, 100, 10, keeps=100, knee=10)
    first = plan_baselines(settings, table, {})
    assert [p.weights for p in first] == [99, 9, 511]
    (left,) = planned_with(settings, table, known(first[0]), PLAIN, [first[1].name])
    assert left == first[2]
