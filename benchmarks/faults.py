"""A search that is killed again and again: `make bench NAME=faults`.

One search is subjected to kills (SIGKILL, alternately of the driver, which is then resumed, and of the
process of a member or a pack) and to environments that raise, at moments drawn from a seed: while it
starts, in training, while candidates are re-evaluated, baselines trained and policies evaluated under
shifts. A fault that misses is drawn again; a search that ends before all faults have hit, or before all
members are at their horizon, is given a larger budget.

At its end every row must be readable and present once, each member must have reached its horizon, the
candidates must be those that follow from the snapshots, and they, all baselines and all shifts must have
been played on all their seeds, with a front and a report made from them. A baseline whose training was
ended by an environment is left out by design, and reported. The lost and repeated training env steps are
shown; environments count steps themselves, in files that outlive their processes.

The exit status is 1 if one of these conditions does not hold, or fewer faults hit than were asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.shared.audit import account, lost_baselines, mistakes
from benchmarks.shared.drill import ROOT, Drill
from benchmarks.shared.phases import PHASES
from search.store.archive import Archive


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "smoke.yaml")
    parser.add_argument("--engine", choices=["rllib", "packed", "both"], default="both")
    parser.add_argument("--kills", type=int, default=20, help="half of drivers, half of workers")
    parser.add_argument("--raises", type=int, default=4, help="environments that raise")
    parser.add_argument("--env-steps", type=int, default=200_000, help="the search's budget")
    parser.add_argument("--segments", type=int, default=8, help="of a member")
    parser.add_argument("--candidates", type=int, default=12, help="evaluated again")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--output", type=Path, help="keeps the searches here; new or empty")
    given: Any = parser.parse_args()
    sound = True
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-"))
        for engine in ("rllib", "packed") if given.engine == "both" else (given.engine,):
            place = (given.output or Path(temporary)).resolve() / engine
            place.mkdir(parents=True)
            overrides = [
                f"engine={engine}",
                f"budget.env_steps={given.env_steps}",
                f"population.segments={given.segments}",
                f"evaluation.candidates={given.candidates}",
            ]
            drill = Drill(place, given.config.resolve(), overrides, given.seed)
            stack.callback(drill.close)
            print(f"{engine}: where the search is, and what is hit", flush=True)
            began = time.monotonic()
            drill.run(given.kills, given.raises)
            asked = given.kills + given.raises
            sound &= _report(drill, asked, time.monotonic() - began)
    sys.exit(0 if sound else 1)


def _report(drill: Drill, asked: int, seconds: float) -> bool:
    archive = Archive(drill.folder)
    steps, wrong = account(drill.place, drill.folder), mistakes(drill.folder, drill.first_end)
    hit = drill.hits.total()
    if hit < asked:
        wrong.insert(0, f"{hit} of {asked} faults hit")
    events = Counter(e["event"] for e in archive.events())
    kinds, phases = Counter[str](), Counter[int]()
    for (kind, phase), count in drill.hits.items():
        kinds[kind] += count
        phases[phase] += count
    print(f"  hit: {_counts(kinds)}; missed and drawn again: {drill.missed}")
    print(f"  hit in {_counts({PHASES[phase]: phases[phase] for phase in sorted(phases)})}")
    print(
        f"  {drill.processes} drivers in {seconds:.0f} s; larger budgets: {drill.extensions}; "
        f"{len(archive.snapshots())} snapshots; events: {dict(sorted(events.items()))}"
    )
    print(f"  training env steps: {steps.trained:,} taken, {steps.booked:,} of them booked")
    for what, count in (
        ("lost (since the last line of a killed process)", steps.lost),
        ("repeated (trained again from the start of a segment)", steps.repeated),
        ("of segments that failed for good", steps.failed),
    ):
        print(f"  {count:>10,} {count / steps.trained:7.2%}  {what}")
    for name, error in lost_baselines(archive).items():
        print(f"  lost baseline {name}: {error}")
    for mistake in wrong:
        print(f"  WRONG: {mistake}")
    print("  all holds" if not wrong else "  something does not hold")
    return not wrong


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing"


if __name__ == "__main__":
    main()
