import math

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.masks import count_for, masks_to_numpy
from rllib_ext.pruning.schedule.decide import ScheduleState, start
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.training.taken_over import EVENTS, begun, staying, taken_over


@pytest.fixture
def weights():
    parts = {"pi": nn.Linear(5, 4), "vf": nn.Linear(5, 2)}
    return prunable_weights(nn.ModuleDict(parts), ["vf"])


def masks_of(policy, critic):
    """Masks of which so many elements are pruned."""
    masks = {
        "pi.weight": torch.ones(4, 5, dtype=torch.bool),
        "vf.weight": torch.ones(2, 5, dtype=torch.bool),
    }
    masks["pi.weight"].view(-1)[:policy] = False
    masks["vf.weight"].view(-1)[:critic] = False
    return masks


def saved_by(config, masks, standing):
    return {
        "config": config.to_dict(),
        "masks": masks_to_numpy(masks),
        "standing": standing.to_dict(),
        "env_steps": 500,
        "events": {"pruned": 3},
        "evaluated_return": 7.0,
        "accepted": None,
    }


def test_a_schedule_begins_with_what_masks_have_removed(weights):
    standing = begun(PruningConfig(horizon=100), weights, masks_of(5, 1))
    assert (standing.sparsity, standing.critic_sparsity) == (0.25, 0.1)
    assert standing.anchor is None


@pytest.mark.parametrize("policy", [0, 7, 20])
def test_a_configuration_that_stays_asks_for_as_many_as_are_gone(weights, policy):
    config = PruningConfig(horizon=100, final_sparsity=0.9, threshold=1.0)
    held = staying(config, weights, masks_of(policy, 3))
    assert count_for(held.final_sparsity, weights.policy) == policy
    assert count_for(held.critic_final_sparsity, weights.critic) == 3
    assert held.threshold is None


def test_the_same_schedule_goes_on_where_it_was_saved(weights):
    config = PruningConfig(horizon=1000, final_sparsity=0.9)
    standing = ScheduleState(restarted_at=0.3, regrown_at=0.4)
    masks = masks_of(10, 0)
    taken = taken_over(config, saved_by(config, masks, standing), weights, masks)
    assert taken.standing == standing
    assert taken.evaluated_return == 7.0
    assert taken.events == {**dict.fromkeys(EVENTS, 0), "pruned": 3}


def test_a_clone_rises_from_what_its_donors_masks_have_removed(weights):
    donor = PruningConfig(horizon=1000, final_sparsity=0.9)
    clone = PruningConfig(horizon=2000, final_sparsity=0.5)
    masks = masks_of(5, 2)
    taken = taken_over(clone, saved_by(donor, masks, start(donor)), weights, masks)
    assert taken.standing.anchor == 0.25
    assert (taken.standing.sparsity, taken.standing.critic_sparsity) == (0.25, 0.2)
    assert taken.evaluated_return is None
    assert taken.accepted is None
    assert not any(taken.events.values())


def test_a_clones_learning_rate_was_taken_up_at_the_donors_moment(weights):
    donor = PruningConfig(horizon=1000, final_sparsity=0.9, lr_restart=3.0)
    masks = masks_of(5, 0)
    state = saved_by(donor, masks, ScheduleState(restarted_at=0.4))
    taken = taken_over(donor.replace(horizon=4000), state, weights, masks)
    assert math.isclose(taken.standing.restarted_at, 0.1)
