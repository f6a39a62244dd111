"""What env steps of training and evaluation take, in round figures."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.native.registry import native_version
from search.config.sizing import Costs
from search.training.engine import Engine

# What an engine takes on one core for a small network: an env step's part of the rollout, each epoch's
# part of an update, and what a minibatch takes however small it is. Measured with minibatches of 64 and
# 256 and packs of 2 and 16; here a minibatch's share is that of 4 members.
_ROLLOUT = {"rllib": 30e-6, "packed": 3e-6}
_SAMPLE = {"rllib": 0.5e-6, "packed": 1e-6}
_MINIBATCH = {"rllib": 3.3e-3, "packed": 300e-6}
# By how much packs take longer for networks that torch.func.vmap stacks.
_VMAPPED = 1.6
# By how much a minibatch takes longer through an LSTM, sequence by sequence: measured with 64 units and
# sequences of up to 50 steps, 4 to 8 times.
_RECURRENT = 6.0
# An evaluation's share: the forward pass and what is noted of a step.
EVALUATION_SECONDS = 3e-6
# A step of a single environment, such as HalfCheetah's or LunarLander's.
ENVIRONMENT_SECONDS = 40e-6
# Steps of an episode, where the environment names no limit.
UNKNOWN_STEPS = 200


def costs_of(ppo: PPOConfig, engine: Engine, environment: float = ENVIRONMENT_SECONDS) -> Costs:
    """What an env step takes.

    Args:
        ppo: Names the environment.
        engine: Trains.
        environment: Seconds of a step of a single environment by itself; those with a native version
            are stepped all at once, in next to no time.
    """
    make = env_maker(ppo)
    env = make()
    try:
        is_native = native_version(env, make) is not None
    finally:
        env.close()
    # RLlib's processes step single environments all the same.
    in_training = 0.0 if is_native and engine.name == "packed" else environment
    return Costs(
        training=in_training + _trained(ppo, engine.name) * (_VMAPPED if engine.vmapped else 1.0),
        evaluation=EVALUATION_SECONDS + (0.0 if is_native else environment),
    )


def _trained(ppo: PPOConfig, engine: str) -> float:
    """An env step's share of rollout and updates."""
    batch = batch_of(ppo)
    minibatch = min(int(ppo.minibatch_size or batch), batch)
    taken = _MINIBATCH[engine] * (_RECURRENT if ppo.model_config.get("use_lstm") else 1.0)
    return _ROLLOUT[engine] + int(ppo.num_epochs) * (_SAMPLE[engine] + taken / minibatch)


def longest_episode(ppo: PPOConfig) -> int:
    """Env steps after which the environment cuts an episode; a guess where it doesn't say."""
    env = env_maker(ppo)()
    limit = getattr(env.spec, "max_episode_steps", None)
    env.close()
    return int(limit or UNKNOWN_STEPS)


def batch_of(ppo: PPOConfig) -> int:
    """Env steps of a training iteration."""
    return max(1, int(ppo.train_batch_size_per_learner) * max(1, int(ppo.num_learners or 0)))
