"""The learning rate's factor: up when weights go, down to 1, the same after a restore and in a clone."""

import itertools
import pickle

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.schedule.patience import WINDOW
from rllib_ext.pruning.schedule.restart import rate_factor
from rllib_ext.pruning.training.pruner import Pruner

HORIZON = 1000


def config(**changes):
    return PruningConfig(
        **{
            "horizon": HORIZON, "schedule": "iterative", "final_sparsity": 0.8, "round_share": 0.5,
            "begin": 0.1, "end": 0.9, "lr_restart": 3.0, "lr_restart_span": 0.1, **changes,
        }
    )  # fmt: skip


def pruner_of(pruning, seed=0):
    torch.manual_seed(seed)
    return Pruner(nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 4)), list, pruning)


def factors(pruner, clocks):
    found = []
    for clock in clocks:
        pruner.before_update(clock)
        found.append((pruner.event, pruner.rate_factor))
        pruner.after_update()
    return found


def test_it_falls_back_linearly_within_the_span():
    pruning = config()
    shares = [rate_factor(pruning, 0.4, 0.4 + elapsed) for elapsed in (0.0, 0.025, 0.05, 0.1, 0.3)]
    assert shares == pytest.approx([3.0, 2.5, 2.0, 1.0, 1.0])
    assert rate_factor(pruning, None, 0.4) == 1.0
    assert rate_factor(config(lr_restart=1.0), 0.4, 0.4) == 1.0


def test_each_round_takes_it_up_again():
    pruner = pruner_of(config())
    found = factors(pruner, range(50, 1001, 50))
    up = [factor for event, factor in found if event == "pruned"]
    assert up == [3.0] * len(up)
    assert len(up) == pruner.events["pruned"] >= 3
    after = [b for (event, _), (_, b) in itertools.pairwise(found) if event == "pruned"]
    assert after == pytest.approx([2.0] * len(after))
    assert found[-1][1] == pytest.approx(1.0)
    assert {factor for _, factor in found} >= {1.0, 3.0}


def test_first_masks_of_a_fresh_network_take_up_nothing_but_those_of_a_trained_one_do():
    pruning = config(schedule="constant")
    assert factors(pruner_of(pruning), [10]) == [("pruned", 1.0)]
    begun = pruner_of(pruning)
    begun.begins_trained = True
    assert factors(begun, [10]) == [("pruned", 3.0)]


def test_it_goes_on_after_a_restore_and_in_a_clone_by_the_clones_own_settings():
    clocks = range(50, 1001, 30)
    whole = factors(pruner_of(config()), clocks)
    for cut in range(1, len(clocks)):
        first = pruner_of(config())
        factors(first, clocks[:cut])
        # Mid-way down as well: whatever the next update's own weights.
        state = pickle.loads(pickle.dumps(first.state_dict()))
        again = pruner_of(config())
        again.load_state_dict(state)
        assert [f for _, f in factors(again, clocks[cut:])] == [f for _, f in whole[cut:]]
    donor = pruner_of(config())
    pruned_at = next(clock for clock in clocks if factors(donor, [clock])[0][0] == "pruned")
    for changes, expected in (({"lr_restart": 5.0}, 3.0), ({"lr_restart": 1.0}, 1.0)):
        clone = pruner_of(config(**changes, final_sparsity=0.75))
        clone.load_state_dict(donor.state_dict())
        assert factors(clone, [pruned_at + 50]) == [("", pytest.approx(expected))]
    # Of twice the horizon, the span is twice as many steps.
    slower = pruner_of(config(horizon=2 * HORIZON))
    slower.load_state_dict(donor.state_dict())
    assert factors(slower, [pruned_at + 50]) == [("", pytest.approx(2.5))]


def test_a_roll_back_takes_it_back():
    pruner = pruner_of(
        config(schedule="plateau", patience=0, random_return=0.0, lr_restart_span=0.9)
    )
    factors(pruner, [200])
    for clock in range(201, 201 + WINDOW):
        pruner.observe(100.0)
        factors(pruner, [clock])
    assert pruner.event == "pruned"
    assert pruner.rate_factor == 3.0
    pruner.observe(1.0)
    assert factors(pruner, [clock + 10]) == [("rolled_back", 1.0)]
    assert factors(pruner, [clock + 20]) == [("", 1.0)]


def test_the_report_has_the_factor_where_there_is_one():
    on, off = pruner_of(config()), pruner_of(config(lr_restart=1.0))
    for pruner in (on, off):
        factors(pruner, range(50, 500, 50))
    assert on.report()["lr_factor"] == on.rate_factor
    assert "lr_factor" not in off.report()


@pytest.mark.parametrize(
    ("name", "value"), [("lr_restart", 0.5), ("lr_restart_span", 0.0), ("lr_restart_span", 1.1)]
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} = {value}; expected a number in"):
        config(**{name: value})
