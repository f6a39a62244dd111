"""Policies of many kinds to export, each with an environment of short episodes."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner

from rllib_ext import with_preprocessing
from rllib_ext.policy.store import save_policy


class Chase(gym.Env):
    """A target moves about; how near the action comes to it, in many spaces, is the reward.

    Args:
        config: "observations" and "actions": the spaces; "steps": of an episode.
    """

    def __init__(self, config):
        self.observation_space = config["observations"]
        self.action_space = config["actions"]
        self.steps = config.get("steps", 40)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number, self.last = 0, 0.0
        return self.seen(self.observation_space), {}

    def step(self, action):
        self.step_number += 1
        self.last = float(np.tanh(size(action)))
        reward = 1.0 - abs(self.last - np.sin(0.3 * self.step_number))
        done = self.step_number == self.steps
        return self.seen(self.observation_space), reward, done, False, {}

    def seen(self, space):
        """A member of a space that depends on the last action, so that a wrong one shows later."""
        if isinstance(space, gym.spaces.Dict):
            return {key: self.seen(part) for key, part in space.spaces.items()}
        if isinstance(space, gym.spaces.Tuple):
            return tuple(self.seen(part) for part in space.spaces)
        if isinstance(space, gym.spaces.Discrete):
            return int((self.np_random.integers(space.n) + round(5 * self.last)) % space.n)
        if isinstance(space, gym.spaces.MultiDiscrete):
            return (self.np_random.integers(space.nvec) + round(5 * self.last)) % space.nvec
        if space.dtype == np.uint8:
            return self.np_random.integers(0, 256, space.shape).astype(np.uint8)
        noise = self.np_random.normal(self.last, 1.0, space.shape)
        if np.isfinite(space.high).all():
            return np.clip(noise, space.low, space.high).astype(space.dtype)
        # Parts of very different size, as filters are made for.
        return (noise * (1 + 9 * (np.arange(noise.size).reshape(noise.shape) % 3))).astype(
            space.dtype
        )


def size(action):
    """One number that all parts of an action change."""
    if isinstance(action, dict):
        return sum((i + 1) * size(part) for i, part in enumerate(action.values()))
    if isinstance(action, tuple):
        return sum((i + 1) * size(part) for i, part in enumerate(action))
    return float((np.ravel(action) * (1 + np.arange(np.size(action)))).sum()) - 0.5


def box(*shape, high=np.inf, dtype=np.float32):
    return gym.spaces.Box(-high, high, shape, dtype)


TWO = gym.spaces.Discrete(2)
PARTS = gym.spaces.Dict(
    {
        "speed": box(3),
        "gear": gym.spaces.Discrete(4),
        "switches": gym.spaces.MultiDiscrete([2, 3]),
        "place": gym.spaces.Tuple((box(2), box(2, 2))),
    }
)
NESTED = gym.spaces.Dict({"turn": gym.spaces.Discrete(3), "push": box(2, high=1.0)})


def chase(observations, actions, **model):
    def build():
        config = {"observations": observations, "actions": actions}
        return small(Chase, model).environment(Chase, env_config=config)

    return build


def small(env, model):
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=256, minibatch_size=128, num_epochs=2, lr=3e-3)
        .rl_module(model_config={"fcnet_hiddens": [16, 16], **model})
        .debugging(seed=7, log_level="ERROR")
    )


def cartpole(**model):
    return lambda: small("CartPole-v1", model)


def with_filter(build, **how):
    return lambda: build().env_runners(
        env_to_module_connector=lambda env, spaces, device: MeanStdFilter(**how)
    )


def flattened(build, *after):
    return lambda: build().env_runners(
        env_to_module_connector=lambda env, spaces, device: [
            FlattenObservations(),
            *(kind() for kind in after),
        ]
    )


def clipped(build):
    return lambda: build().environment(normalize_actions=False, clip_actions=True)


def frames(build):
    return lambda: (
        build()
        .env_runners(
            env_to_module_connector=lambda env, spaces, device: FrameStackingEnvToModule(
                num_frames=3
            )
        )
        .training(learner_connector=lambda o, a: FrameStackingLearner(num_frames=3))
    )


PICTURE = gym.spaces.Box(-1.0, 1.0, (10, 10, 1), np.float32)
CONV = {"conv_filters": [[4, 3, 2], [6, 3, 2]], "head_fcnet_hiddens": [12]}
BOUNDED = gym.spaces.Box(np.float32([-2, 0]), np.float32([1, 5]))
# How each policy is built: what it shows of an export is its name.
POLICIES = {
    "tanh": cartpole(),
    "relu": cartpole(fcnet_activation="relu"),
    "silu": cartpole(fcnet_activation="silu"),
    "wide": cartpole(fcnet_hiddens=[64, 64]),
    "lstm": cartpole(use_lstm=True, lstm_cell_size=12, max_seq_len=8),
    "filter": with_filter(cartpole()),
    "continuous, filter": with_filter(
        lambda: small("Pendulum-v1", {}), clip_by_value=2.0
    ),
    "clipped": clipped(chase(box(5), BOUNDED)),
    "free log std": chase(box(5, dtype=np.float64), BOUNDED, free_log_std=True),
    "unbounded": chase(box(5), box(2)),
    "multi-discrete": chase(box(5), gym.spaces.MultiDiscrete([2, 4, 3])),
    "nested actions": chase(box(5), NESTED),
    "dict": flattened(chase(PARTS, TWO)),
    # RLlib's filter itself can't do dicts.
    "dict, filter": flattened(chase(PARTS, TWO), MeanStdFilter),
    "discrete observations": flattened(chase(gym.spaces.Discrete(6), TWO)),
    "normalised frames": lambda: with_preprocessing(
        small("Pendulum-v1", {}), normalize=True, clip_obs=2.0, frame_stack=3
    ),
    "cnn, frames": frames(chase(PICTURE, gym.spaces.Discrete(3), **CONV)),
    "cnn, lstm": chase(
        PICTURE, gym.spaces.Discrete(3), conv_filters=CONV["conv_filters"], use_lstm=True,
        lstm_cell_size=10, max_seq_len=8,
    ),
}  # fmt: skip
PRUNED = 0.6


def trained(name: str, folder: Path, *, pruned: bool) -> PPOConfig:
    """Trains a policy for one iteration and saves it, with most weights of its policy path removed.

    Args:
        name: One of `POLICIES`.
        folder: Where the saved policy goes.
        pruned: Whether weights are removed at random.

    Returns:
        Its configuration.
    """
    config = POLICIES[name]()
    algorithm = config.build_algo()
    try:
        algorithm.train()
        masks = {}
        if pruned:
            generator = torch.Generator().manual_seed(3)
            modules = [algorithm.get_module(), algorithm.env_runner.module]
            for path, parameter in modules[0].named_parameters():
                if parameter.dim() > 1:
                    masks[path] = torch.rand(parameter.shape, generator=generator) > PRUNED
            for module in modules:
                for path, parameter in module.named_parameters():
                    if path in masks:
                        parameter.data *= masks[path]
        save_policy(algorithm, masks, folder, {"env": name})
    finally:
        algorithm.stop()
    return config
