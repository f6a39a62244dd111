"""Trains stable-baselines3's PPO in turns; runs in an environment of its own (benchmarks/packed.py).

Usage: python -m benchmarks.peers.stable_baselines3_ppo ENV SETTINGS, with SETTINGS as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from stable_baselines3 import PPO

from benchmarks.peers.sb3_interface import built, train_in_turns
from benchmarks.shared.turns import stay_on_one_core


def main() -> None:
    """Builds the model, and waits for its turns."""
    stay_on_one_core()
    torch.set_num_threads(1)
    ppo: dict[str, Any] = json.loads(sys.argv[2])
    model = built(PPO, sys.argv[1], ppo, torch.nn.Tanh)
    state = model.policy.optimizer.state
    train_in_turns(model, ppo["batch"], lambda: max(int(own["step"]) for own in state.values()))


if __name__ == "__main__":
    main()
