"""Cuts down what Ray Tune writes to disk and keeps in memory for each trial."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from typing_extensions import override


class LeanTrials(Callback):
    """A Tune callback that keeps the driver's memory and Tune's files from growing with every result.

    Tune writes a trial's configuration, here whole segments, into each of its results, and reads all
    results of all trials back when the experiment ends. The configuration is also in the trial's
    `params.json`. Of a trial that has ended, Tune keeps the last result, six aggregates and the last ten
    values of each metric (RLlib has hundreds), and the text of all that for its own checkpoint. A search
    has hundreds of trials and reads none of them again, because everything it needs is in the archive.
    """

    @override
    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Removes the configuration before Tune writes its own files."""
        result.pop("config", None)

    @override
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Drops the trial's metrics; called after `Searcher.on_trial_complete`."""
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        # Assigning it also drops the text that Tune keeps for its checkpoint.
        trial.run_metadata.last_result = {}
