"""Environments are called with what they take, by RLlib as by us."""

import functools
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box, Discrete
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.examples.envs.classes.cartpole_with_dict_observation_space import (
    CartPoleWithDictObservationSpace,
)
from ray.rllib.examples.envs.classes.cliff_walking_wall_env import CliffWalkingWallEnv
from ray.rllib.examples.envs.classes.correlated_actions_env import CorrelatedActionsEnv
from ray.rllib.examples.envs.classes.random_env import RandomEnv
from ray.rllib.examples.envs.classes.simple_corridor import SimpleCorridor
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.envs.env_maker import env_maker, env_name, for_rllib, keywords_of
from rllib_ext.envs.minatar import MinAtar
from rllib_ext.envs.shift import Shift
from rllib_ext.envs.shifted import shifted_maker
from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.pruning.errors import ConfigError


class Corridor(gymnasium.Env):
    """Takes keyword arguments, as environments outside RLlib do."""

    observation_space = Box(-1.0, 1.0, (2,), np.float32)
    action_space = Discrete(2)

    def __init__(self, length=5, *, reward=1.0, rewards=None):
        self.given = (length, reward, rewards)
        self.length, self.reward = length, reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.at += 1
        return np.zeros(2, np.float32), self.reward, self.at >= self.length, False, {}


class PassesOn(Corridor):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class NamedMapping(Corridor):
    def __init__(self, config):
        super().__init__()
        self.given = config


class AnnotatedMapping(Corridor):
    def __init__(self, options: "dict[str, object] | None" = None, render_mode=None):
        super().__init__()
        self.given = options


class PassesMappingOn(NamedMapping):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class ConfigIsAWord(Corridor):
    def __init__(self, config: str = "easy", size=3):
        super().__init__()
        self.given = (config, size)


class TakesMappingAsOneOfItsKeywords(Corridor):
    def __init__(self, rewards: dict, size=3):
        super().__init__()
        self.given = (rewards, size)


class Needs(Corridor):
    def __init__(self, world, size=3):
        super().__init__()


class Neither(Corridor):
    def __init__(self, world, size, /):
        super().__init__()


class NeedsBesides(Corridor):
    def __init__(self, config: EnvContext, port: int):
        super().__init__()


class TakesNothing(Corridor):
    def __init__(self):
        super().__init__(7)


def make_corridor(length=5):
    return Corridor(length)


def corridor_of(config):
    return Corridor(config["length"])


class Maker:
    def __call__(self, length):
        return Corridor(length)


def built_by_rllib(config):
    """The environment that an EnvRunner of a pruned configuration steps."""
    pruned = with_pruning(config, PruningConfig(final_sparsity=0.5, horizon=100))
    pruned.env_runners(num_env_runners=0)
    runner = SingleAgentEnvRunner(config=pruned)
    return runner.env.unwrapped.envs[0].unwrapped


def configured(env, **env_config):
    return PPOConfig().environment(env, env_config=env_config)


CALLS = {
    "keywords": (Corridor, {"length": 9, "reward": 0.5}, (9, 0.5, None)),
    "a false one": (Corridor, {"length": False}, (False, 1.0, None)),
    "a mapping among keywords": (Corridor, {"rewards": {"a": 1}}, (5, 1.0, {"a": 1})),
    "defaults": (Corridor, {}, (5, 1.0, None)),
    "passed on": (PassesOn, {"length": 9}, (9, 1.0, None)),
    "a mapping by name": (NamedMapping, {"a": 1}, {"a": 1}),
    "a mapping by annotation": (AnnotatedMapping, {"a": 1}, {"a": 1}),
    "a mapping passed on": (PassesMappingOn, {"a": 1}, {"a": 1}),
    "a word named config": (ConfigIsAWord, {"config": "hard"}, ("hard", 3)),
    "an annotated keyword": (TakesMappingAsOneOfItsKeywords, {"rewards": {"a": 1}}, ({"a": 1}, 3)),
    "nothing": (TakesNothing, {}, (7, 1.0, None)),
    "a function's keywords": (make_corridor, {"length": 9}, (9, 1.0, None)),
    "a function's mapping": (corridor_of, {"length": 9}, (9, 1.0, None)),
    "a partial call": (functools.partial(Corridor, reward=0.5), {"length": 9}, (9, 0.5, None)),
    "an object that is called": (Maker(), {"length": 9}, (9, 1.0, None)),
}


@pytest.mark.parametrize(("env", "env_config", "expected"), CALLS.values(), ids=CALLS)
def test_training_evaluation_packs_and_shifts_call_an_environment_alike(env, env_config, expected):
    config = configured(env, **env_config)
    assert env_maker(config)().given == expected
    assert built_by_rllib(config).given == expected
    assert shifted_maker(config, Shift(set={"reward": 2.0}))().unwrapped.reward == 2.0
    config.training(minibatch_size=32).rl_module(model_config={"fcnet_hiddens": [4]})
    config.env_runners(num_env_runners=0)
    assert blueprint_of(config).make_env().given == expected


@pytest.mark.parametrize(
    "env",
    [
        CartPoleWithDictObservationSpace,
        CliffWalkingWallEnv,
        CorrelatedActionsEnv,
        RandomEnv,
        SimpleCorridor,
        StatelessCartPole,
    ],
)
def test_rllibs_own_examples_are_built(env):
    extra = {"corridor_length": 7} if env is SimpleCorridor else {}
    made = env_maker(configured(env, **extra))()
    made.reset()
    if extra:
        assert made.end_pos == 7


def test_a_context_of_its_own_is_what_every_environment_gets():
    config = configured(NamedMapping, a=1)
    make = env_maker(config)
    first, second = make().given, make().given
    assert isinstance(first, EnvContext)
    first["a"] = 2
    assert (second, config.env_config) == ({"a": 1}, {"a": 1})


@pytest.mark.parametrize(
    ("env", "env_config", "said"),
    [
        (Corridor, {"lenght": 3}, r"Corridor has no argument 'lenght'. Did you mean 'length'"),
        (TakesNothing, {"length": 3}, r"TakesNothing has no argument 'length'.* takes none"),
        (PassesOn, {"lenght": 3}, r"PassesOn has no argument 'lenght'|unexpected keyword"),
        (Needs, {}, r"Needs needs world. Give them as keys of env_config, or .*'config'"),
        (Neither, {}, r"Neither takes world, size by position only\. .* one parameter 'config'"),
        (NeedsBesides, {"port": 3}, r"takes 'config', which is env_config, and needs port too"),
        (MinAtar, {"gmae": "breakout"}, r"'gmae'; expected keys game, max_episode_steps"),
        ("CartPole-v1", {"suton": 1}, r"CartPole-v1 has no argument 'suton'.*sutton_barto_reward"),
        ("gymnasium.envs.classic_control:Pendulum-v1", {"G": 9}, "has no argument 'G'"),
        (7, {}, "env = 7 is a int; expected a Gymnasium id, a class or a function"),
    ],
)
def test_what_an_environment_does_not_take_is_refused_with_the_mend(env, env_config, said):
    config = PPOConfig()
    config.env, config.env_config = env, env_config
    with pytest.raises((ConfigError, TypeError), match=said):
        env_maker(config)()


def test_a_gymnasium_class_with_keywords_gets_them():
    config = configured(CartPoleEnv, sutton_barto_reward=False)
    assert env_maker(config)()._sutton_barto_reward is False
    assert built_by_rllib(config)._sutton_barto_reward is False
    assert keywords_of(config) == ["sutton_barto_reward", "render_mode"]


def test_what_rllib_is_given_keeps_its_name_and_travels():
    config = configured(Corridor, length=3)
    config.environment(for_rllib(config))
    assert isinstance(config.env, type)
    assert env_name(config) == f"{__name__}:Corridor"
    # As RLlib's checkpoints and Ray's workers do.
    config.env = pickle.loads(cloudpickle.dumps(config.env))
    assert env_maker(config)().given == (3, 1.0, None)
    assert config.env({"length": 4, "reward": 2.0}).given == (4, 2.0, None)
    called = [
        env_name(configured(e)) for e in (functools.partial(make_corridor, length=3), Maker())
    ]
    assert called == [f"{__name__}:make_corridor", f"{__name__}:Maker"]
    again = for_rllib(config)
    assert again({"length": 4}).given == (4, 1.0, None)
    assert for_rllib(configured(NamedMapping)) is NamedMapping
