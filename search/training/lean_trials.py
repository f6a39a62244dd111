"""What Ray Tune writes and keeps of trials, cut down to what anybody asks for."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from typing_extensions import override


class LeanTrials(Callback):
    """Keeps a driver's memory, and Tune's files, from growing with every result.

    Tune writes a trial's configuration – whole segments, here – into each of its results, and reads all
    results of all trials back when the experiment ends; the configuration is in the trial's
    `params.json`. Of a trial that has ended it keeps the last result, six aggregates and the last ten
    values of each of its metrics – RLlib has hundreds – and the text of all that for its own checkpoint.
    Searches have hundreds of trials and look at none again: what counts is in the archive.
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
        """Before Tune's own files are written."""
        result.pop("config", None)

    @override
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """After `Searcher.on_trial_complete`."""
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        # What was written of it for the checkpoint is dropped with it.
        trial.run_metadata.last_result = {}
