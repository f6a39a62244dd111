"""Measures the cost of a result in the driver of a search: `make bench NAME=overhead`.

Members whose training does nothing report through Ray Tune: under Tune's own FIFO scheduler, and under
ours, with coordinator, archive and Optuna study writing to disk as in a search. Each measurement is a
process of its own; which one comes first alternates over repeats. All have the same number of results,
slots and reused actors. Under FIFO a member is one trial, under ours there is a trial for each of its
segments; FIFO with as many trials shows how much of the difference is due to Tune's handling of trials.

A result's time is the wall-clock time that Tune's loop takes for it, without waiting for trainables in
`ray.wait`. The share of our own code is measured in the same run, and so is the driver's memory: at a
tenth and at half of the results, at the last, and once Tune has read all of them back. Ours holds the
snapshots of two segments of every member, so it can be flat only from about half of the results on.
Targets: ours takes at most twice as long as FIFO, by mean, median and 99th percentile, and its memory
grows by no more than FIFO's plus 10 MiB.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from benchmarks.shared.driver_time import Meter, TimedScheduler, count_waiting, resident
from benchmarks.shared.idle import EPISODES, ITERATION, RANDOM, Idle
from rllib_ext.member.segment import Segment
from search.cluster.connection import connect
from search.config.experiment import ExperimentConfig
from search.config.loading import parse_config
from search.population.coordinator import Coordinator
from search.population.strategies import open_study
from search.store.archive import Archive
from search.training.lean_trials import LeanTrials
from search.training.segment_scheduler import ErrorNotes, trial_name

FIFO, FIFO_SEGMENTS, OURS = "Tune, FIFO", "Tune, FIFO, a trial a segment", "ours"
MOST_TIMES_FIFO, MOST_MIB_BEYOND_FIFO = 2.0, 10.0


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
            max_concurrent_trials=given.slots,
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
    meter.memory.append(resident())
    meter.cpu = (time.thread_time() - meter.cpu) / len(meter.times)


def fifo(folder: Path, given: Any, segments: int = 1) -> tuple[Meter, list[float]]:
    """Measures the same results under Tune alone, with `segments` trials per member."""
    config = _config(given)
    trials = [
        Segment(
            member=member, segment=segment, trial_number=-1, seed=member * segments + segment,
            pruning=config.pruning_with({"pruning.final_sparsity": 0.9}).to_dict(),
            training={}, until_env_steps=config.horizon // segments,
            evaluation_seeds=tuple(range(EPISODES)),
        )
        for segment in range(segments)
        for member in range(given.members)
    ]  # fmt: skip
    meter = Meter(given.members * given.iterations)
    _fit(
        folder, given, meter, scheduler=FIFOScheduler(),
        param_space={"alone": tune.grid_search([trial.to_dict() for trial in trials])},
    )  # fmt: skip
    return meter, []


def fifo_segments(folder: Path, given: Any) -> tuple[Meter, list[float]]:
    """Measures the same results under Tune alone, with as many trials as a search has."""
    return fifo(folder, given, given.segments)


def ours(folder: Path, given: Any) -> tuple[Meter, list[float]]:
    """Measures a search without its training."""
    config = _config(given)
    coordinator = Coordinator(config, Archive(folder), open_study(config, folder), RANDOM)
    scheduler = TimedScheduler(coordinator, given.slots, lambda: coordinator.progress)
    meter = Meter((given.members + 1) * given.iterations)
    _fit(
        folder, given, meter, search_alg=scheduler, num_samples=-1,
        callbacks=[ErrorNotes(scheduler), LeanTrials()],
        trial_name_creator=trial_name, trial_dirname_creator=trial_name,
    )  # fmt: skip
    coordinator.close()
    assert scheduler.error is None
    assert coordinator.finished
    assert not coordinator.failures
    return meter, scheduler.times


RUNS = {FIFO: fifo, FIFO_SEGMENTS: fifo_segments, OURS: ours}


def _measure(name: str, given: Any) -> dict[str, Any]:
    """Returns the figures of one run, which takes place in this process."""
    connect()
    count_waiting()
    logging.getLogger("ray").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="overhead-") as place:
        meter, own = RUNS[name](Path(place), given)
    ray.shutdown()
    return {
        "figures": _figures(meter.times), "own": _figures(own) if own else None,
        "cpu": meter.cpu, "memory": meter.memory, "actors": len(meter.actors),
    }  # fmt: skip


def _figures(times: Sequence[float]) -> list[float]:
    """Returns the number of times; mean, median, 99th percentile, mean of first and last tenth."""
    tenth = max(1, len(times) // 10)
    return [
        len(times), statistics.fmean(times), *map(float, np.quantile(times, [0.5, 0.99])),
        statistics.fmean(times[:tenth]), statistics.fmean(times[-tenth:]),
    ]  # fmt: skip


def _in_a_process(name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.overhead", f"--only={name}", *sys.argv[1:]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measures and prints the table."""
    given = _arguments()
    if given.only:
        print(json.dumps(_measure(given.only, given)))
        return
    print(f"{given.members} members, {given.iterations} iterations each, {given.slots} at once;")
    print("wall-clock of Tune's loop, less its waiting in ray.wait\n")
    print("| ms a result | results | mean | median | p99 | mean of first tenth | of last tenth |")
    print("|---|---|---|---|---|---|---|")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    for i in range(given.repeats):
        for name in list(RUNS)[:: -1 if i % 2 else 1]:
            one = _in_a_process(name)
            found[name].append(one)
            print(_row(name, one["figures"]), flush=True)
            if one["own"]:
                print(_row(f"{name}: in our own code", one["own"]), flush=True)
    for line in verdicts(found):
        print(line)


def _row(name: str, figures: Sequence[float]) -> str:
    count, *times = figures
    return f"| {name} | {count:,.0f} | " + " | ".join(f"{1e3 * x:.2f}" for x in times) + " |"


def verdicts(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Returns the conclusions over all repeats, as lines; medians are compared with the targets.

    Args:
        found: By name, the results of `_measure` for each repeat.
    """
    actors = {name: [one["actors"] for one in own] for name, own in found.items()}
    same = len({count for own in actors.values() for count in own}) == 1
    lines = [] if same else ["NOT comparable: the processes differ in number"]
    for at, what in enumerate(("mean", "median", "p99"), 1):
        took = {n: statistics.median(one["figures"][at] for one in own) for n, own in found.items()}
        ratio = took[OURS] / took[FIFO]
        told = f"{ratio:.2f}, {_kept(ratio <= MOST_TIMES_FIFO)} {MOST_TIMES_FIFO:g}"
        alike = took[OURS] / took[FIFO_SEGMENTS]
        lines.append(f"{what}, {OURS} ÷ FIFO: {told}; ÷ FIFO with a trial a segment: {alike:.2f}")
    for name, own in found.items():
        cpu = ", ".join(f"{1e3 * one['cpu']:.2f}" for one in own)
        memory = ", ".join(
            "{:.0f} → {:.0f} → {:.0f} → {:.0f}".format(*one["memory"]) for one in own
        )
        lines.append(
            f"{name}: {', '.join(map(str, actors[name]))} processes trained; {cpu} ms of the driver "
            "thread's CPU a result; driver's MiB at a tenth and at half of the results, at the last, "
            f"and once Tune had read them back: {memory}"
        )
    for when, since, at in (
        ("from a tenth to the last result", 0, 2),
        ("from half to the last result", 1, 2),
        ("from a tenth to the end", 0, 3),
    ):
        grown = {
            name: statistics.median(one["memory"][at] - one["memory"][since] for one in own)
            for name, own in found.items()
        }
        lines.append(
            f"the driver's memory grew by {grown[OURS]:.1f} MiB {when}, under FIFO by "
            f"{grown[FIFO]:.1f}: {_kept(grown[OURS] - grown[FIFO] <= MOST_MIB_BEYOND_FIFO)} FIFO's + "
            f"{MOST_MIB_BEYOND_FIFO:g} MiB; with a trial a segment by {grown[FIFO_SEGMENTS]:.1f}"
        )
    return lines


def _kept(holds: bool) -> str:
    return "within" if holds else "NOT within"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=1_000, help="of each member")
    parser.add_argument("--segments", type=int, default=8, help="of each member")
    parser.add_argument("--interval", type=int, default=2, help="iterations between evaluations")
    parser.add_argument("--slots", type=int, default=2, help="trials at once")
    parser.add_argument("--repeats", type=int, default=2, help="of both, by turns (default 2)")
    parser.add_argument("--only", choices=list(RUNS), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
