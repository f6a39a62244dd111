"""RLlib's own example RLModules and Learners, as small PPO configurations."""

from pathlib import Path

import gymnasium as gym
import numpy as np
from example_scripts import Example, saved_module, script, small, with_module
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.envs.classes.correlated_actions_env import CorrelatedActionsEnv
from ray.rllib.examples.envs.classes.random_env import RandomEnv
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole
from ray.rllib.examples.learners.classes.intrinsic_curiosity_learners import (
    ICM_MODULE_ID,
    PPOTorchLearnerWithCuriosity,
)
from ray.rllib.examples.learners.ppo_with_torch_lr_schedulers import LRChecker
from ray.rllib.examples.offline_rl.train_w_bc_finetune_w_ppo import MyBCModel, MyPPOModel
from ray.rllib.examples.rl_modules.classes.autoregressive_actions_rlm import (
    AutoregressiveActionsRLM,
)
from ray.rllib.examples.rl_modules.classes.custom_action_distribution_rlm import (
    CustomActionDistributionRLModule,
)
from ray.rllib.examples.rl_modules.classes.intrinsic_curiosity_model_rlm import (
    IntrinsicCuriosityModel,
)
from ray.rllib.examples.rl_modules.classes.lstm_containing_rlm import (
    LSTMContainingRLModule,
    LSTMContainingRLModuleWithTargetNetwork,
)
from ray.rllib.examples.rl_modules.classes.modelv2_to_rlm import ModelV2ToRLModule
from ray.rllib.examples.rl_modules.classes.tiny_atari_cnn_rlm import TinyAtariCNN

IMAGES = {"observation_space": Box(0.0, 1.0, (10, 10, 2), np.float32)}
FILTERS = [[6, 3, 2, "same"], [12, 5, 1, "valid"]]
RECURRENT = {"lstm_cell_size": 8, "dense_layers": [12, 12], "max_seq_len": 8}


def tiny_atari_cnn(folder: Path) -> PPOConfig:
    config = script("rl_modules.custom_cnn_rl_module").environment(RandomEnv, env_config=IMAGES)
    return with_module(config, TinyAtariCNN, conv_filters=FILTERS)


def lstm_containing(folder: Path) -> PPOConfig:
    config = script("rl_modules.custom_lstm_rl_module")
    return with_module(config, LSTMContainingRLModule, **RECURRENT)


def lstm_with_target_network(folder: Path) -> PPOConfig:
    config = PPOConfig().environment(StatelessCartPole)
    return with_module(config, LSTMContainingRLModuleWithTargetNetwork, **RECURRENT)


def custom_action_distribution(folder: Path) -> PPOConfig:
    config = PPOConfig().environment("CartPole-v1")
    return with_module(
        config, CustomActionDistributionRLModule, hidden_dim=24, action_dist_temperature=5.0
    )


def autoregressive_actions(folder: Path) -> PPOConfig:
    return with_module(PPOConfig().environment(CorrelatedActionsEnv), AutoregressiveActionsRLM)


def action_masking(folder: Path) -> PPOConfig:
    config = script("rl_modules.action_masking_rl_module")
    config.environment(env_config={**config.env_config, "action_space": Discrete(20)})
    return small(config)


def cloned_behaviour(folder: Path) -> PPOConfig:
    path = saved_module(MyBCModel, gym.make("CartPole-v1"), folder / "cloned")
    spec = RLModuleSpec(module_class=MyPPOModel, load_state_path=path)
    return small(PPOConfig().environment("CartPole-v1").rl_module(rl_module_spec=spec))


def model_of_the_old_stack(folder: Path) -> PPOConfig:
    old = PPOConfig().environment("CartPole-v1")
    old.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    old.training(model={"fcnet_hiddens": [24], "vf_share_layers": False})
    config = PPOConfig().environment("CartPole-v1")
    return with_module(config, ModelV2ToRLModule, old_api_stack_algo_config=old)


def intrinsic_curiosity(folder: Path) -> PPOConfig:
    sizes = {f"{part}_net_hiddens": (16,) for part in ("feature", "inverse", "forward")}
    curious = RLModuleSpec(
        module_class=IntrinsicCuriosityModel,
        learner_only=True,
        model_config={"feature_dim": 8, **sizes},
    )
    policy = RLModuleSpec(
        model_config=DefaultModelConfig(fcnet_hiddens=[16, 16], vf_share_layers=False)
    )
    specs = {DEFAULT_MODULE_ID: policy, ICM_MODULE_ID: curious}
    config = PPOConfig().environment("CartPole-v1")
    config.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    config.learners(
        learner_class=PPOTorchLearnerWithCuriosity,
        learner_config_dict={"forward_loss_weight": 0.2, "intrinsic_reward_coeff": 0.05},
    )
    return small(config)


def loss_of_its_own(folder: Path) -> PPOConfig:
    return small(script("learners.ppo_with_custom_loss_fn"))


def optimizer_for_the_critic(folder: Path) -> PPOConfig:
    return small(script("learners.separate_vf_lr_and_optimizer"))


def torch_schedulers(folder: Path) -> PPOConfig:
    # What is pickled by value isn't found again: its class as it can be imported.
    return small(script("learners.ppo_with_torch_lr_schedulers")).callbacks(LRChecker)


MODULES = [
    Example("TinyAtariCNN", tiny_atari_cnn, critic=0.0, repeats=False),
    Example("LSTMContainingRLModule", lstm_containing, critic=0.0),
    Example("LSTMContainingRLModuleWithTargetNetwork", lstm_with_target_network, critic=0.0),
    Example("CustomActionDistributionRLModule", custom_action_distribution, critic=0.0),
    Example("AutoregressiveActionsRLM", autoregressive_actions, repeats=False),
    Example("ActionMaskingTorchRLModule", action_masking, repeats=False),
    Example("train_w_bc_finetune_w_ppo", cloned_behaviour, critic=0.0),
    Example("ModelV2ToRLModule", model_of_the_old_stack),
]
LEARNERS = [
    Example("PPOTorchLearnerWithCuriosity", intrinsic_curiosity, checkpoint=False),
    Example("ppo_with_custom_loss_fn", loss_of_its_own, critic=0.0),
    Example("separate_vf_lr_and_optimizer", optimizer_for_the_critic),
    Example("ppo_with_torch_lr_schedulers", torch_schedulers, critic=0.0),
]
