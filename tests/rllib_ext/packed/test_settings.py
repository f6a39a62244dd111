"""What a pack would leave out silently is refused; what it reads, or what means nothing to it, isn't."""

import gymnasium as gym
import numpy as np
import pytest
from pretended_search import coordinated
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.hyperparameters import OWN
from rllib_ext.packed.settings import ELSEWHERE, READ, refuse_unpackable
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import PPOSettings
from search.training.engine import engine_of
from search.training.ppo_config import build_ppo


class OwnPPO(PPO):
    """Trains otherwise."""


class OwnLearner(PPOTorchLearner):
    """Learns otherwise."""


def nothing(*args, **kwargs):
    """Hears of everything."""


LEFT_OUT = {
    "explore": lambda ppo: ppo.env_runners(explore=False),
    "batch_mode": lambda ppo: ppo.env_runners(batch_mode="complete_episodes"),
    "rollout_fragment_length": lambda ppo: ppo.env_runners(rollout_fragment_length=4),
    "add_default_connectors_to_module_to_env_pipeline": lambda ppo: ppo.env_runners(
        add_default_connectors_to_module_to_env_pipeline=False
    ),
    "add_default_connectors_to_env_to_module_pipeline": lambda ppo: ppo.env_runners(
        add_default_connectors_to_env_to_module_pipeline=False
    ),
    "module_to_env_connector": lambda ppo: ppo.env_runners(module_to_env_connector=nothing),
    "num_env_runners": lambda ppo: ppo.env_runners(num_env_runners=1),
    "env_runner_cls": lambda ppo: ppo.env_runners(env_runner_cls=object),
    "shuffle_batch_per_epoch": lambda ppo: ppo.training(shuffle_batch_per_epoch=False),
    "learner_connector": lambda ppo: ppo.training(learner_connector=nothing),
    "learner_class": lambda ppo: ppo.learners(learner_class=OwnLearner),
    "torch_skip_nan_gradients": lambda ppo: ppo.framework(torch_skip_nan_gradients=True),
    "num_learners": lambda ppo: ppo.learners(num_learners=1),
    "callbacks_class": lambda ppo: ppo.callbacks(type("Own", (RLlibCallback,), {})),
    **{
        f"callbacks_{name}": lambda ppo, name=name: ppo.callbacks(**{name: nothing})
        for name in ("on_train_result", "on_episode_end", "on_sample_end", "on_algorithm_init")
    },
    "evaluation_interval": lambda ppo: ppo.evaluation(evaluation_interval=1),
    "min_sample_timesteps_per_iteration": lambda ppo: ppo.reporting(
        min_sample_timesteps_per_iteration=1000
    ),
    "torch_lr_scheduler_classes": lambda ppo: ppo.experimental(
        _torch_lr_scheduler_classes=[object]
    ),
    "algorithm_config_overrides_per_module": lambda ppo: ppo.multi_agent(
        algorithm_config_overrides_per_module={"default_policy": PPOConfig.overrides(lr=0.5)}
    ),
    **{
        f"minibatch_size = {size}": lambda ppo, size=size: ppo.training(minibatch_size=size)
        for size in (None, 0)
    },
    "rl_module_spec.load_state_path": lambda ppo: ppo.rl_module(
        rl_module_spec=RLModuleSpec(load_state_path="/some/where")
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_would_be_left_out_is_refused_by_its_name_with_the_way_out(packed_ppo, name):
    ppo = LEFT_OUT[name](packed_ppo())
    with pytest.raises(
        ConfigError, match=rf"^{name.partition(' ')[0]} = .*expected .*use the rllib engine"
    ):
        blueprint_of(ppo)


def test_whole_batches_are_left_to_rllib_by_auto():
    config = coordinated(engine="auto")
    assert engine_of(config, build_ppo(config)).name == "packed"
    whole = config.model_copy(update={"ppo": PPOSettings(training={"minibatch_size": None})})
    engine = engine_of(whole, build_ppo(whole))
    assert engine.name == "rllib"
    assert "Give one, or use the rllib engine" in engine.unpackable


def test_another_algorithm_and_settings_of_its_own_are_refused():
    class OwnConfig(PPOConfig):
        def __init__(self, algo_class=None, temperature=None):
            super().__init__(algo_class)
            self.env_runners(num_env_runners=0)
            self.temperature = temperature

    refuse_unpackable(OwnConfig())
    with pytest.raises(ConfigError, match=r"algo_class = .*OwnPPO"):
        refuse_unpackable(OwnConfig(OwnPPO))
    # Arrays don't say in one word whether they are equal.
    for value in (1.0, np.ones(2)):
        with pytest.raises(ConfigError, match=r"temperature = .*expected None"):
            refuse_unpackable(OwnConfig(temperature=value))


def test_what_speaks_of_processes_and_logs_is_accepted(packed_ppo):
    ppo = packed_ppo(learner_class=PPOTorchLearner)
    ppo.env_runners(sample_timeout_s=500, num_cpus_per_env_runner=2)
    ppo.learners(num_cpus_per_learner=1)
    ppo.fault_tolerance(restart_failed_env_runners=False)
    ppo.debugging(seed=3, log_level="ERROR")
    space = gym.make("CartPole-v1").observation_space
    ppo.environment(disable_env_checking=True, observation_space=space)
    ppo.callbacks(RLlibCallback)
    blueprint_of(ppo)


def test_what_rllib_itself_notes_in_a_configuration_is_accepted(packed_ppo):
    ppo = packed_ppo()
    ppo.validate()
    assert not ppo.is_atari
    ppo.freeze()
    for each in (ppo, ppo.copy(copy_frozen=False)):
        refuse_unpackable(each)


def test_every_setting_that_is_named_is_one_of_rllib_s():
    usual = vars(PPOConfig())
    assert usual.keys() >= READ | ELSEWHERE
    assert set(OWN) <= READ
    assert not READ & ELSEWHERE
