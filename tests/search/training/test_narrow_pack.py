"""Small dense networks of several widths in one pack: each learns as it would alone."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rllib_ext import load_policy
from rllib_ext.member.segment import DENSE, Segment
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.masks import load_masks
from search.training.narrow_pack import embedded
from search.training.small_dense import small_dense
from search.training.to_end import train_to_end

WEIGHTS = (7, 27, 72)
MODELS = {
    "apart": {"fcnet_hiddens": [16, 16], "fcnet_activation": "tanh", "vf_share_layers": False},
    # A unit whose inputs are all masked still gives 0.5.
    "sigmoid, shared": {"fcnet_hiddens": [16, 16], "fcnet_activation": "Sigmoid"},
}


def segment(number):
    pruning = PruningConfig(horizon=512, final_sparsity=0.0, schedule="linear")
    return Segment(
        member=DENSE - 1 - number, segment=0, trial_number=-1, seed=100 * number,
        pruning=pruning.to_dict(), training={}, until_env_steps=512,
        evaluation_seeds=(1, 2, 3),
    )  # fmt: skip


def trained(folder, ppo, segments, narrow=()):
    settings = MemberSettings(folder=str(folder), ppo_config=ppo, evaluation_interval=1)
    return train_to_end(settings, segments, True, narrow)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_each_is_what_it_becomes_alone(small_ppo, tmp_path, model):
    ppo = small_ppo(grad_clip=0.5).rl_module(model_config=model)
    narrow = [small_dense(ppo, weights) for weights in WEIGHTS]
    segments = [segment(i) for i in range(len(WEIGHTS))]
    together = trained(tmp_path / "together", narrow[-1], segments, narrow)
    for weights, own, one, result in zip(WEIGHTS, narrow, segments, together, strict=True):
        (alone,) = trained(tmp_path / "alone", own, [one])
        snapshot, expected = result["snapshot"], alone["snapshot"]
        for name in ("nonzero_params", "total_params", "sparsity"):
            assert snapshot[name] == expected[name]
        assert snapshot["nonzero_params"] == weights
        np.testing.assert_allclose(snapshot["returns"], expected["returns"])
        saved, other = (
            load_policy(tmp_path / place / snapshot["checkpoint"]).module.state_dict()
            for place in ("together", "alone")
        )
        assert {n: v.shape for n, v in saved.items()} == {n: v.shape for n, v in other.items()}
        for name, value in saved.items():
            torch.testing.assert_close(value, other[name], rtol=0.0, atol=2e-5)


def test_what_is_saved_is_the_narrow_network_alone(small_ppo, tmp_path):
    ppo = small_ppo().rl_module(model_config=MODELS["apart"])
    narrow = [small_dense(ppo, weights) for weights in WEIGHTS]
    result = trained(tmp_path, narrow[-1], [segment(i) for i in range(3)], narrow)[0]
    folder = tmp_path / result["snapshot"]["checkpoint"]
    assert all(bool(mask.all()) for mask in load_masks(folder / "masks.npz").values())
    described = json.loads((folder / "metadata.json").read_text())
    assert described["nonzero_params"] == described["total_params"] == 7
    policy = load_policy(folder)
    policy.begin([0])
    assert policy.act([0], [np.zeros(4, np.float32)], [0.0])[0] in (0, 1)


def test_without_a_narrower_network_nothing_is_begun_anew(small_ppo, tmp_path):
    ppo = small_ppo().rl_module(model_config=MODELS["apart"])
    (result,) = trained(tmp_path, ppo, [dataclasses.replace(segment(0))])
    assert result["snapshot"]["total_params"] == 4 * 16 + 16 * 16 + 16 * 2


def test_a_corner_lies_where_all_indices_begin():
    found = embedded(torch.ones(2, 3), (4, 4))
    assert found.sum() == found[:2, :3].sum() == 6
