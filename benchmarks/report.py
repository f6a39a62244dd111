"""Measures the cost of a report on a long search: `make bench NAME=report`.

Archives of simulated searches – 10,000 and 100,000 snapshots of 10 episodes each, members that copy one
another, 30 policies re-evaluated for 100 + 100 episodes – are reported, each in a process of its own.
The measures are wall-clock time including the start of the process, CPU time, peak memory and the page's
size. Targets are 10 s for 10,000; 60 s and 1 GiB for 100,000; 5 MB per page, with every re-evaluated
policy and every point of the search front still in it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from search.front.pareto import candidates
from search.front.read_results import read_results
from search.report import write_report
from search.report.provisional import search_front
from search.store.archive import Baseline, Evaluation, Snapshot

MEMBERS, EPISODES, FRESH, CANDIDATES = 100, 10, 100, 30
RANDOM, CAP = 22.0, 500.0
LAYERS = {"pi.encoder.0": 256, "pi.encoder.1": 4096, "pi.head": 128}
TOTAL = sum(LAYERS.values())
GIB, MB = 2**30, 10**6
SECONDS = {10_000: 10.0, 100_000: 60.0}


def main() -> None:
    """Measures and prints the table."""
    arguments = _arguments()
    if arguments.only is not None:
        print(json.dumps(_measured(arguments.only)))
        return
    print(
        f"{'snapshots':>10}{'seconds':>9}{'CPU s':>7}{'target':>8}{'GiB':>7}{'page, MB':>10}"
        "  drawn and kept"
    )
    for count in arguments.snapshots:
        with tempfile.TemporaryDirectory() as folder:
            _simulate(Path(folder), count)
            started = time.perf_counter()
            command = [sys.executable, "-m", "benchmarks.report", f"--only={folder}"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds = time.perf_counter() - started
            row = json.loads(done.stdout.splitlines()[-1])
            kept = _kept(Path(folder))
        target = f"< {SECONDS[count]:.0f}" if count in SECONDS else "–"
        peak, page = row["peak"] / GIB, row["page"] / MB
        print(
            f"{count:>10,}{seconds:>9.1f}{row['cpu']:>7.1f}{target:>8}{peak:>7.2f}{page:>10.2f}  {kept}"
        )


def _measured(folder: Path) -> dict[str, float]:
    page = write_report(folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Linux reports kibibytes.
    return {
        "peak": used.ru_maxrss * 1024,
        "page": page.stat().st_size,
        "cpu": used.ru_utime + used.ru_stime,
    }


def _kept(folder: Path) -> str:
    """Returns how many of the points that matter are in the page."""
    results = read_results(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    wanted = {s.snapshot_id for s in search_front(results)}
    wanted |= set(results.confirmed.candidates["snapshot_id"])
    found = sum(f'"{name}"' in text for name in wanted)
    return f"{found} of {len(wanted)} front and near-front points"


def _simulate(folder: Path, count: int) -> None:
    """Writes a results folder in which every member ends its horizon, so that all charts are full."""
    rng = np.random.default_rng(0)
    segments, per_segment = max(2, count // (MEMBERS * 10)), 10
    snapshots = _snapshots(rng, segments, per_segment)[:count]
    _lines(folder / "snapshots.jsonl", snapshots)
    chosen = candidates(snapshots, CANDIDATES, floor=RANDOM)
    baselines = [
        Baseline(name="dense", description="dense", env_steps=10**6, wall_time=60.0,
                 search_return=CAP, sparsity=0.0, nonzero_params=TOTAL, total_params=TOTAL),
        Baseline(name="random", description="random", env_steps=0, wall_time=0.0,
                 search_return=RANDOM),
        Baseline(name="constant", description="constant", env_steps=0, wall_time=0.0,
                 search_return=9.4),
    ]  # fmt: skip
    _lines(folder / "baselines.jsonl", baselines)
    truth = {"dense": 495.0, "random": RANDOM, "constant": 9.4}
    truth |= {s.snapshot_id: min(CAP, s.return_mean - 5.0) for s in chosen}
    evaluations = []
    for start, purpose in enumerate(("selection", "report"), start=1):
        seeds = list(range(start * 10**6, start * 10**6 + FRESH))
        for name, mean in truth.items():
            returns = np.minimum(CAP, rng.normal(mean, 30, FRESH)).round(2).tolist()
            evaluations.append(
                Evaluation(
                    snapshot_id=name,
                    purpose="selection" if purpose == "selection" else "report",
                    seeds=seeds,
                    returns=returns,
                    lengths=[100] * FRESH,
                )
            )
    _lines(folder / "evaluations.jsonl", evaluations)
    (folder / "manifest.json").write_text(json.dumps({"name": "simulated", "env": "simulated"}))


def _snapshots(rng: np.random.Generator, segments: int, per_segment: int) -> list[Snapshot]:
    found: list[Snapshot] = []
    recipes = [_recipe(rng) for _ in range(MEMBERS)]
    parent, skill = [""] * MEMBERS, rng.uniform(0.7, 1.0, MEMBERS)
    for segment in range(segments):
        ends = list(parent)
        for member in range(MEMBERS):
            if segment and rng.random() < 0.2:
                donor = int(rng.integers(MEMBERS))
                ends[member], skill[member] = parent[donor], skill[donor]
                recipes[member] = _recipe(rng)
            for step in range(per_segment):
                iteration = segment * per_segment + step + 1
                progress = iteration / (segments * per_segment)
                aim = recipes[member]["pruning.final_sparsity"]
                sparsity = aim * (1 - (1 - progress) ** 3)
                nonzero = max(2, round((1 - sparsity) * TOTAL))
                mean = (CAP - RANDOM) * skill[member] / (1 + (0.006 * TOTAL / nonzero) ** 3)
                mean = RANDOM + mean * (1 - np.exp(-6 * progress))
                returns = np.minimum(CAP, mean + 40 * rng.standard_normal(EPISODES)).round(2)
                name = f"m{member:02d}-s{segment:03d}-i{iteration:04d}"
                found.append(
                    Snapshot(
                        snapshot_id=name,
                        trial_number=segment * MEMBERS + member,
                        member=member,
                        segment=segment,
                        iteration=iteration,
                        env_steps=round(progress * 10**6),
                        wall_time=0.05 * len(found),
                        status="ok",
                        return_mean=float(returns.mean()),
                        return_std=float(returns.std(ddof=1)),
                        episodes=EPISODES,
                        sparsity=1 - nonzero / TOTAL,
                        critic_sparsity=0.0,
                        nonzero_params=nonzero,
                        total_params=TOTAL,
                        parent=ends[member],
                        checkpoint=f"policies/{name}",
                        state="",
                        hyperparameters=recipes[member],
                        layers=dict.fromkeys(LAYERS, 1 - nonzero / TOTAL),
                        seeds=list(range(segment * EPISODES, (segment + 1) * EPISODES)),
                        returns=returns.tolist(),
                        lengths=[100] * EPISODES,
                    )
                )
        parent = [found[-(MEMBERS - m) * per_segment + per_segment - 1].snapshot_id
                  for m in range(MEMBERS)]  # fmt: skip
    return found


def _recipe(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "pruning.final_sparsity": round(1 - 10 ** -rng.uniform(0.7, 3.3), 5),
        "pruning.schedule": str(rng.choice(["cubic", "iterative"])),
        "pruning.end": round(rng.uniform(0.3, 1.0), 3),
        "training.lr": float(f"{10 ** rng.uniform(-4, -2):.3g}"),
        "training.entropy_coeff": float(f"{10 ** rng.uniform(-5, -2):.3g}"),
    }


def _lines(path: Path, records: list[Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(dataclasses.asdict(record), separators=(",", ":")) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snapshots", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
