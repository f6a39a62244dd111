"""RLlib's own examples that can't be pruned: refused before anything trains, with what to change."""

import pytest
from example_scripts import script, with_module
from examples_envs import flattened_dict
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.examples.learners.classes.intrinsic_curiosity_learners import (
    DQNTorchLearnerWithCuriosity,
)
from ray.rllib.examples.rl_modules.classes.random_rlm import RandomRLModule
from ray.rllib.examples.rl_modules.classes.vpg_torch_rlm import VPGTorchRLModule

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.errors import ConfigError


def module(module_class, **model):
    return with_module(PPOConfig().environment("CartPole-v1"), module_class, **model)


def curious_dqn():
    return (
        DQNConfig().environment("CartPole-v1").learners(learner_class=DQNTorchLearnerWithCuriosity)
    )


def old_stack():
    old = PPOConfig().environment("CartPole-v1")
    return old.api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )


OTHER_ALGORITHM = ("expected a PPOConfig",)
SEVERAL_POLICIES = ("multi-agent", "expected one policy")
PARALLEL = ("evaluation_parallel_to_training=True", "Set it to False")
REFUSED = {
    "vpg_custom_algorithm": (lambda: script("algorithms.vpg_custom_algorithm"), OTHER_ALGORITHM),
    "appo_custom_algorithm": (
        lambda: script("algorithms.appo_custom_algorithm_w_shared_data_actor"),
        OTHER_ALGORITHM,
    ),
    "shared_encoder_cartpole": (
        lambda: script("multi_agent.shared_encoder_cartpole"),
        OTHER_ALGORITHM,
    ),
    "DQNTorchLearnerWithCuriosity": (curious_dqn, OTHER_ALGORITHM),
    "multi_agent_cartpole": (
        lambda: script("multi_agent.multi_agent_cartpole", "--num-agents=2"),
        SEVERAL_POLICIES,
    ),
    "multi_agent_observation_preprocessor": (
        lambda: script("connectors.multi_agent_observation_preprocessor"),
        SEVERAL_POLICIES,
    ),
    "custom_heuristic_policy": (
        lambda: script("multi_agent.custom_heuristic_policy"),
        SEVERAL_POLICIES,
    ),
    "ppo_with_torch_lr_schedulers": (
        lambda: script("learners.ppo_with_torch_lr_schedulers"),
        PARALLEL,
    ),
    "action_masking_rl_module": (lambda: script("rl_modules.action_masking_rl_module"), PARALLEL),
    "old_api_stack": (old_stack, ("old API stack", "Remove api_stack(")),
    "VPGTorchRLModule": (
        lambda: module(VPGTorchRLModule, hidden_dim=8),
        ("VPGTorchRLModule", "ValueFunctionAPI", "compute_values"),
    ),
    "RandomRLModule": (lambda: module(RandomRLModule), ("RandomRLModule", "TorchRLModule")),
}


@pytest.mark.parametrize("granularity", ["weight", "neuron"])
@pytest.mark.parametrize(("build", "said"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_and_the_message_says_what_to_change(build, said, granularity):
    pruning = PruningConfig(final_sparsity=0.5, horizon=1000, granularity=granularity)
    with pytest.raises(ConfigError) as caught:
        with_pruning(build(), pruning)
    assert all(part in str(caught.value) for part in said)


def test_a_critic_that_shares_layers_gets_no_target_of_its_own(tmp_path):
    pruning = PruningConfig(final_sparsity=0.5, critic_final_sparsity=0.3, horizon=1000)
    with pytest.raises(ConfigError, match=r"share.*vf_share_layers=False"):
        with_pruning(flattened_dict(tmp_path), pruning)
