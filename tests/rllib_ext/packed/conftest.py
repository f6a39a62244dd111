"""What the tests of packs share: small configurations of every kind that can be packed."""

import pytest
import torch
from own_policies import AsDefault, Normed, Shared
from packs import IMAGES, ContinuousImages, Images
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.envs.env_maker import env_maker

# Environment, model configuration, and a module of a user's own.
MODELS = {
    "discrete": ("CartPole-v1", {"fcnet_activation": "tanh"}),
    "shared": ("CartPole-v1", {"fcnet_activation": "relu", "vf_share_layers": True}),
    "continuous": ("Pendulum-v1", {"fcnet_activation": "silu"}),
    "free_log_std": ("Pendulum-v1", {"fcnet_activation": "tanh", "free_log_std": True}),
    "images": (Images, {**IMAGES, "head_fcnet_activation": "tanh"}),
    "shared_images": (
        ContinuousImages,
        {**IMAGES, "conv_activation": "silu", "vf_share_layers": True},
    ),
    "own": ("CartPole-v1", {}, Normed),
    "own_continuous": ("Pendulum-v1", {}, Normed),
    "own_shared": ("CartPole-v1", {}, Shared),
    "own_images": (Images, {**IMAGES, "head_fcnet_activation": "tanh"}, AsDefault),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def packed_ppo():
    """Builds PPO configurations with batches of 64 steps."""

    def build(env="CartPole-v1", model=None, runners=None, **training):
        from ray.rllib.algorithms.ppo import PPOConfig

        values = {
            "train_batch_size_per_learner": 64,
            "minibatch_size": 32,
            "num_epochs": 2,
            "lr": 3e-3,
            **training,
        }
        return (
            PPOConfig()
            .environment(env)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=4, **(runners or {}))
            .learners(num_learners=0)
            .training(**values)
            .rl_module(model_config={"fcnet_hiddens": [16, 16], **(model or {})})
        )

    return build


@pytest.fixture(params=[True, False], ids=["asked", "not_asked"])
def asked(request, monkeypatch):
    """Whether values are looked at, as on the CPU, or not, as elsewhere: with the same numbers."""
    for user in ("running_means", "update"):
        path = f"rllib_ext.packed.{user}.can_be_asked"
        monkeypatch.setattr(path, lambda values: request.param)


@pytest.fixture(params=MODELS)
def kind(request, packed_ppo):
    """A configuration of each kind, and its environment's spaces."""
    env, model, *own = MODELS[request.param]
    config = packed_ppo(env, model)
    if own:
        config.rl_module(rl_module_spec=RLModuleSpec(module_class=own[0]))
    made = env_maker(config)()
    return config, made.observation_space, made.action_space
