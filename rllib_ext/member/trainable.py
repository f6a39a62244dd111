"""Provides the Tune trainable that trains members' segments one after another in a reused process.

Each segment is built from its own description (hyperparameters, seed, the training state it starts
from). A lost one is therefore simply run again, and a member that copies a donor needs only the donor's
folder.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import Trainable

from rllib_ext.base.aside import written_aside
from rllib_ext.checkpoint.warm_start import Initial, start_from, teach_with
from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.export.timing import refuse_untimed
from rllib_ext.member.seen import prove_seen, this_node
from rllib_ext.member.segment import DENSE, Segment
from rllib_ext.member.snapshot import metadata_of, snapshot_of
from rllib_ext.policy.store import parts_of, policy_of, save_policy
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.rl.callback import foreach_learner, hand_over_evaluation, masks_of
from rllib_ext.rl.with_pruning import build_algorithm, with_pruning


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemberSettings:
    """The settings shared by all segments of a search.

    Attributes:
        folder: The results folder, at a path that is the same for every process.
        ppo_config: PPO configuration before hyperparameters and pruning are set.
        evaluation_interval: Iterations between evaluations of a member; a segment's end is always
            evaluated.
        initial: File of the initial state of segments without a training state; empty for fresh weights.
        measured: Names of the objectives measured on the policy at every evaluation
            (`rllib_ext.export.objectives.measured_objectives`).
        timed_form: Form in which the objective "latency" is measured; empty if it isn't measured.
        deadline: Time after which a member's segment ends with its current iteration, in seconds since
            the epoch by the clock of the training process.
        token: Token for checking that a process sees the results folder (`rllib_ext.member.seen`);
            empty to skip the check.
    """

    folder: str
    ppo_config: PPOConfig
    evaluation_interval: int
    initial: str = ""
    measured: tuple[str, ...] = ()
    timed_form: str = ""
    deadline: float = math.inf
    token: str = ""

    def prove_seen(self) -> None:
        """Checks that this process sees the results folder and can measure the requested latencies.

        Raises:
            UnseenFolderError: The process doesn't see the results folder.
            ExportError: The software for timing policies is missing here.
        """
        prove_seen(Path(self.folder), self.token)
        refuse_untimed(self.timed_form)

    def is_over(self, segment: Segment, env_steps: int) -> bool:
        """Whether a segment ends now, because its env steps are done or the deadline has passed.

        Args:
            segment: The segment in training.
            env_steps: The lineage's clock.
        """
        late = segment.member != DENSE and time.time() >= self.deadline
        return late or env_steps >= segment.until_env_steps

    def is_due(self, segment: Segment, iteration: int, *, over: bool) -> bool:
        """Whether the policy is evaluated now; that of a baseline only at the end of its segment.

        Earlier policies of a baseline are not needed, and with an interval of one iteration, evaluation
        takes longer than training.

        Args:
            segment: The segment in training.
            iteration: Number of training iterations of the lineage.
            over: Whether the segment is over, as returned by `is_over`.
        """
        is_member = segment.member > DENSE
        return over or (is_member and iteration % self.evaluation_interval == 0)


class MemberTrainable(Trainable):
    """A trainable for one segment at a time; `reset_config` starts the next one in the same process.

    Each `step` is one training iteration. If the policy was evaluated, it is on disk before the result
    is returned, and the result contains the snapshot as JSON under "snapshot". The node is under "node".
    """

    _clock: int

    def setup(self, config: dict[str, Any], settings: MemberSettings) -> None:
        """Builds the segment that the trial's config describes."""
        torch.set_num_threads(1)
        settings.prove_seen()
        self._settings = settings
        self._evaluator = Evaluator(env_maker(settings.ppo_config))
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts a new segment in this process, which is seconds faster than starting a new process."""
        self._settings.prove_seen()
        self._algorithm.stop()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains for one iteration; evaluates and saves the policy if that is due."""
        before = self._clock
        trained = self._algorithm.train()
        pruning = trained["pruning"]
        self._clock = int(pruning["env_steps"])
        segment_done = self._settings.is_over(self._segment, self._clock)
        result = {
            "member": self._segment.member,
            "segment": self._segment.segment,
            "env_steps": self._clock,
            "env_steps_this_iter": self._clock - before,
            "segment_done": segment_done,
            "node": this_node(),
            "pruning": pruning,
            "env_runners": _numbers(trained.get("env_runners", {})),
            "learners": _numbers(trained.get("learners", {}).get("default_policy", {})),
        }
        iteration = self._algorithm.iteration
        if self._settings.is_due(self._segment, iteration, over=segment_done):
            snapshot = self._evaluate(pruning)
            result["return_mean"] = snapshot["return_mean"]
            result["evaluation_env_steps"] = sum(snapshot["lengths"])
            result["snapshot"] = json.dumps(snapshot)
        return result

    def cleanup(self) -> None:
        """Stops the algorithm and closes the environments."""
        self._algorithm.stop()
        self._evaluator.close()

    def _start(self, config: Mapping[str, Any]) -> None:
        self._segment = Segment.from_dict(config)
        self._algorithm = self._build(self._segment)
        self._clock = 0
        initial = Initial.load(Path(self._settings.initial)) if self._settings.initial else None
        if self._segment.state:
            self._algorithm.restore_from_path(Path(self._settings.folder) / self._segment.state)
            self._clock = _clock_of(self._algorithm)
            if initial is not None:
                teach_with(self._algorithm, initial)
        elif initial is not None:
            start_from(self._algorithm, initial)

    def _build(self, segment: Segment) -> Algorithm:
        ppo = self._settings.ppo_config.copy(copy_frozen=False)
        ppo.training(**segment.training)
        # Otherwise RLlib would repeat the same episode starts after every restore.
        ppo.debugging(seed=segment.seed)
        pruned = with_pruning(ppo, PruningConfig.from_dict(segment.pruning), evaluated_outside=True)
        return build_algorithm(pruned)

    def _evaluate(self, pruning: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluates and saves the current policy; returns the snapshot's values."""
        segment, algorithm = self._segment, self._algorithm
        episodes = self._evaluator.run(policy_of(algorithm), segment.evaluation_seeds)
        hand_over_evaluation(algorithm, episodes.mean)
        finite = all(bool(torch.isfinite(p).all()) for p in algorithm.get_module().parameters())
        snapshot = snapshot_of(
            segment,
            episodes,
            pruning,
            iteration=algorithm.iteration,
            env_steps=self._clock,
            finite=finite,
            objectives=self._objectives(),
        )
        folder = Path(self._settings.folder)
        metadata = metadata_of(snapshot, env_name(self._settings.ppo_config))
        save_policy(algorithm, masks_of(algorithm), folder / snapshot["checkpoint"], metadata)
        save_state(algorithm, folder / snapshot["state"])
        return snapshot

    def _objectives(self) -> dict[str, float]:
        settings, algorithm = self._settings, self._algorithm
        if not settings.measured:
            return {}
        return measured_objectives(
            settings.measured, parts_of(algorithm), masks_of(algorithm), settings.timed_form
        )


def save_state(algorithm: Algorithm, folder: Path) -> None:
    """Writes an algorithm's full training state to a temporary folder, which is then renamed."""
    with written_aside(folder) as aside:
        algorithm.save_to_path(aside)


def _clock_of(algorithm: Algorithm) -> int:
    return int(foreach_learner(algorithm, lambda learner: learner.pruner.env_steps)[0])


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the plain numbers among RLlib's metrics; loggers can't use the others."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) or getattr(value, "ndim", None) == 0
    }
