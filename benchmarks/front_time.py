"""Wall-clock to a front, packed against RLlib: `make bench NAME=front_time`.

The same search – configuration, members, env steps, seed – runs with each engine, one after the other
on two cores, as `prunefront search` runs it. Its hypervolume is followed over the snapshots'
wall-clock, which counts from where members begin to train: search scores, infeasible ones left out, on
the scale of the rllib search's own baselines, so that both are measured alike. The ratio is that of the
times at which each first reached what the rllib search has at its end; it is the smaller, the longer
that search stood still before. Shares of it are shown besides.

A finished search isn't run again: the benchmark can be stopped, and goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from search import Results, load
from search.folder import read_manifest
from search.report.data import running_hypervolume

ROOT = Path(__file__).parents[1]
ENGINES = ("rllib", "packed")
CORES = 2
SHARES = (0.9, 0.95, 0.99, 1.0)
AREAS = {"over_sparsity": "over sparsity", "over_decades": "over decades of density"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A search of the benchmark.

    Attributes:
        members: Policies in training.
        horizon: Env steps of each.
        target: Least ratio of the times.
    """

    members: int
    horizon: int
    target: float


# CartPole's is that of `make search`; the others are shorter than their configurations' own, so that
# RLlib's end within minutes.
CASES = {
    "cartpole": Case(members=16, horizon=250_000, target=8.0),
    "acrobot": Case(members=8, horizon=120_000, target=3.0),
    "lunarlander": Case(members=8, horizon=200_000, target=3.0),
}
# What comes after the search isn't compared: as little of it as the dense baseline's score needs.
AFTERWARDS = (
    "evaluation.candidates=1",
    "evaluation.selection_episodes=2",
    "evaluation.report_episodes=100",
)


def main() -> None:
    """Runs the searches that are missing and prints the tables."""
    arguments = _arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    for name in arguments.cases:
        found = {}
        for engine in ENGINES:
            found[engine] = _search(name, engine, CASES[name].members, arguments)
        if arguments.more_members:
            more = arguments.more_members
            found[f"packed, {more} members"] = _search(name, "packed", more, arguments)
        _print(name, found)


def _search(name: str, engine: str, members: int, arguments: argparse.Namespace) -> Results:
    horizon = round(CASES[name].horizon * arguments.scale)
    folder = arguments.output / f"{name}-{engine}-{members}x{horizon}-{arguments.seed}"
    if not folder.exists() or read_manifest(folder).get("status") != "finished":
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{name}: {engine}, {members} members of {horizon:,} env steps …", flush=True)
        command = [sys.executable, "-m", "search", "search", f"configs/{name}.yaml"]
        command += [f"engine={engine}", f"seed={arguments.seed}", f"resources.slots={CORES}"]
        command += [f"population.members={members}", f"budget.env_steps={members * horizon}"]
        command += [*AFTERWARDS, "--output", str(folder.resolve())]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return load(folder)


def _print(name: str, found: dict[str, Results]) -> None:
    scale = found["rllib"].confirmed.scale
    print(f"\n{name}: random {scale.random:.1f}, dense {scale.dense:.1f}")
    if scale.note:
        print(f"  {scale.note}")
        return
    curves = {engine: running_hypervolume(r.records, scale) for engine, r in found.items()}
    print(f"{'':30}{'env steps':>12}{'minutes':>9}", end="")
    print("".join(f"{f'hypervolume {area}':>38}" for area in AREAS.values()))
    for engine, curve in curves.items():
        last = curve.iloc[-1]
        cells = "".join(f"{last[column]:>38.4f}" for column in AREAS)
        print(f"  {engine:28}{last.env_steps:>12,.0f}{last.minutes:>9.2f}{cells}")
    for column, area in AREAS.items():
        _print_times(column, area, curves, CASES[name].target)


def _print_times(column: str, area: str, curves: dict[str, pd.DataFrame], target: float) -> None:
    wanted = float(curves["rllib"][column].iloc[-1])
    if wanted <= 0:
        print(f"  the rllib search found nothing feasible: no hypervolume {area} to reach")
        return
    print(f"  minutes to a share of rllib's hypervolume {area}")
    for share in SHARES:
        times = {e: _minutes_to(share * wanted, curve, column) for e, curve in curves.items()}
        line = f"    {share:>5.0%}"
        for engine, minutes in times.items():
            if minutes is None:
                most = float(curves[engine][column].iloc[-1]) / wanted
                line += f"  {engine}: never (at most {most:.1%})"
                continue
            line += f"  {engine}: {minutes:.2f}"
            if engine != "rllib" and times["rllib"] is not None:
                ratio = times["rllib"] / minutes
                line += f" ({ratio:.1f}×"
                if share == 1.0:
                    line += f", target {target:g}× {'' if ratio >= target else 'NOT '}reached"
                line += ")"
        print(line)


def _minutes_to(wanted: float, curve: pd.DataFrame, column: str) -> float | None:
    """When the hypervolume first reached what is wanted; None: never."""
    # Sums of the same areas in another order differ in the last digits.
    there = curve[curve[column] >= wanted * (1 - 1e-9)]
    return float(there.minutes.iloc[0]) if len(there) else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front_time", description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench-front-time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of horizons, for a trial run")
    parser.add_argument(
        "--more-members", type=int, help="a third search, packed, with as many members"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
