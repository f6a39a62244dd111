"""Writes each member's run to TensorBoard files, MLflow or W&B, each through its own library."""

from __future__ import annotations

import abc
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

CLOCK = "env_steps"
# Tags by which a resumed search finds its members' MLflow runs again.
SEARCH, MEMBER = "prunefront.search", "prunefront.member"


class MemberRuns(abc.ABC):
    """The runs of one tracker, one per member, opened or found again when a member is first logged.

    Must be used by one thread at a time.
    """

    @abc.abstractmethod
    def start(self) -> None:
        """Connects to the tracker; raises its library's own exceptions if it can't be reached."""

    @abc.abstractmethod
    def log(
        self, member: str, figures: Mapping[str, float], labels: Mapping[str, str], env_steps: int
    ) -> None:
        """Logs the current values of a member.

        Args:
            member: Name of the member.
            figures: Finite numbers by path, such as "pruning/sparsity".
            labels: Labels of the run from now on, by path; may be empty.
            env_steps: The lineage's clock, which decreases when a member copies one that is behind it.
        """

    @abc.abstractmethod
    def end(self) -> None:
        """Closes all runs."""


class TensorBoardRuns(MemberRuns):
    """TensorBoard event files, in one folder per member, each shown as a run.

    Args:
        folder: Folder that contains the members' folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    @override
    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    @override
    def log(
        self, member: str, figures: Mapping[str, float], labels: Mapping[str, str], env_steps: int
    ) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import text

        if member not in self._writers:
            place = self._folder / member
            place.mkdir(parents=True, exist_ok=True)
            # `SummaryWriter` has a thread per member and hangs after that thread meets a full disk.
            self._writers[member] = EventsWriter(str(place / "events"))
        writer = self._writers[member]
        values = [Summary.Value(tag=name, simple_value=x) for name, x in figures.items()]
        for name, label in labels.items():
            values += text(name, label).value
        moment = Event(wall_time=time.time(), step=env_steps, summary=Summary(value=values))
        writer.write_event(moment)
        writer.flush()

    @override
    def end(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


class MLflowRuns(MemberRuns):
    """MLflow runs, one per member, in one experiment.

    Args:
        settings: `tracking_uri`, `registry_uri`, `experiment_name` and `tags`.
        search: Name of the search, unique among all that log to the experiment.
    """

    KEYS = ("tracking_uri", "registry_uri", "experiment_name", "tags")

    def __init__(self, settings: Mapping[str, Any], search: str) -> None:
        self._settings = dict(settings)
        self._search = search
        self._runs: dict[str, str] = {}
        self._client: Any = None
        self._experiment = ""

    @override
    def start(self) -> None:
        # Newer MLflow refuses folders (supported, but no longer extended) unless this is set.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        given = self._settings
        self._client = MlflowClient(given.get("tracking_uri"), given.get("registry_uri"))
        name = given["experiment_name"]
        known = self._client.get_experiment_by_name(name)
        self._experiment = known.experiment_id if known else self._client.create_experiment(name)

    @override
    def log(
        self, member: str, figures: Mapping[str, float], labels: Mapping[str, str], env_steps: int
    ) -> None:
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run(member),
            metrics=[Metric(name, value, now, env_steps) for name, value in figures.items()],
            tags=[RunTag(name, label) for name, label in labels.items()],
        )

    @override
    def end(self) -> None:
        for run in self._runs.values():
            self._client.set_terminated(run)
        self._runs.clear()

    def _run(self, member: str) -> str:
        if member not in self._runs:
            tags = {SEARCH: self._search, MEMBER: member}
            wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
            found = self._client.search_runs([self._experiment], wanted, max_results=1)
            if found:
                self._client.update_run(found[0].info.run_id, status="RUNNING")
            else:
                tags = {**(self._settings.get("tags") or {}), **tags}
                found = [self._client.create_run(self._experiment, tags=tags, run_name=member)]
            self._runs[member] = found[0].info.run_id
        return self._runs[member]


class WandbRuns(MemberRuns):
    """W&B runs, one per member, in one project and in one group per search, over the lineage's clock.

    Args:
        settings: Arguments of `wandb.init`, except those in `OWN`.
        search: Name of the search, with which the ids of its runs begin.
    """

    OWN = ("id", "name", "resume", "reinit", "config")

    def __init__(self, settings: Mapping[str, Any], search: str) -> None:
        self._settings = dict(settings)
        self._search = search
        self._runs: dict[str, Any] = {}

    @override
    def start(self) -> None:
        import wandb

        mode = self._settings.get("mode") or os.environ.get("WANDB_MODE", "online")
        if mode == "online" and not wandb.login(relogin=False, verify=False):
            raise ValueError("no API key: log in with `wandb login`, or set mode: offline.")

    @override
    def log(
        self, member: str, figures: Mapping[str, float], labels: Mapping[str, str], env_steps: int
    ) -> None:
        run = self._run(member)
        if labels:
            run.config.update(dict(labels), allow_val_change=True)
        run.log({**figures, CLOCK: env_steps})

    @override
    def end(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _run(self, member: str) -> Any:
        import wandb

        if member not in self._runs:
            own = {
                "id": f"{self._search}-{member}",
                "name": member,
                "resume": "allow",
                "reinit": "create_new",
            }
            usual = {"group": self._search, "settings": wandb.Settings(silent=True, console="off")}
            run = wandb.init(**{**usual, **self._settings, **own})
            run.define_metric(CLOCK)
            run.define_metric("*", step_metric=CLOCK)
            self._runs[member] = run
        return self._runs[member]
