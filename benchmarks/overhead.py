"""What a result costs the driver of a search: `make bench NAME=overhead`.

Members whose training does nothing report through Ray Tune: once under Tune's own FIFO scheduler, and
once under ours, with coordinator, archive and Optuna study writing to disk as in a search. Both runs
alternate with equal results, slots and reused actors; under FIFO a member is one trial, under ours as
many as it has segments. A result's time is the wall-clock time of Tune's loop that it takes: results
of the idle trainables are always waiting. The share in our own code is measured inside the same run,
as is the driver's memory at a tenth of the results and at the end. Target: ours ≤ 2 × FIFO.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ray
from ray import tune
from ray.tune import Callback, Trainable
from ray.tune.schedulers import FIFOScheduler

from rllib_ext.segment import Segment, snapshot_name
from search.archive import Archive
from search.cluster import connect
from search.config import ExperimentConfig
from search.config_file import parse_config
from search.coordinator import Coordinator
from search.scheduler import ErrorNotes, SegmentScheduler, trial_name
from search.strategies import open_study

ITERATION, WEIGHTS, RANDOM = 1_000, 10_000, 20.0
EPISODES = 10
# Seconds.
WAITED = [0.0]


class Idle(Trainable):
    """Says that it trained, evaluated and pruned; makes the folders that a snapshot names."""

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


@dataclasses.dataclass
class Meter(Callback):
    """Notes when each result is through, and the driver's memory.

    Attributes:
        expected: Results in all.
        times: Seconds between a result and the next.
        memory: MiB at a tenth of the results and at the end.
    """

    expected: int
    times: list[float] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)
    last: float = 0.0
    cpu: float = 0.0

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **i: Any
    ) -> None:
        now = time.perf_counter() - WAITED[0]
        if self.last:
            self.times.append(now - self.last)
        else:
            self.cpu = time.thread_time()
        self.last = now
        if len(self.times) == self.expected // 10:
            self.memory.append(_resident())


class TimedScheduler(SegmentScheduler):
    """Ours, with what it takes from one result to the next."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.times: list[float] = []
        self._since = 0.0

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self._since += time.perf_counter() - began

    def suggest(self, trial_id: str) -> Any:
        return self._timed(super().suggest, trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._timed(super().on_trial_result, trial_id, result)
        self.times.append(self._since)
        self._since = 0.0

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        # Calls `on_trial_result`, so a last result is booked there, and what ends the segment after it.
        super().on_trial_complete(trial_id, result, error)

    def _end(self, trial_id: str, reason: str) -> None:
        self._timed(super()._end, trial_id, reason)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def _config(given: Any) -> ExperimentConfig:
    return parse_config(
        {
            "name": "overhead", "env": "CartPole-v1",
            "budget": {"env_steps": given.members * given.iterations * ITERATION},
            "population": {"members": given.members, "segments": given.segments},
            "search": {
                "space": {
                    "pruning.final_sparsity": {
                        "type": "float", "low": 0.5, "high": 0.99, "scale": "log_density",
                    },
                    "training.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"},
                    "training.entropy_coeff": {
                        "type": "float", "low": 1e-5, "high": 1e-2, "scale": "log",
                    },
                }
            },
            "evaluation": {"episodes": EPISODES, "interval": given.interval},
        },
        "overhead",
    )  # fmt: skip


def _fit(folder: Path, given: Any, meter: Meter, **how: Any) -> None:
    trainable = tune.with_parameters(Idle, folder=str(folder), interval=given.interval)
    param_space = how.pop("param_space", None)
    callbacks = [*how.pop("callbacks", []), meter]
    tune.Tuner(
        tune.with_resources(trainable, {"CPU": 1}),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            **how,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            stop={"segment_done": True},
            verbose=0,
            callbacks=callbacks,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    meter.memory.append(_resident())
    meter.cpu = (time.thread_time() - meter.cpu) / len(meter.times)


def _count_waiting() -> None:
    """Adds up what the driver waits for trainables."""
    wait = ray.wait

    def waiting(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return wait(*arguments, **named)
        finally:
            WAITED[0] += time.perf_counter() - began

    ray.wait = waiting


def fifo(folder: Path, given: Any) -> tuple[Meter, list[float]]:
    """The same trials under Tune alone: a member each."""
    config = _config(given)
    segments = [
        Segment(
            member=member, segment=0, trial_number=-1, seed=member,
            pruning=config.pruning_with({"pruning.final_sparsity": 0.9}).to_dict(),
            training={}, until_env_steps=config.horizon, evaluation_seeds=tuple(range(EPISODES)),
        )
        for member in range(given.members)
    ]  # fmt: skip
    meter = Meter(given.members * given.iterations)
    _fit(
        folder, given, meter, scheduler=FIFOScheduler(), max_concurrent_trials=given.slots,
        param_space={"alone": tune.grid_search([s.to_dict() for s in segments])},
    )  # fmt: skip
    return meter, []


def ours(folder: Path, given: Any) -> tuple[Meter, list[float]]:
    """A search, but for the training."""
    config = _config(given)
    coordinator = Coordinator(config, Archive(folder), open_study(config, folder), RANDOM)
    scheduler = TimedScheduler(coordinator, given.slots, lambda: coordinator.progress)
    meter = Meter((given.members + 1) * given.iterations)
    _fit(
        folder, given, meter, search_alg=scheduler, num_samples=-1, callbacks=[ErrorNotes(scheduler)],
        trial_name_creator=trial_name, trial_dirname_creator=trial_name,
    )  # fmt: skip
    coordinator.close()
    assert scheduler.error is None
    assert coordinator.finished
    assert not coordinator.failures
    return meter, scheduler.times


def _row(name: str, times: list[float]) -> str:
    tenth = max(1, len(times) // 10)
    figures = [
        statistics.fmean(times), *np.quantile(times, [0.5, 0.99]),
        statistics.fmean(times[:tenth]), statistics.fmean(times[-tenth:]),
    ]  # fmt: skip
    return f"| {name} | {len(times):,} | " + " | ".join(f"{1e3 * x:.2f}" for x in figures) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="What a result costs the driver of a search.")
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=1_000, help="of each member")
    parser.add_argument("--segments", type=int, default=8, help="of each member")
    parser.add_argument("--interval", type=int, default=2, help="iterations between evaluations")
    parser.add_argument("--slots", type=int, default=2, help="trials at once")
    parser.add_argument("--repeats", type=int, default=1, help="of both, by turns")
    given = parser.parse_args()
    connect()
    _count_waiting()
    logging.getLogger("ray").setLevel(logging.ERROR)
    print(f"{given.members} members, {given.iterations} iterations each, {given.slots} at once")
    print("| ms a result | results | mean | median | p99 | mean of first tenth | of last tenth |")
    print("|---|---|---|---|---|---|---|")
    means: dict[str, list[float]] = {}
    memory: list[str] = []
    cpu: list[str] = []
    for _ in range(given.repeats):
        for name, run in (("Tune, FIFO", fifo), ("ours", ours)):
            with tempfile.TemporaryDirectory(prefix="overhead-") as place:
                meter, own = run(Path(place), given)
            print(_row(name, meter.times), flush=True)
            if own:
                print(_row("ours: in our own code", own), flush=True)
            means.setdefault(name, []).append(statistics.fmean(meter.times))
            cpu.append(f"{name} {1e3 * meter.cpu:.2f}")
            memory.append(f"{name}: {' -> '.join(f'{m:.0f}' for m in meter.memory)} MiB")
    ratio = statistics.median(means["ours"]) / statistics.median(means["Tune, FIFO"])
    print(f"ours / FIFO: {ratio:.2f} (target ≤ 2)")
    print(f"ms of the driver thread's CPU a result: {', '.join(cpu)}")
    print(f"driver's memory at a tenth of the results and at the end – {'; '.join(memory)}")


if __name__ == "__main__":
    main()
