"""Estimates how long env steps of training and evaluation take, in round figures."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.native.registry import native_version
from search.config.sizing import Costs
from search.training.engine import Engine

# Seconds on one core for a small network, by engine: rollout time per env step, update time per env step
# and epoch, and the fixed time of a minibatch of any size. Measured with minibatches of 64 and 256 and
# packs of 2 and 16; the fixed time of a minibatch is a member's share in a pack of 4.
_ROLLOUT = {"rllib": 30e-6, "packed": 3e-6}
_SAMPLE = {"rllib": 0.5e-6, "packed": 1e-6}
_MINIBATCH = {"rllib": 3.3e-3, "packed": 300e-6}
# Factor by which packs are slower for networks that torch.func.vmap stacks.
_VMAPPED = 1.6
# Factor by which a minibatch is slower through an LSTM, which processes whole sequences: 4 to 8 was
# measured with 64 units and sequences of up to 50 steps.
_RECURRENT = 6.0
# Time of an evaluation step beside the environment: the forward pass and recording the step.
EVALUATION_SECONDS = 3e-6
# Time of a step of a single environment, such as HalfCheetah or LunarLander.
ENVIRONMENT_SECONDS = 40e-6
# Assumed steps of an episode if the environment has no limit.
UNKNOWN_STEPS = 200


def costs_of(ppo: PPOConfig, engine: Engine, environment: float = ENVIRONMENT_SECONDS) -> Costs:
    """Returns the duration of an env step in training and in evaluation.

    Args:
        ppo: PPO configuration that names the environment.
        engine: Engine that trains the members.
        environment: Duration of a step of a single environment alone, in seconds. It doesn't count for
            environments with a native version, which step all at once in almost no time.
    """
    make = env_maker(ppo)
    env = make()
    try:
        is_native = native_version(env, make) is not None
    finally:
        env.close()
    # RLlib's processes always step single environments.
    in_training = 0.0 if is_native and engine.name == "packed" else environment
    return Costs(
        training=in_training + _trained(ppo, engine.name) * (_VMAPPED if engine.vmapped else 1.0),
        evaluation=EVALUATION_SECONDS + (0.0 if is_native else environment),
    )


def _trained(ppo: PPOConfig, engine: str) -> float:
    """Returns an env step's share of the time for rollouts and updates, without the environment's."""
    batch = batch_of(ppo)
    minibatch = min(int(ppo.minibatch_size or batch), batch)
    taken = _MINIBATCH[engine] * (_RECURRENT if ppo.model_config.get("use_lstm") else 1.0)
    return _ROLLOUT[engine] + int(ppo.num_epochs) * (_SAMPLE[engine] + taken / minibatch)


def longest_episode(ppo: PPOConfig) -> int:
    """Returns the env steps after which the environment cuts an episode; a guess if it has no limit."""
    env = env_maker(ppo)()
    limit = getattr(env.spec, "max_episode_steps", None)
    env.close()
    return int(limit or UNKNOWN_STEPS)


def batch_of(ppo: PPOConfig) -> int:
    """Returns the number of env steps of a training iteration."""
    return max(1, int(ppo.train_batch_size_per_learner) * max(1, int(ppo.num_learners or 0)))
