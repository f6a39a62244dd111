"""What of a member's own settings is taken, and what is refused before anything trains."""

import math

import numpy as np
import pytest
import torch
from ray.rllib.utils.schedules.scheduler import Scheduler

from rllib_ext.packed.hyperparameters import OWN, hyperparameters_of, stacked
from rllib_ext.pruning.errors import ConfigError

NUMBERS = [name for name in OWN if name not in ("use_kl_loss", "num_epochs")]
LIMITS = ("vf_clip_param", "grad_clip")


def refused(name):
    return pytest.raises(ConfigError, match=rf"training.{name} = .*expected")


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_0_or_more(packed_ppo, name):
    for value in (0, 0.5, 1, np.float32(0.25)):
        assert getattr(hyperparameters_of(packed_ppo(), {name: value}), name) == value
    for value in (-0.1, math.nan, "1e-3", True, [[0, 1e-3], [1000, -1.0]]):
        with refused(name):
            hyperparameters_of(packed_ppo(), {name: value})
    for value in (None, math.inf):
        if name in LIMITS:
            own = hyperparameters_of(packed_ppo(), {name: value})
            found = stacked([own.at(0)], [0.2], torch.zeros(1), factors=[1.0], teaching=[0.0])
            limit = {
                "grad_clip": found.largest_norm,
                "vf_clip_param": found.coefficients.value_clip,
            }
            assert limit[name].tolist() == [math.inf]
        else:
            with refused(name):
                hyperparameters_of(packed_ppo(), {name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gamma", (1.01,)),
        ("lambda_", (1.01,)),
        ("use_kl_loss", (None, 1, "false")),
        ("num_epochs", (0, -1, 2.0, None, True)),
    ],
)
def test_other_settings_out_of_range_are_refused_too(packed_ppo, name, values):
    for value in values:
        with refused(name):
            hyperparameters_of(packed_ppo(), {name: value})


def test_what_all_members_share_is_checked_like_their_own(packed_ppo):
    with refused("num_epochs"):
        hyperparameters_of(packed_ppo(num_epochs=0), {})
    assert hyperparameters_of(packed_ppo(num_epochs=0), {"num_epochs": np.int64(3)}).num_epochs == 3


@pytest.mark.parametrize("schedule", [[[0, 1e-3], [1000, 0.0]], [[0, 2], [500, 1], [700, 0.5]]])
@pytest.mark.parametrize("name", ["lr", "entropy_coeff"])
def test_a_schedule_gives_what_rllib_s_gives(packed_ppo, name, schedule):
    own = hyperparameters_of(packed_ppo(), {name: schedule})
    scheduler = Scheduler(schedule)
    for env_steps in (0, 1, 499, 500, 650, 999, 1000, 5000):
        assert getattr(own.at(env_steps), name) == scheduler.update(env_steps)
        assert own.at(env_steps).gamma == own.gamma


def test_other_settings_have_no_schedule(packed_ppo):
    with refused("gamma"):
        hyperparameters_of(packed_ppo(), {"gamma": [[0, 0.9], [1000, 0.99]]})
