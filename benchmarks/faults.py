"""A search that is killed again and again: `make bench NAME=faults`.

One search is hit by kills (SIGKILL, by turns of the driver, which is then resumed, and of the process
of a member or a pack) and by environments that raise, at moments drawn from a seed: in training, while
it starts, while it evaluates. At its end the front must be complete, every row readable and there once,
and no member lost; the training env steps that were lost and repeated are stated. Steps are counted
by the environments themselves, in files that outlive their processes.

Exit status 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.faulty_environment import METERS, RAISE, read_meters
from search.archive import Archive
from search.config_file import load_config_of
from search.evaluation import held_out_seeds
from search.seeds import draw

ROOT = Path(__file__).parents[1]
DENSE = -1
# Seconds in which a search that was begun or resumed has come into training, on a free machine.
START = 12.0
# Share of the driver's kills that come at a time after its start, not at a point of its progress.
EARLY = 0.3
PATIENCE = 600.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens, and when.

    Attributes:
        kind: "driver" or "worker" is killed, or an "environment" raises.
        progress: Share of the budget at which it happens; above 1: of the evaluation afterwards.
        after: Seconds after the driver's start, instead; NaN: `progress` counts.
    """

    kind: str
    progress: float
    after: float


class Drill:
    """One search and what is done to it.

    Args:
        place: An empty folder.
        config: YAML file of the search.
        overrides: Of the configuration.
        seed: Fixes kinds and moments of faults.
    """

    def __init__(self, place: Path, config: Path, overrides: list[str], seed: int) -> None:
        self.place, self.folder = place, place / "out"
        self.rng = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.processes = 0
        (place / METERS).mkdir()
        self._begin = [
            "search", str(config), "env=benchmarks.faulty_environment:FaultyCartPole",
            f"env_config={{folder: {place}}}", *overrides, "--output", str(self.folder),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    def plan(self, kills: int, raises: int) -> Iterator[Fault]:
        """The faults, in their order."""
        kinds = [("driver", "worker")[i % 2] for i in range(kills)] + ["environment"] * raises
        self.rng.shuffle(kinds)
        moments = sorted(self.rng.uniform(0.0, 1.05) for _ in kinds)
        for kind, moment in zip(kinds, moments, strict=True):
            early = kind == "driver" and self.rng.random() < EARLY
            yield Fault(kind, moment, self.rng.uniform(0.0, START) if early else float("nan"))

    def run(self, kills: int, raises: int) -> None:
        """Runs the search to its end, through all faults.

        Raises:
            AssertionError: The search ends with a status other than 0.
        """
        for fault in self.plan(kills, raises):
            self._ensure_running()
            self._wait_for(fault)
            self._ensure_running()
            if getattr(self, f"_{fault.kind}")():
                self.faults[fault.kind] += 1
                print(f"  {self.progress:5.2f}  {fault.kind}", flush=True)
        self._ensure_running()
        assert self._process is not None
        self._check(self._process.wait(PATIENCE))

    @property
    def progress(self) -> float:
        """Share of the budget that was trained; above 1: of the evaluation afterwards."""
        if not (self.folder / "config.yaml").is_file():
            return 0.0
        archive, config = Archive(self.folder), load_config_of(self.folder)
        batch = (
            int(config.ppo.training["train_batch_size_per_learner"]) * config.evaluation.interval
        )
        repeats = sum(e["event"] == "repeat" for e in archive.events())
        trained = (len(archive.snapshots()) + repeats) * batch / config.budget.env_steps
        evaluated = len({e.snapshot_id for e in archive.evaluations()} - {"random", "constant"})
        return 1.0 + evaluated / config.evaluation.candidates if evaluated else min(1.0, trained)

    def close(self) -> None:
        """Ends what still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _ensure_running(self) -> None:
        """Begins or resumes the search where it isn't running; an ended one is resumed too."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            if status != -signal.SIGKILL:
                self._check(status)
        there = (self.folder / "config.yaml").is_file()
        if not there:
            shutil.rmtree(self.folder, ignore_errors=True)
        arguments = ["resume", str(self.folder)] if there else self._begin
        self.processes += 1
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        with (self.place / "messages").open("w") as messages:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "search", *arguments],
                stdout=messages, stderr=messages, cwd=self.place, start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )  # fmt: skip
        self._began = time.monotonic()

    def _check(self, status: int) -> None:
        messages = (self.place / "messages").read_text()
        assert status == 0, f"the search ended with status {status}:\n{messages}"

    def _wait_for(self, fault: Fault) -> None:
        if fault.after == fault.after:
            self._wait(lambda: time.monotonic() - self._began >= fault.after)
        else:
            self._wait(lambda: self.progress >= fault.progress)
            time.sleep(self.rng.uniform(0.0, 0.3))

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Until a condition holds (True) or the search is over (False)."""
        assert self._process is not None
        until = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            if condition():
                return True
            assert time.monotonic() < until, "the search does not go on"
            time.sleep(0.05)
        return False

    def _driver(self) -> bool:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        return True

    def _worker(self) -> bool:
        assert self._process is not None
        found: list[int] = []
        if not self._wait(lambda: bool(found.extend(_at_work(self._process)) or found)):  # type: ignore[arg-type]
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.rng.choice(sorted(found)), signal.SIGKILL)
            return True
        return False

    def _environment(self) -> bool:
        (self.place / RAISE).touch()
        raised = self._wait(lambda: not (self.place / RAISE).exists())
        (self.place / RAISE).unlink(missing_ok=True)
        return raised


def _at_work(process: subprocess.Popen[bytes]) -> list[int]:
    """Ray's worker processes below a driver that train or evaluate."""
    parents, titles = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError, KeyError, ValueError):
            lines = dict(
                line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
            )
            pid = int(lines["Pid"])
            parents[pid] = int(lines["PPid"])
            titles[pid] = (status.parent / "cmdline").read_text()
    found, front = [], [process.pid]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return [p for p in found if re.match(r"ray::(?!IDLE|\w*Agent)", titles.get(p, ""))]


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of the training env steps, dense baseline included.

    Attributes:
        trained: Steps that environments took in training.
        booked: Those that the folder tells of.
        repeated: Those of them that segments had made which were then trained again from their start.
        failed: Those of them of segments that failed for good.
    """

    trained: int
    booked: int
    repeated: int
    failed: int

    @property
    def lost(self) -> int:
        """Trained since a line was last written, by processes that were killed."""
        return self.trained - self.booked


def account(place: Path, folder: Path) -> Account:
    """Counts what was trained, and what of it was lost or repeated."""
    archive, config = Archive(folder), load_config_of(folder)
    events = archive.events()
    plans = [e["plan"] for e in events if e["event"] == "start"]
    evaluation = {seed for plan in plans for seed in plan["evaluation_seeds"]}
    evaluation |= {seed for seeds in held_out_seeds(config).values() for seed in seeds}
    evaluation |= set(draw(config.seed, "baseline", config.evaluation.selection_episodes))
    trained = sum(steps for steps, seed in read_meters(place) if seed not in evaluation)
    started: dict[tuple[int, int], int] = {}
    repeated = failed = 0
    for event in events:
        key = event.get("member", 0), event.get("segment", 0)
        if event["event"] == "start":
            started[key] = event["env_steps"]
        elif event["event"] in ("retry", "lost"):
            repeated += event["env_steps"] - started[key]
        elif event["event"] == "failure":
            failed += event["env_steps"] - started[key]
    spent = json.loads((folder / "manifest.json").read_text())["env_steps"]
    return Account(trained, spent["training"] + spent["baselines"], repeated, failed)


def mistakes(folder: Path) -> list[str]:
    """What does not hold of a finished search; empty where all does."""
    archive, config = Archive(folder), load_config_of(folder)
    found = []
    ids = []
    for number, line in enumerate((folder / "snapshots.jsonl").read_text().splitlines(), 1):
        try:
            ids.append(json.loads(line)["snapshot_id"])
        except (ValueError, KeyError):
            found.append(f"line {number} of snapshots.jsonl can't be read")
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        found.append(f"rows that are there twice: {twice}")
    events = archive.events()
    over = {(e["member"], e["segment"]) for e in events if e["event"] in ("end", "failure")}
    begun = {(e["member"], e["segment"]) for e in events if e["event"] == "start"}
    manifest = json.loads((folder / "manifest.json").read_text())
    spent = manifest["env_steps"]["training"] >= config.budget.env_steps
    # Where the budget is spent before a lost segment's turn comes, it is not trained again.
    left = {(e["member"], e["segment"]) for e in events if e["event"] == "lost"} if spent else set()
    if not begun - over <= left:
        found.append(f"segments that began and never ended: {sorted(begun - over - left)}")
    for member in range(config.population.members):
        own = sorted(segment for m, segment in over if m == member)
        ended = [e for e in events if e["event"] == "end" and e["member"] == member]
        if own != list(range(len(own))) or not ended:
            found.append(f"member {member} was lost: segments {own}")
    if manifest["status"] != "finished":
        found.append(f"the manifest says {manifest['status']}")
    if not spent:
        found.append(f"the budget was not spent: {manifest['env_steps']}")
    with (folder / "front.csv").open() as file:
        points = list(csv.DictReader(file))
    if not points or any(not p["return_mean"] for p in points):
        found.append("the front is not complete")
    gone = [p["policy"] for p in points if not (folder / p["policy"] / "masks.npz").is_file()]
    if gone:
        found.append(f"policies of the front that are gone: {gone}")
    half = [str(p) for kind in ("policies", "states") for p in (folder / kind).glob("*.part")]
    if half or not (folder / "report.html").is_file():
        found.append(f"half-written: {half}; report: {(folder / 'report.html').is_file()}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="A search that is killed again and again.")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "smoke.yaml")
    parser.add_argument("--engine", choices=["rllib", "packed", "both"], default="both")
    parser.add_argument("--kills", type=int, default=20, help="half of drivers, half of workers")
    parser.add_argument("--raises", type=int, default=4, help="environments that raise")
    parser.add_argument("--env-steps", type=int, default=200_000, help="the search's budget")
    parser.add_argument("--segments", type=int, default=8, help="of a member")
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
            ]
            drill = Drill(place, given.config.resolve(), overrides, given.seed)
            stack.callback(drill.close)
            print(f"{engine}: share of the search, and what is hit", flush=True)
            began = time.monotonic()
            drill.run(given.kills, given.raises)
            sound &= _report(drill, time.monotonic() - began)
    sys.exit(0 if sound else 1)


def _report(drill: Drill, seconds: float) -> bool:
    steps, wrong = account(drill.place, drill.folder), mistakes(drill.folder)
    events = Counter(e["event"] for e in Archive(drill.folder).events())
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(drill.faults.items()))
    rows = len(Archive(drill.folder).snapshots())
    print(f"  hit: {faults or 'nothing'}; {drill.processes} drivers in {seconds:.0f} s")
    print(f"  events: {dict(sorted(events.items()))}; {rows} snapshots")
    print(f"  training env steps: {steps.trained:,} taken, {steps.booked:,} of them booked")
    for what, count in (
        ("lost (since the last line of a killed process)", steps.lost),
        ("repeated (segments trained again from their start)", steps.repeated),
        ("of segments that failed for good", steps.failed),
    ):
        print(f"  {count:>10,} {count / steps.trained:7.2%}  {what}")
    for mistake in wrong:
        print(f"  WRONG: {mistake}")
    print("  all holds" if not wrong else "  something does not hold")
    return not wrong


if __name__ == "__main__":
    main()
