"""A dense policy that was trained for a moment, and lessons from it."""

from rllib_ext.member.segment import DENSE, Segment
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.pruning.config import PruningConfig
from search.training.lesson import Lesson
from search.training.to_end import train_to_end

CHOOSING = tuple(range(2000, 2020))


def segment(number=0, env_steps=2048):
    """A baseline's training from fresh weights."""
    pruning = PruningConfig(horizon=env_steps, final_sparsity=0.0, schedule="linear")
    return Segment(
        member=DENSE - number, segment=0, trial_number=-1, seed=100 * number,
        pruning=pruning.to_dict(), training={}, until_env_steps=env_steps,
        evaluation_seeds=tuple(range(20)),
    )  # fmt: skip


def settings_of(folder, ppo):
    return MemberSettings(folder=str(folder), ppo_config=ppo, evaluation_interval=1)


def dense_policy(folder, ppo, env_steps=4096):
    """Trains one; its folder below the results folder, and its mean return."""
    trained = train_to_end(settings_of(folder, ppo), [segment(env_steps=env_steps)], True)
    snapshot = trained[0]["snapshot"]
    return snapshot["checkpoint"], snapshot["return_mean"]


def lesson(dense, size, rounds=1):
    """So many rounds of ten episodes."""
    seeds = tuple(tuple(range(1000 + 10 * i, 1010 + 10 * i)) for i in range(rounds))
    return Lesson(dense=dense, size=size, rounds=seeds, choosing=CHOOSING)
