"""RLlib's own example modules, as its example scripts build them."""

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.offline_rl.train_w_bc_finetune_w_ppo import MyPPOModel
from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
from ray.rllib.examples.rl_modules.classes.autoregressive_actions_rlm import (
    AutoregressiveActionsRLM,
)
from ray.rllib.examples.rl_modules.classes.custom_action_distribution_rlm import (
    CustomActionDistributionRLModule,
)
from ray.rllib.examples.rl_modules.classes.lstm_containing_rlm import (
    LSTMContainingRLModule,
    LSTMContainingRLModuleWithTargetNetwork,
)
from ray.rllib.examples.rl_modules.classes.tiny_atari_cnn_rlm import TinyAtariCNN


def box(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(-1.0, 1.0, shape, np.float32)


FOUR = gym.spaces.Discrete(4)
LSTM = {"lstm_cell_size": 12, "dense_layers": [10]}
MASKED = gym.spaces.Dict(
    {"action_mask": gym.spaces.Box(0.0, 1.0, (4,), np.float32), "observations": box(5)}
)
AUTOREGRESSIVE = gym.spaces.Tuple((gym.spaces.Discrete(3), box(1)))

# Class, observation space, action space, model configuration.
EXAMPLES = {
    "tiny cnn": (TinyAtariCNN, box(42, 42, 4), FOUR, {}),
    "lstm": (LSTMContainingRLModule, box(5), FOUR, LSTM),
    "lstm with targets": (LSTMContainingRLModuleWithTargetNetwork, box(5), FOUR, LSTM),
    "own distribution": (
        CustomActionDistributionRLModule,
        box(4),
        FOUR,
        {"action_dist_temperature": 2.0, "hidden_dim": 32},
    ),
    "autoregressive": (AutoregressiveActionsRLM, box(3), AUTOREGRESSIVE, {}),
    "action masking": (
        ActionMaskingTorchRLModule,
        MASKED,
        FOUR,
        {"fcnet_hiddens": [16], "head_fcnet_hiddens": [12], "vf_share_layers": False},
    ),
    "cloned, then ppo": (MyPPOModel, box(4), gym.spaces.Discrete(2), {}),
}


def build_example(name: str, *, inference_only: bool = False):
    """One of RLlib's example modules, always with the same weights."""
    module_class, observations, actions, model = EXAMPLES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RLModuleSpec(
            module_class=module_class,
            observation_space=observations,
            action_space=actions,
            inference_only=inference_only,
            model_config=model,
        ).build()
