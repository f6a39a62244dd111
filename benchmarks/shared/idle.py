"""A member whose training does nothing, so that only the driver's cost of a search is left."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune import Trainable

from rllib_ext.member.segment import Segment, snapshot_name

ITERATION, WEIGHTS, RANDOM = 1_000, 10_000, 20.0
EPISODES = 10


class Idle(Trainable):
    """Trainable that reports training, evaluation and pruning, and makes its snapshots' folders."""

    def setup(self, config: dict[str, Any], folder: str = "", interval: int = 1) -> None:
        self._folder, self._interval = Path(folder), interval
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        self._segment = segment = Segment.from_dict(config.get("alone", config))
        self._rng = np.random.default_rng(segment.seed)
        self._trained, self._sparsity = 0, 0.0
        if segment.state:
            state = json.loads((self._folder / segment.state / "state.json").read_text())
            self._trained, self._sparsity = state

    def step(self) -> dict[str, Any]:
        self._trained += 1
        segment, clock = self._segment, self._trained * ITERATION
        aim = segment.pruning["final_sparsity"] * min(1.0, clock / segment.pruning["horizon"])
        self._sparsity = max(self._sparsity, round(aim * WEIGHTS) / WEIGHTS)
        done = clock >= segment.until_env_steps
        result = {
            "member": segment.member, "segment": segment.segment, "env_steps": clock,
            "env_steps_this_iter": ITERATION, "segment_done": done,
        }  # fmt: skip
        if done or self._trained % self._interval == 0:
            snapshot = self._snapshot(clock)
            result |= {
                "return_mean": snapshot["return_mean"], "snapshot": json.dumps(snapshot),
                "evaluation_env_steps": sum(snapshot["lengths"]),
            }  # fmt: skip
        return result

    def _snapshot(self, clock: int) -> dict[str, Any]:
        segment = self._segment
        name = snapshot_name(segment.member, segment.segment, self._trained)
        for kind in ("policies", "states"):
            (self._folder / kind / name).mkdir(parents=True, exist_ok=True)
        state = [self._trained, self._sparsity]
        (self._folder / "states" / name / "state.json").write_text(json.dumps(state))
        returns = self._rng.normal(RANDOM + 400 * (1 - self._sparsity**4), 20.0, EPISODES).tolist()
        left = round((1 - self._sparsity) * WEIGHTS)
        return {
            "snapshot_id": name, "trial_number": segment.trial_number, "member": segment.member,
            "segment": segment.segment, "iteration": self._trained, "env_steps": clock,
            "status": "ok", "return_mean": statistics.fmean(returns), "return_std": 20.0,
            "episodes": EPISODES, "parent": segment.parent, "sparsity": 1 - left / WEIGHTS,
            "critic_sparsity": 0.0, "nonzero_params": left, "total_params": WEIGHTS,
            "layers": {f"pi.encoder.{i}": self._sparsity for i in range(3)},
            "seeds": list(segment.evaluation_seeds), "returns": returns, "lengths": [200] * EPISODES,
            "checkpoint": f"policies/{name}", "state": f"states/{name}",
        }  # fmt: skip
