"""Trains RLlib's PPO, or a pack, in turns (benchmarks/packed.py).

Usage: python -m benchmarks.peers.ours ENV SETTINGS MEMBERS [one-by-one], with SETTINGS as JSON and 0
members for RLlib's; with "one-by-one" the pack steps Gymnasium's own environments. Both prune to 90 %
with the first update. "module" in the settings names a user's own RLModule.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from benchmarks.shared.cluster import start_ray
from benchmarks.shared.one_by_one import ONE_BY_ONE, without_native
from benchmarks.shared.turns import stay_on_one_core, take_turns
from rllib_ext import PruningConfig, with_pruning
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.vectorize import with_vectorize

PRUNING = PruningConfig(final_sparsity=0.9, schedule="one_shot", begin=0.0, horizon=10**9)
# Seconds for which the environments are stepped alone.
ALONE = 1.0


def main() -> None:
    """Builds the algorithm or pack, and waits for its turns."""
    torch.set_num_threads(1)
    env = without_native(sys.argv[1]) if ONE_BY_ONE in sys.argv else sys.argv[1]
    ppo = _ppo(env, json.loads(sys.argv[2]))
    members = int(sys.argv[3])
    if members:
        stay_on_one_core()
        _take_packed_turns(ppo, members)
    else:
        # Start Ray first, so that its own processes may use other cores.
        start_ray(1)
        stay_on_one_core()
        _take_rllib_turns(ppo)


def _take_rllib_turns(ppo: PPOConfig) -> None:
    algorithm = with_pruning(ppo, PRUNING).build_algo()
    done = 0

    def train() -> int:
        nonlocal done
        before = done
        done = int(algorithm.train()["num_env_steps_sampled_lifetime"])
        return done - before

    def adam_steps() -> int:
        learner = algorithm.learner_group._learner
        [(_, adam)] = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
        return max(int(own["step"]) for own in adam.state.values())

    take_turns(train, adam_steps)
    algorithm.stop()


def _take_packed_turns(ppo: PPOConfig, members: int) -> None:
    # As in searches: this project's own version of the environment, or EnvPool's, or Gymnasium's.
    pack = Pack(with_vectorize(ppo, "auto"), members)
    for member in range(members):
        pack.start(member, training={}, pruning=PRUNING, seed=member)
    size = int(ppo.train_batch_size_per_learner) * members
    env = _Clock(pack._environments, "step")
    rollout = _Clock(pack._collector, "collect")
    update = _Clock(pack, "_learn")

    def train() -> int:
        pack.train()
        return size

    def parts(cpu: float, steps: int) -> dict[str, Any]:
        stepping, collecting, learning = (clock.read() for clock in (env, rollout, update))
        shares = [
            stepping / cpu,
            (collecting - stepping) / cpu,
            learning / cpu,
            1.0 - (collecting + learning) / cpu,
        ]
        alone = _env_alone(pack, members, ppo)
        env.read()
        return {"shares": shares, "env_alone": alone}

    take_turns(train, lambda: int(pack.adam.steps[0]), parts)


def _env_alone(pack: Pack, members: int, ppo: PPOConfig) -> float:
    """Returns env steps per CPU second of the pack's environments, with actions drawn beforehand."""
    space = pack._blueprint.action_space
    space.seed(0)
    envs = members * int(ppo.num_envs_per_env_runner)
    actions = [np.stack([space.sample() for _ in range(envs)]) for _ in range(64)]
    start, turns = time.process_time(), 0
    while time.process_time() - start < ALONE:
        pack._environments.step(actions[turns % len(actions)])
        turns += 1
    return turns * envs / (time.process_time() - start)


class _Clock:
    """Sums the CPU time spent in a method."""

    def __init__(self, owner: Any, name: str) -> None:
        self._seconds = 0.0
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return method(*args, **kwargs)
            finally:
                self._seconds += time.process_time() - start

        setattr(owner, name, timed)

    def read(self) -> float:
        """Returns the seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def _ppo(env: str, ppo: dict[str, Any]) -> PPOConfig:
    module, _, name = ppo.get("module", "").partition(":")
    own = {"module_class": getattr(importlib.import_module(module), name)} if module else {}
    return (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=ppo["envs"])
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=ppo["batch"],
            minibatch_size=ppo["minibatch"],
            num_epochs=ppo["epochs"],
            lr=ppo["lr"],
            gamma=ppo["gamma"],
            lambda_=ppo["lambda"],
            clip_param=ppo["clip"],
            entropy_coeff=ppo["entropy"],
            vf_loss_coeff=ppo["value"],
            vf_clip_param=1e4,
            grad_clip=ppo["grad_clip"],
            use_kl_loss=False,
        )
        .rl_module(
            rl_module_spec=RLModuleSpec(**own),
            model_config={
                "fcnet_hiddens": ppo["hidden"],
                "fcnet_activation": "tanh",
                "vf_share_layers": False,
            },
        )
        .debugging(seed=0, log_level="ERROR")
    )


if __name__ == "__main__":
    main()
