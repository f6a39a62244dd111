"""Runs one search and injects faults until as many have hit as were asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.faulty_environment import METERS, RAISE
from benchmarks.shared.audit import reached
from benchmarks.shared.phases import (
    BASELINES,
    FINISHED,
    PHASES,
    RE_EVALUATION,
    SHIFTS,
    TRAINING,
    position,
)
from search.config.experiment import ExperimentConfig
from search.store.archive import CANDIDATES, Archive
from search.store.continued import load_config_of
from search.store.folder import read_manifest

ROOT = Path(__file__).parents[2]
# Seconds within which a started or resumed search begins training, on a free machine.
START = 12.0
# Share of the driver's kills in training that are timed from its start, not by the search's position.
EARLY = 0.3
# Share of the faults that are aimed at the phases after training.
AFTERWARDS = 0.4
LATE = (RE_EVALUATION, BASELINES, SHIFTS)
KINDS = ("driver", "worker", "environment")
# Largest delay in seconds of a fault from the start of a phase after training.
DELAYS = {RE_EVALUATION: 3.0, BASELINES: 4.0, SHIFTS: 1.0}
# Number of times that a search that has ended too early is given a larger budget.
EXTENSIONS = 6
# Seconds within which a search must make progress.
PATIENCE = 600.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault and its moment.

    Attributes:
        kind: "driver" or "worker" is killed, or an "environment" raises.
        moment: Position of the search, as in `benchmarks.shared.phases.position`.
        after: Seconds after the driver's start, used instead of `moment`; NaN if `moment` counts.
    """

    kind: str
    moment: float
    after: float = float("nan")


def plan(rng: random.Random, kills: int, raises: int) -> list[Fault]:
    """Draws the faults, in their order.

    Args:
        rng: Random generator for the faults.
        kills: Number of kills, half of drivers and half of workers.
        raises: Number of environments that raise.
    """
    kinds = [("driver", "worker")[i % 2] for i in range(kills)] + ["environment"] * raises
    rng.shuffle(kinds)
    late = {kind: itertools.cycle(rng.sample(LATE, len(LATE))) for kind in KINDS}
    faults = []
    for i, kind in enumerate(kinds):
        if i < round(AFTERWARDS * len(kinds)):
            faults.append(Fault(kind, float(next(late[kind]))))
            continue
        early = kind == "driver" and rng.random() < EARLY
        after = rng.uniform(0.0, START) if early else float("nan")
        faults.append(Fault(kind, rng.uniform(TRAINING, TRAINING + 1.0), after))
    return sorted(faults, key=lambda fault: fault.moment)


class Drill:
    """One search, and the faults that are injected into it.

    Args:
        place: An empty folder.
        config: YAML file of the search.
        overrides: Overrides of the configuration.
        seed: Seed of the faults' kinds and moments.

    Attributes:
        hits: Number of faults that hit, by kind and phase.
        missed: Number of faults that came too late or found no target, and were drawn again.
        processes: Number of drivers so far.
        extensions: Number of times that the budget was raised.
        first_end: Number of snapshots when the search had ended for the first time.
    """

    def __init__(self, place: Path, config: Path, overrides: list[str], seed: int) -> None:
        self.place, self.folder = place, place / "out"
        self.rng = random.Random(seed)
        self.hits: Counter[tuple[str, int]] = Counter()
        self.missed = self.processes = self.extensions = self.first_end = 0
        (place / METERS).mkdir()
        self._begin = [
            "search", str(config), "env=benchmarks.faulty_environment:FaultyCartPole",
            f"env_config={{folder: {place}}}", *overrides, "--output", str(self.folder),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self._config: ExperimentConfig | None = None
        self._began = 0.0
        self._choices = 0

    def run(self, kills: int, raises: int) -> None:
        """Runs the search to its end, through that many faults, as far as its extensions allow.

        Raises:
            AssertionError: The search ends with a status other than 0.
        """
        faults = plan(self.rng, kills, raises)
        while self._goes_on(faults):
            if not faults:
                self._wait(lambda: False)
                continue
            fault = faults.pop(0)
            self._wait_for(fault)
            phase = int(self.position)
            if phase < FINISHED and getattr(self, f"_{fault.kind}")():
                self.hits[fault.kind, phase] += 1
                print(f"  {PHASES[phase]:14}{fault.kind}", flush=True)
                continue
            self.missed += 1
            if self.position >= FINISHED:
                # Only a larger budget gives another opportunity.
                self._wait(lambda: False)
            if self._goes_on([fault]):
                faults.insert(0, self._again(fault.kind))

    @property
    def position(self) -> float:
        """Position that the search has reached."""
        if not (self.folder / "config.yaml").is_file():
            return 0.0
        if self._config is None:
            self._config = load_config_of(self.folder)
        return position(Archive(self.folder), self._config)

    def close(self) -> None:
        """Ends the driver if it is still running."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _goes_on(self, faults: list[Fault]) -> bool:
        """Keeps the search running; returns False once it has ended for good.

        One that has ended is given a larger budget while faults are left, or while members haven't
        reached their horizon because steps were lost.
        """
        status = None if self._process is None else self._process.poll()
        if self._process is None or status == -signal.SIGKILL:
            there = (self.folder / "config.yaml").is_file()
            if not there:
                shutil.rmtree(self.folder, ignore_errors=True)
            self._start(["resume", str(self.folder)] if there else self._begin)
            return True
        if status is None:
            return True
        self._check(status)
        archive, config = Archive(self.folder), load_config_of(self.folder)
        self.first_end = self.first_end or len(archive.snapshots())
        clocks = reached(archive, config.population.members)
        short = sum(max(0, config.horizon - clock) for clock in clocks)
        if not (faults or short) or self.extensions == EXTENSIONS:
            return False
        self.extensions += 1
        batch = int(config.ppo.training["train_batch_size_per_learner"])
        more = max(short, len(clocks) * config.segment_steps) + len(clocks) * batch
        budget = read_manifest(self.folder)["env_steps"]["training"] + more
        self._start(["resume", str(self.folder), f"budget.env_steps={budget}"])
        self._wait(lambda: read_manifest(self.folder).get("status") != "finished")
        self._config = None
        return True

    def _start(self, arguments: list[str]) -> None:
        self.processes += 1
        self._choices = self._chosen()
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

    def _chosen(self) -> int:
        """Returns how many times candidates were chosen."""
        return sum(e["event"] == CANDIDATES for e in Archive(self.folder).events())

    def _again(self, kind: str) -> Fault:
        """Returns a fault that missed, with another moment."""
        here = self.position
        if here < RE_EVALUATION:
            return Fault(kind, self.rng.uniform(here, RE_EVALUATION))
        return Fault(kind, float(min(int(here), SHIFTS)))

    def _wait_for(self, fault: Fault) -> None:
        if fault.after == fault.after:
            self._wait(lambda: time.monotonic() - self._began >= fault.after)
            return
        self._wait(lambda: self._has_come_to(fault.moment))
        until = time.monotonic() + self.rng.uniform(0.0, DELAYS.get(int(fault.moment), 0.3))
        self._wait(lambda: time.monotonic() >= until)

    def _has_come_to(self, moment: float) -> bool:
        # A driver that has just been resumed has not yet reached the position that its folder shows.
        itself = moment < RE_EVALUATION or self._chosen() > self._choices
        return itself and self.position >= moment

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Waits until a condition holds (returns True) or the process is over (returns False)."""
        assert self._process is not None
        last, until = -1.0, 0.0
        while self._process.poll() is None:
            if condition():
                return True
            if self.position != last:
                last, until = self.position, time.monotonic() + PATIENCE
            assert time.monotonic() < until, "the search does not go on"
            time.sleep(0.05)
        return False

    def _driver(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            return False
        self._process.kill()
        return self._process.wait() == -signal.SIGKILL and self.position < FINISHED

    def _worker(self) -> bool:
        assert self._process is not None
        found: list[int] = []
        process = self._process

        def there() -> bool:
            found.extend(_at_work(process))
            return bool(found) or self.position >= FINISHED

        self._wait(there)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(self.rng.choice(sorted(found)), signal.SIGKILL)
            return True
        return False

    def _environment(self) -> bool:
        told = self.place / RAISE
        told.touch()
        self._wait(lambda: not told.exists() or self.position >= FINISHED)
        raised = not told.exists()
        told.unlink(missing_ok=True)
        return raised


def _at_work(process: subprocess.Popen[bytes]) -> list[int]:
    """Lists Ray's worker processes below a driver that train or evaluate."""
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
