"""Which values of PPO's main hyperparameters mean something."""

import math

import numpy as np
import pytest
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.rl.settings.ranges import RANGED, expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("gamma", 1.5, "from 0 to 1"),
        ("gamma", -0.1, "from 0 to 1"),
        ("lambda_", 95, "from 0 to 1"),
        ("lr", -1e-3, "0 or more"),
        ("lr", math.nan, "0 or more"),
        ("lr", "fast", "0 or more"),
        ("lr", [[0, 1e-3], [1000, -1.0]], "pairs"),
        ("lr", [], "pairs"),
        ("entropy_coeff", [0, 0.1], "pairs"),
        ("clip_param", None, "0 or more"),
        ("clip_param", True, "0 or more"),
        ("vf_clip_param", -1, "or null"),
        ("num_epochs", 0, "1 or more"),
        ("num_epochs", 3.7, "integer"),
        ("minibatch_size", -8, "1 or more"),
        ("train_batch_size", None, "1 or more"),
    ],
)
def test_what_can_mean_nothing_is_told_what_was_expected(name, value, words):
    assert words in expected(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 1), ("gamma", 0.0), ("lambda_", np.float32(0.5)), ("lr", 0.0),
        ("lr", [[0, 1e-3], [1_000, 1e-5]]), ("entropy_coeff", ((0, 0.1), (9, 0))),
        ("vf_clip_param", math.inf), ("grad_clip", None), ("num_epochs", np.int64(3)),
        ("minibatch_size", None), ("train_batch_size_per_learner", None),
    ],
)  # fmt: skip
def test_what_rllib_can_train_with_is_accepted(name, value):
    assert expected(name, value) == ""


def test_rllibs_defaults_lie_in_their_ranges():
    usual = PPOConfig()
    for name in RANGED:
        assert expected(name, getattr(usual, name)) == "", name
