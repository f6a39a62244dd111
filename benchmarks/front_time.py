"""Wall-clock time to a front, packed against RLlib: `make bench NAME=front_time`.

The same search – configuration, members, env steps, seed – runs with each engine, one after the other on
two cores, as `prunefront search` runs it; only what comes after its training is left out. Its
hypervolume is followed over the snapshots' wall-clock time: search scores, without infeasible ones, on
the scale of the rllib search's own baselines, so that both are measured alike. The clock starts once Ray
runs and a random policy and constant actions have been measured; the start of the engine's processes and
the training of the dense baseline count. The ratio compares the times at which each engine first reached
the rllib search's final hypervolume; it is smaller the longer that search made no progress before its
end. Times to shares of the hypervolume are shown as well. With either engine, searches differ a little
in where they end, so a packed one that stops after rllib's env steps may end below that level. A further
packed search has twice as many env steps, as if it were extended, and shows when the level is reached.
Over several seeds, ratios are paired by seed.

A finished search isn't repeated while the configuration and the revision of the code are the same, so an
interrupted benchmark can be continued. Uncommitted changes are not detected.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.shared.arguments import one_of
from search import Results, load
from search.config.loading import load_config
from search.front.hypervolume_curve import running_hypervolume
from search.store.folder import CONFIG, provenance, read_manifest

ROOT = Path(__file__).parents[1]
ENGINES = ("rllib", "packed")
CORES = 2
# Env steps of the extended packed search, as a multiple of rllib's.
GOING_ON = 2
SHARES = (0.9, 0.95, 0.99, 1.0)
AREAS = {"over_sparsity": "over sparsity", "over_decades": "over decades of density"}

# By engine and area.
Ratios = dict[tuple[str, str], float]


@dataclasses.dataclass(frozen=True)
class Case:
    """A search of the benchmark.

    Attributes:
        members: Number of policies in training.
        horizon: Env steps of each member.
        target: Least ratio of the times that is required.
    """

    members: int
    horizon: int
    target: float


# CartPole's search is that of `make search`; the others are shorter than their configurations, so that
# RLlib's end within minutes.
CASES = {
    "cartpole": Case(members=16, horizon=250_000, target=8.0),
    "acrobot": Case(members=8, horizon=120_000, target=3.0),
    "lunarlander": Case(members=8, horizon=200_000, target=3.0),
}
# Steps after the training aren't compared. Candidates and episodes stay as configured, because they also
# affect training: the number of candidates decides which policies are kept, selection episodes what is
# feasible.
AFTERWARDS = (
    "baselines={random_masks: 0, small_dense: 0, train_then_prune: 0, linear: 0, tree: 0}",
    "evaluation.shifts=[]",
)


def main() -> None:
    """Runs the searches that are missing and prints the tables."""
    arguments = _arguments()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    for name in arguments.cases:
        ratios: list[Ratios] = []
        for seed in arguments.seeds:
            members, found = CASES[name].members, {}
            for engine in ENGINES:
                found[engine] = _search(name, engine, members, seed, arguments)
            going_on = f"packed, {GOING_ON}× the env steps"
            found[going_on] = _search(name, "packed", members, seed, arguments, times=GOING_ON)
            if arguments.more_members:
                more = arguments.more_members
                called = f"packed, {more} members"
                found[called] = _search(name, "packed", more, seed, arguments)
            ratios.append(_print(name, seed, found))
        _print_ratios(name, ratios)


def _search(
    name: str, engine: str, members: int, seed: int, arguments: argparse.Namespace, times: int = 1
) -> Results:
    horizon = round(CASES[name].horizon * arguments.scale)
    size = f"{members}x{horizon}" + (f"x{times}" if times > 1 else "")
    folder = arguments.output / f"{name}-{engine}-{size}-{seed}"
    file = ROOT / "configs" / f"{name}.yaml"
    overrides = [f"engine={engine}", f"seed={seed}", f"resources.slots={CORES}"]
    overrides += [f"population.members={members}", f"budget.horizon={horizon}"]
    overrides += [f"budget.env_steps={members * horizon * times}"]
    overrides += AFTERWARDS
    other = differs(folder, load_config(file, overrides).to_yaml())
    if not other:
        return load(folder)
    print(
        f"{name}, seed {seed}: {engine}, {members} members, a horizon of {horizon:,} env steps, "
        f"{members * horizon * times:,} of all …",
        flush=True,
    )
    if folder.exists():
        print(f"  anew into {folder}: {other}", flush=True)
        shutil.rmtree(folder)
    command = [sys.executable, "-m", "search", "search", str(file), *overrides]
    command += ["--output", str(folder.resolve())]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return load(folder)


def differs(folder: Path, config: str) -> str:
    """Returns why a folder isn't the finished search that would run now; empty if it is.

    Args:
        folder: A results folder, which need not exist.
        config: The resolved configuration that would run now.
    """
    manifest = read_manifest(folder)
    if manifest.get("status") != "finished":
        return "the search there is not finished"
    known = folder / CONFIG
    if not known.is_file() or known.read_text(encoding="utf-8") != config:
        return "its configuration is another one"
    now = provenance(())["git_revision"]
    if manifest.get("git_revision") != now:
        return f"it was run at revision {manifest.get('git_revision') or 'unknown'}, this is {now}"
    return ""


def _print(name: str, seed: int, found: dict[str, Results]) -> Ratios:
    scale = found["rllib"].confirmed.scale
    print(f"\n{name}, seed {seed}: random {scale.random:.1f}, dense {scale.dense:.1f}")
    if scale.note:
        print(f"  {scale.note}")
        return {}
    curves = {engine: running_hypervolume(r.records, scale) for engine, r in found.items()}
    print(f"{'':30}{'env steps':>12}{'minutes':>9}", end="")
    print("".join(f"{f'hypervolume {area}':>38}" for area in AREAS.values()))
    for engine, curve in curves.items():
        last = curve.iloc[-1]
        cells = "".join(f"{last[column]:>38.4f}" for column in AREAS)
        print(f"  {engine:28}{last.env_steps:>12,.0f}{last.minutes:>9.2f}{cells}")
    ratios: Ratios = {}
    for column, area in AREAS.items():
        for engine, ratio in _print_times(column, area, curves).items():
            ratios[engine, area] = ratio
    return ratios


def _print_times(column: str, area: str, curves: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Prints the times; returns rllib's ÷ each engine's to the full hypervolume, NaN for never."""
    wanted = float(curves["rllib"][column].iloc[-1])
    if wanted <= 0:
        print(f"  the rllib search found nothing feasible: no hypervolume {area} to reach")
        return {}
    print(f"  minutes to a share of rllib's hypervolume {area}")
    ratios = {}
    for share in SHARES:
        times = {e: _minutes_to(share * wanted, curve, column) for e, curve in curves.items()}
        line = f"    {share:>5.0%}"
        for engine, minutes in times.items():
            if minutes is None:
                most = float(curves[engine][column].iloc[-1]) / wanted
                line += f"  {engine}: never (at most {most:.1%})"
                ratio = math.nan
            else:
                line += f"  {engine}: {minutes:.2f}"
                # The rllib search has reached every share of its own hypervolume.
                ratio = (times["rllib"] or math.nan) / minutes
            if engine != "rllib":
                ratios[engine] = ratio
                line += f" ({ratio:.1f}×)" if minutes is not None else ""
        print(line)
    return ratios


def _print_ratios(name: str, ratios: list[Ratios]) -> None:
    """Prints the ratios at rllib's full hypervolume, paired by seed."""
    target = CASES[name].target
    print(f"\n{name}: rllib's minutes ÷ packed's, to all of rllib's hypervolume, paired by seed")
    for engine, area in dict.fromkeys(key for own in ratios for key in own):
        found = np.array([own.get((engine, area), math.nan) for own in ratios])
        there = found[np.isfinite(found)]
        line = f"  {engine}, {area}: "
        line += f"median {np.median(there):.1f}×" if len(there) else "never"
        if len(there) > 1:
            line += f", {there.min():.1f}× to {there.max():.1f}×"
        line += f" over {len(there)} of {len(found)} seeds"
        if engine.endswith("members"):
            line += "; optimistic: it trains more members, and reaches more at its end"
        else:
            reached = int((there >= target).sum())
            line += f"; target {target:g}×, reached with {reached} of {len(found)}"
        print(line)


def _minutes_to(wanted: float, curve: pd.DataFrame, column: str) -> float | None:
    """Returns when the hypervolume first reached the wanted one, or None if it never did."""
    # Sums of the same areas in another order differ in the last digits.
    there = curve[curve[column] >= wanted * (1 - 1e-9)]
    return float(there.minutes.iloc[0]) if len(there) else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front_time", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", type=one_of(CASES), default=list(CASES), help=", ".join(CASES)
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench-front-time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of searches (default 0)")
    parser.add_argument("--scale", type=float, default=1.0, help="of horizons, for a trial run")
    parser.add_argument(
        "--more-members",
        type=int,
        help="a third search, packed, with as many members; optimistic, for it trains more env steps",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
