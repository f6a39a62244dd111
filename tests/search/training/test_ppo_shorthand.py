"""From the YAML's shorthand to RLlib's configuration, for both engines."""

import pytest
from packs import started
from pretended_search import coordinated
from ray.rllib.connectors.env_to_module import MeanStdFilter

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards
from rllib_ext.rl.preprocess.stack_frames import StackFrames
from search.training.engine import PackedEngine, RLlibEngine, engine_of
from search.training.ppo_config import build_ppo

MODEL = {"fcnet_hiddens": [8, 8], "vf_share_layers": False}


def config_of(ppo=None, **changes):
    values = {"env": "Pendulum-v1", "engine": "auto", **changes}
    training = {"train_batch_size_per_learner": 64, "minibatch_size": 32, "gamma": 0.9}
    return coordinated(
        **values, ppo={"training": training, "rl_module": {"model_config": MODEL}, **(ppo or {})}
    )


def test_preprocessing_becomes_connectors_that_packs_know():
    config = config_of({"preprocess": {"normalize": True, "clip_obs": 5, "frame_stack": 4}})
    ppo = build_ppo(config)
    filtered, stacked = ppo._env_to_module_connector(None, None, None)
    assert (type(filtered), filtered.clip_by_value) == (MeanStdFilter, 5)
    assert (type(stacked), stacked.num_frames) == (StackFrames, 4)
    (scaled,) = ppo._learner_connector(None, None)
    assert (type(scaled), scaled.gamma, scaled.clip) == (ScaleRewards, 0.9, 10.0)
    assert isinstance(engine_of(config, ppo), PackedEngine)


def test_a_schedule_and_first_weights_reach_rllib_and_packs():
    model = {**MODEL, "free_log_std": True, "ortho_init": True, "log_std_init": -2}
    config = config_of({"rl_module": {"model_config": model}}, engine="packed")
    ppo = build_ppo(config)
    assert isinstance(engine_of(config, ppo), PackedEngine)
    module = started(ppo).network.modules[1]
    assert module.pi.log_std.tolist() == [-2.0]
    last = module.pi.net.mlp[-1].weight
    assert float(last.detach().norm()) == pytest.approx(0.01, rel=1e-4)
    rates = {"training.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"}}
    training = {
        "train_batch_size_per_learner": 64,
        "minibatch_size": 32,
        "lr": {"from": 1e-3, "to": 0},
    }
    searched = config_of(
        {"training": training}, search={"strategy": "pareto_pbt", "space": rates}, engine="packed"
    )
    scheduled = build_ppo(searched)
    assert scheduled.lr == [[0, 1e-3], [searched.horizon, 0.0]]
    assert isinstance(engine_of(searched, scheduled), PackedEngine)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"preprocess": {"frame_stack": 2}}, "frame_stack = 2"),
        (
            {
                "env_runners": {
                    "env_to_module_connector": {
                        "class": "ray.rllib.connectors.env_to_module:PrevActionsPrevRewards"
                    }
                }
            },
            "PrevActionsPrevRewards",
        ),
    ],
)
def test_what_packs_cannot_do_is_left_to_rllib_with_the_reason(changes, why):
    images = {"env": "packs:ContinuousImages"}
    model = {"conv_filters": [[4, 3, 1]], "vf_share_layers": False}
    config = config_of({"rl_module": {"model_config": model}, **changes}, **images)
    engine = engine_of(config, build_ppo(config))
    assert isinstance(engine, RLlibEngine)
    assert why in engine.unpackable


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"ortho_init": 1}, "ortho_init = 1; expected true or false"),
        ({"log_std_init": "small"}, "log_std_init = 'small'; expected a number"),
        ({"ortho_init": True, "fcnet_hidden": [8]}, "Did you mean 'fcnet_hiddens'"),
        ({"head_fcnet_kernel_initializer": "orthogonal_"}, "ortho_init: true"),
    ],
)
def test_first_weights_that_mean_nothing_are_refused(model, told):
    with pytest.raises(ConfigError, match=told):
        build_ppo(config_of({"rl_module": {"model_config": {**MODEL, **model}}}))


def test_a_log_std_of_discrete_actions_is_refused():
    config = config_of(
        {"rl_module": {"model_config": {**MODEL, "log_std_init": -1}}},
        env="CartPole-v1",
        engine="packed",
    )
    with pytest.raises(ConfigError, match="log_std_init = -1 is of continuous actions"):
        engine_of(config, build_ppo(config))
