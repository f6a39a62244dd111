"""First weights as stable-baselines3's, whichever network RLlib builds."""

import pytest
import torch
from packs import IMAGES, Images
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import nn

from rllib_ext import with_initial_weights
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.pruning.errors import ConfigError


def module_of(env, model, **weights):
    ppo = PPOConfig().environment(env).rl_module(model_config=model)
    ppo = with_initial_weights(ppo, **weights)
    return ppo.get_rl_module_spec(env=env_maker(ppo)()).build()


def gain_of(weight):
    """By what an orthogonal matrix is scaled: its largest singular value, all of which are equal."""
    values = torch.linalg.svdvals(weight.detach().flatten(1))
    assert float(values.min()) == pytest.approx(float(values.max()), rel=1e-4)
    return float(values.max())


@pytest.mark.parametrize(
    ("env", "model"),
    [
        ("Pendulum-v1", {"fcnet_hiddens": [16, 8], "vf_share_layers": False}),
        ("Pendulum-v1", {"fcnet_hiddens": [16], "head_fcnet_hiddens": [8], "free_log_std": True}),
        ("CartPole-v1", {"fcnet_hiddens": [16], "vf_share_layers": True}),
        (Images, {**IMAGES, "vf_share_layers": False}),
    ],
)
def test_layers_are_orthogonal_and_only_the_policy_s_last_one_is_small(env, model):
    module = module_of(env, model, ortho_init=True)
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    heads = {"pi": 0.01, "vf": 1.0}
    lasts = {[n for n in layers if n.startswith(f"{head}.")][-1]: g for head, g in heads.items()}
    assert len(layers) > 3 or "vf_share_layers" in model
    for name, layer in layers.items():
        assert gain_of(layer.weight) == pytest.approx(lasts.get(name, 2**0.5), rel=1e-4)
        assert not layer.bias.any()


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_a_fresh_policy_draws_with_the_deviation_that_was_asked_for(free, orthogonal):
    model = {"fcnet_hiddens": [16], "free_log_std": free}
    torch.manual_seed(0)
    module = module_of("Pendulum-v1", model, log_std_init=-1.5, ortho_init=orthogonal)
    outputs = module.forward_inference({"obs": torch.randn(50, 3)})["action_dist_inputs"]
    mean, log_std = outputs.detach().chunk(2, dim=-1)
    # A head that isn't orthogonal and small adds what it makes of the observation.
    tolerance = 1e-6 if free else 0.05 if orthogonal else 0.5
    assert float(log_std.mean()) == pytest.approx(-1.5, abs=tolerance)
    assert float(mean.abs().max()) < (0.05 if orthogonal else 2.0)


def test_nothing_asked_for_leaves_rllib_s_own_weights():
    def weights(ppo):
        torch.manual_seed(3)
        module = ppo.get_rl_module_spec(env=env_maker(ppo)()).build()
        return module.state_dict()

    plain = PPOConfig().environment("Pendulum-v1").rl_module(model_config={"fcnet_hiddens": [8]})
    expected, found = weights(plain), weights(with_initial_weights(plain))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_module_of_one_s_own_sets_its_own_weights():
    ppo = PPOConfig().rl_module(rl_module_spec=RLModuleSpec(module_class=nn.Linear))
    with pytest.raises(ConfigError, match="rl_module_spec"):
        with_initial_weights(ppo, ortho_init=True)
