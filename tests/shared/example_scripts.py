"""RLlib's example scripts: the configuration that each would run, made small."""

import dataclasses
import importlib.util
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

BATCH = 64
# Several of RLlib's example environments end only at their goal.
STEPS = 40


@dataclasses.dataclass(frozen=True)
class Example:
    """One of RLlib's examples.

    Attributes:
        name: Its script or class.
        build: Makes the configuration; given a folder for what it reads from disk.
        critic: The sparsity that its critic is pruned to beside the policy; 0 where both share layers.
        repeats: Whether a seed repeats an episode; some of the environments draw from global generators.
        checkpoint: Whether its checkpoint can be pruned; one that holds more than a policy is refused.
    """

    name: str
    build: Callable[[Path], PPOConfig]
    critic: float = 0.3
    repeats: bool = True
    checkpoint: bool = True

    def __str__(self) -> str:
        return self.name


def script(name: str, *arguments: str) -> PPOConfig:
    """What a script under `ray.rllib.examples` hands over to be run, which it isn't.

    Args:
        name: Its module's name there.
        arguments: As on its command line.
    """
    spec = importlib.util.find_spec(f"ray.rllib.examples.{name}")
    assert spec is not None
    assert spec.origin is not None
    found: list[PPOConfig] = []
    runner = "ray.rllib.examples.utils.run_rllib_example_script_experiment"
    with (
        patch(runner, lambda config, *_, **__: found.append(config)),
        patch.object(sys, "argv", [spec.origin, *arguments]),
    ):
        runpy.run_path(spec.origin, run_name="__main__")
    (config,) = found
    return config


def small(config: PPOConfig, **model: object) -> PPOConfig:
    """The same with little of everything, in this process.

    Args:
        config: Changed in place.
        model: Sizes of RLlib's default model, where the configuration has that one.
    """
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    config.learners(num_learners=0)
    config.training(
        train_batch_size_per_learner=BATCH, minibatch_size=BATCH // 2, num_epochs=1, grad_clip=5.0
    )
    config.evaluation(
        evaluation_interval=None,
        evaluation_num_env_runners=0,
        evaluation_parallel_to_training=False,
    )
    config.debugging(seed=5, log_level="ERROR")
    if config._rl_module_spec is None:
        given = config._model_config
        given = dataclasses.asdict(given) if dataclasses.is_dataclass(given) else dict(given)
        sizes = {"fcnet_hiddens": [16, 16], "lstm_cell_size": 8, "max_seq_len": 8}
        config.rl_module(model_config=DefaultModelConfig(**{**given, **sizes, **model}))
    return config


def plain(env: object, env_config: dict[str, object] | None = None, **model: object) -> PPOConfig:
    """A small PPO with RLlib's default model and, unless asked for otherwise, a critic of its own."""
    config = PPOConfig().environment(env, env_config=env_config or {})
    return small(config, **{"vf_share_layers": False, **model})


def with_module(config: PPOConfig, module_class: type, **model: object) -> PPOConfig:
    """A configuration with an RLModule of its own."""
    spec = RLModuleSpec(module_class=module_class, model_config=model)
    return small(config.rl_module(rl_module_spec=spec))


def limited(make: Callable[..., gym.Env], **arguments: object) -> str:
    """Registers an environment with a time limit; returns its name."""
    name = f"limited-{make.__name__}"
    register_env(name, lambda _: gym.wrappers.TimeLimit(make(**arguments), STEPS))
    return name


def saved_module(module_class: type, env: gym.Env, folder: Path) -> Path:
    """An untrained RLModule, saved as pretraining would leave it."""
    torch.manual_seed(0)
    spec = RLModuleSpec(
        module_class=module_class,
        observation_space=env.observation_space,
        action_space=env.action_space,
        model_config={},
    )
    spec.build().save_to_path(folder)
    return folder
