"""stable-baselines3's PPO, trained in turns; runs in an environment of its own (benchmarks/packed.py).

Usage: python -m benchmarks.peers.stable_baselines3_ppo ENV SETTINGS, with SETTINGS as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.shared.turns import stay_on_one_core, take_turns


def main() -> None:
    """Builds it, and waits for its turns."""
    stay_on_one_core()
    torch.set_num_threads(1)
    env: str = sys.argv[1]
    ppo: dict[str, Any] = json.loads(sys.argv[2])
    model = PPO(
        "MlpPolicy",
        make_vec_env(env, n_envs=ppo["envs"]),
        n_steps=ppo["batch"] // ppo["envs"],
        batch_size=ppo["minibatch"],
        n_epochs=ppo["epochs"],
        learning_rate=ppo["lr"],
        gamma=ppo["gamma"],
        gae_lambda=ppo["lambda"],
        clip_range=ppo["clip"],
        ent_coef=ppo["entropy"],
        vf_coef=ppo["value"],
        max_grad_norm=ppo["grad_clip"],
        policy_kwargs={
            "net_arch": {"pi": ppo["hidden"], "vf": ppo["hidden"]},
            "activation_fn": torch.nn.Tanh,
        },
        device="cpu",
        seed=0,
    )

    def train() -> int:
        before = model.num_timesteps
        model.learn(ppo["batch"], reset_num_timesteps=False)
        return int(model.num_timesteps) - before

    take_turns(train)


if __name__ == "__main__":
    main()
