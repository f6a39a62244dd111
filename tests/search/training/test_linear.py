"""Linear policies: fitted, trained and saved, where a linear policy is the best there is."""

import numpy as np
import pytest
from linear_world import Aim
from ray.rllib.connectors.env_to_module import MeanStdFilter
from taught import dense_policy, lesson, segment, settings_of

from rllib_ext import load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.pruning.masks import load_masks
from search.training.linear import UNIMPROVED, linear_ppo, train_linear


def ppo_of(small_ppo, *, filtered=False, model=None, **config):
    ppo = small_ppo(Aim, lr=3e-3, gamma=0.5).environment(Aim, env_config=config)
    if filtered:
        ppo.env_runners(env_to_module_connector=lambda *given: MeanStdFilter())
    return ppo.rl_module(model_config={"fcnet_hiddens": [16, 16], **(model or {})})


def played(folder, ppo, seeds=range(50)):
    evaluator = Evaluator(env_maker(ppo))
    try:
        return evaluator.run(load_policy(folder), seeds)
    finally:
        evaluator.close()


def test_the_actor_has_one_layer_and_the_critic_stays(small_ppo):
    for shared in (True, False):
        ppo = ppo_of(small_ppo, model={"vf_share_layers": shared})
        module = blueprint_of(linear_ppo(ppo)).module(0)
        shapes = {n: tuple(p.shape) for n, p in module.named_parameters() if n.endswith("weight")}
        assert shapes.pop("pi.net.mlp.0.weight") == (2, 3)
        assert shapes.pop("vf.net.mlp.0.weight") == (1, 16)
        assert list(shapes.values()) == [(16, 3), (16, 16)]
        assert all("critic" in name for name in shapes)


@pytest.mark.parametrize("packed", [True, pytest.param(False, marks=pytest.mark.ray)])
@pytest.mark.parametrize(
    "config",
    [{}, {"continuous": True}, {"continuous": True, "free": True}, {"scale": 50.0}],
    ids=str,
)
def test_where_the_best_policy_is_linear_it_is_as_good_as_the_dense_one(
    small_ppo, tmp_path, config, packed
):
    own = {name: value for name, value in config.items() if name != "free"}
    model = {"free_log_std": "free" in config}
    ppo = ppo_of(small_ppo, filtered="scale" in config, model=model, **own)
    dense, score = dense_policy(tmp_path, ppo)
    linear = linear_ppo(ppo)
    settings = settings_of(tmp_path, linear)
    (result,) = train_linear(settings, segment(1), packed, lesson(dense, 3))
    snapshot = result["snapshot"]
    assert (snapshot["nonzero_params"], snapshot["total_params"]) == (3, 3)
    found = played(tmp_path / snapshot["checkpoint"], linear)
    assert found.mean >= played(tmp_path / dense, ppo).mean - 0.5
    assert np.isfinite(score)
    # Its own training, the dense policy's ten episodes, and twenty that choose of each of two.
    assert result["env_steps"] >= 2048 + 20 * (10 + 2 * 20)


def test_of_fewer_weights_those_that_matter_are_left(small_ppo, tmp_path):
    ppo = ppo_of(small_ppo)
    dense, _ = dense_policy(tmp_path, ppo, 8192)
    settings = settings_of(tmp_path, linear_ppo(ppo))
    (result,) = train_linear(settings, segment(1), True, lesson(dense, 2))
    folder = tmp_path / result["snapshot"]["checkpoint"]
    assert result["snapshot"]["nonzero_params"] == 2
    weight = load_policy(folder).module.state_dict()["pi.net.mlp.0.weight"].numpy()
    # What the environment doesn't ask for is left out.
    assert ((weight != 0).sum(axis=0) == [1, 0, 1]).all()
    assert weight[1, 0] > 0 > weight[1, 2]
    mask = load_masks(folder / "masks.npz")["pi.net.mlp.0.weight"].numpy()
    assert (mask == (weight != 0)).all()


def test_what_training_makes_worse_stays_as_it_was_fitted(small_ppo, tmp_path):
    ppo = ppo_of(small_ppo)
    dense, _ = dense_policy(tmp_path, ppo, 8192)
    wrecking = linear_ppo(ppo).training(lr=50.0, grad_clip=None)
    settings = settings_of(tmp_path, wrecking)
    (result,) = train_linear(settings, segment(1, 512), True, lesson(dense, 3))
    assert result["note"] == UNIMPROVED
    found = played(tmp_path / result["snapshot"]["checkpoint"], ppo)
    assert found.mean > 17.0
    assert result["snapshot"]["status"] == "ok"
