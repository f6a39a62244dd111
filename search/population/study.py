"""The Optuna study of a search: it hears of every segment, and proposes hyperparameters.

Journalled in the results folder as `study.log`, which optuna-dashboard opens.
"""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from search.config.parameter import Value
from search.config.settings import MINIMISED, Sampler
from search.config.space import BIRTH, Space, Values
from search.store.lines import append_lines

STUDY_FILE = "study.log"
# The number of what the study does not hear of.
NO_TRIAL = -1


@dataclasses.dataclass(frozen=True)
class Proposal:
    """Hyperparameters that the study knows of.

    Attributes:
        trial_number: The open trial's number.
        values: By path, of the parameters that act.
    """

    trial_number: int
    values: Values


class Journal(JournalFileBackend):
    """Optuna's journal file, synced when its writer says so.

    Optuna syncs every parameter and attribute by itself, ten times a segment, and whatever else the
    driver writes waits for the disk. A killed process loses nothing that was written; what a crash of
    the machine takes from the end was not in the archive yet.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        # Dashboards write notes to it.
        self._writing = JournalFileSymlinkLock(str(path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends logs as `JournalFileBackend` does, but without sync; first cuts off a torn line."""
        self._writing.acquire()
        try:
            append_lines(self._path, logs, sync=False)
        finally:
            self._writing.release()

    def sync(self) -> None:
        """Returns once all that was written is on disk."""
        with self._path.open("rb") as file:
            os.fsync(file.fileno())


class Study:
    """A multi-objective study over a search space.

    It is opened where it is there already.

    Args:
        folder: The results folder; nobody else writes to it.
        name: The study's name.
        space: Search space.
        sampler: Source of proposals: "random" draws, or a sampler that learns from earlier trials: "tpe"
            (Bergstra et al. 2011; Ozaki et al. 2022 for several objectives), "nsga2" (Deb et al. 2002),
            "gp" (Gaussian processes).
        startup_trials: Trials before the sampler takes over from random draws; of "nsga2" the size of
            a generation.
        objectives: Names of a trial's objectives; those in `MINIMISED` are minimised.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        space: Space,
        *,
        sampler: Sampler,
        startup_trials: int,
        objectives: Sequence[str] = ("return", "sparsity"),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _free(folder / STUDY_FILE)
        self._journal = Journal(folder / STUDY_FILE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                study_name=name,
                storage=JournalStorage(self._journal),
                sampler=optuna.samplers.RandomSampler(seed=0),
                directions=["minimize" if name in MINIMISED else "maximize" for name in objectives],
                load_if_exists=True,
            )
            self._study.set_metric_names(list(objectives))
        self._sampler_name = sampler
        self._startup_trials = startup_trials
        self._space = space
        self._open: dict[int, optuna.Trial] = {}

    def propose(
        self,
        seed: int,
        at_least: Mapping[str, float] | None = None,
        donor: Mapping[str, Value] | None = None,
        reach: float | None = None,
        decided: Mapping[str, Value] | None = None,
    ) -> Proposal:
        """Asks the sampler.

        A proposal is clipped to what it can still do before the study hears of it.

        Args:
            seed: Fixes what the sampler draws: equal seeds and trials give equal proposals.
            at_least: Lower bounds of values that can't be undone, such as the sparsity reached.
            donor: Hyperparameters of the lineage; what belongs to it is inherited.
            reach: Largest distance of training hyperparameters from the donor's, as a share of each
                range: further away, much of what was learned is lost before anything is gained. None
                means anywhere.
            decided: Values that are set, whatever is proposed.
        """
        self._study.sampler = self._sampler(seed)
        trial = self._study.ask()
        proposed = self._space.suggest(trial)
        inherited = {path: value for path, value in (donor or {}).items() if path in BIRTH}
        near = self._space.near(proposed, donor or {}, reach) if reach is not None else proposed
        values = self._space.clip({**near, **inherited, **(decided or {})}, at_least)
        if donor is None:
            values = self._space.born(values)
        if all(_same(values.get(path), value) for path, value in proposed.items()):
            return self._opened(trial, values)
        self._study.tell(trial, state=TrialState.FAIL)
        return self.enter(values)

    def enter(self, values: Values) -> Proposal:
        """Opens a trial with given hyperparameters."""
        genetic = self._sampler_name == "nsga2"
        self._study.sampler = self._sampler(0) if genetic else optuna.samplers.RandomSampler(seed=0)
        self._study.enqueue_trial(self._space.for_optuna(values))
        trial = self._study.ask()
        if genetic:
            # NSGA-II counts to its generations only what it has drawn something for.
            _ = trial.relative_params
        self._space.suggest(trial, values)
        # What the segment trains with is `values` to the last bit.
        return self._opened(trial, values)

    def go_on(self, trial_number: int, values: Values) -> Proposal:
        """The trial where it is still open, otherwise a new one with the same hyperparameters."""
        if trial_number in self._open:
            return Proposal(trial_number, values)
        return self.enter(values)

    def describe(self, trial_number: int, **attributes: Value) -> None:
        """Notes on an open trial what dashboards show beside its values; what is there stays.

        Afterwards the trial is on disk: archives may name its number.
        """
        if trial_number == NO_TRIAL:
            return
        trial = self._open[trial_number]
        for key in attributes.keys() - trial.user_attrs.keys():
            trial.set_user_attr(key, attributes[key])
        self._journal.sync()

    def tell(self, trial_number: int, objectives: Sequence[float] | None) -> None:
        """Closes a trial.

        Args:
            trial_number: An open one; `NO_TRIAL`: nothing to close.
            objectives: In the study's order; None, or a NaN: it failed.
        """
        if trial_number == NO_TRIAL:
            return
        trial = self._open.pop(trial_number)
        if objectives is None or not all(math.isfinite(value) for value in objectives):
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(objectives))

    def close(self, but: int = NO_TRIAL) -> None:
        """Marks what is still open as failed: its segments will not come back.

        Args:
            but: Number of a trial that is left to `recover`.
        """
        for number in sorted(self._open.keys() - {but}):
            self.tell(number, None)

    def recover(self, objectives: Mapping[int, Sequence[float]]) -> None:
        """Closes what a killed process left open.

        Args:
            objectives: By number, the objectives of trials that ended well; the others have none.
        """
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for _ in waiting:
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            values = objectives.get(trial.number)
            if values is None:
                self._study.tell(trial.number, state=TrialState.FAIL)
            else:
                self._study.tell(trial.number, list(values))

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            match self._sampler_name:
                case "random":
                    return optuna.samplers.RandomSampler(seed=seed)
                case "nsga2":
                    size = max(2, self._startup_trials)
                    return optuna.samplers.NSGAIISampler(population_size=size, seed=seed)
                case "gp":
                    return optuna.samplers.GPSampler(
                        seed=seed,
                        n_startup_trials=self._startup_trials,
                        deterministic_objective=False,
                    )
                case "tpe":
                    return optuna.samplers.TPESampler(
                        n_startup_trials=self._startup_trials,
                        multivariate=True,
                        group=True,
                        constant_liar=True,
                        seed=seed,
                    )

    def _opened(self, trial: optuna.Trial, values: Values) -> Proposal:
        self._open[trial.number] = trial
        return Proposal(trial.number, values)


def _free(journal: Path) -> None:
    """Frees the lock of a process that died."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)


def _same(a: Value | None, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b
