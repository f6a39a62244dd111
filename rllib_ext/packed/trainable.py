"""The trainable that Tune runs: trains a pack's segments together, one per member, in a reused process.

A trial is a list of segments. Like a single one, each is built from its own description, so that what is
left of a lost pack is simply run again, and a member that copies a donor needs nothing but the donor's
folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.tune import Trainable

from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.envs.env_maker import env_name
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.member.seen import this_node
from rllib_ext.member.segment import MEMBERS, Segment, iteration_of, segments_of
from rllib_ext.member.snapshot import metadata_of, snapshot_of
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.state import MemberState
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import CheckpointError


class PackTrainable(Trainable):
    """Trains several segments at a time; `reset_config` starts the next ones in the same process.

    Each `step` is one training iteration of all members whose segment isn't over. The result carries
    the members' results as JSON under "members": of each "member", "segment", "iteration", "env_steps",
    "env_steps_this_iter", "segment_done", "failure" ("" while it is whole), "pruning", "env_runners",
    "learners" and, when the policy was evaluated, "evaluation_env_steps" and "snapshot". A policy is on
    disk before the result that speaks of it; "node" says where. A member whose training state can't be
    used fails in the first `step`, by itself; its "pruning", "env_runners" and "learners" are empty.
    """

    def setup(self, config: dict[str, Any], settings: MemberSettings) -> None:
        """Starts the segments that the trial's config lists."""
        torch.set_num_threads(1)
        settings.prove_seen()
        self._settings = settings
        self._folder = Path(settings.folder)
        self._initial = Initial.load(Path(settings.initial)) if settings.initial else None
        self._pack: Pack | None = None
        # By place, why its segment could not be started.
        self._stuck: dict[int, str] = {}
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Replaces the segments: seconds faster than a new process."""
        self._settings.prove_seen()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains all for one iteration; evaluates and saves where it is due."""
        pack = self._pack
        assert pack is not None
        stuck = self._stuck
        trained = {place: self._untrained(pack, place, error) for place, error in stuck.items()}
        if self._left - stuck.keys():
            trained |= pack.train()
        self._stuck = {}
        results = {place: self._result(place, trained[place]) for place in sorted(trained)}
        due = [place for place, result in results.items() if self._is_due(place, result)]
        evaluated = pack.evaluate({p: self._segments[p].evaluation_seeds for p in due})
        for place, episodes in evaluated.items():
            result = results[place]
            pack.observe(place, episodes.mean)
            snapshot = snapshot_of(
                self._segments[place],
                episodes,
                result["pruning"],
                iteration=result["iteration"],
                env_steps=result["env_steps"],
                finite=True,
                objectives=self._objectives(pack, place),
            )
            self._save(pack, place, snapshot)
            result["evaluation_env_steps"] = sum(episodes.lengths)
            result["snapshot"] = snapshot
        for place, result in results.items():
            if result["segment_done"]:
                pack.stop(place)
                self._left.discard(place)
        return {
            **_summary(results.values()),
            "segment_done": not self._left,
            "node": this_node(),
        }

    def cleanup(self) -> None:
        """Closes the environments."""
        if self._pack is not None:
            self._pack.close()

    def _start(self, config: Mapping[str, Any]) -> None:
        self._segments = segments_of(config)
        self._left = set(range(len(self._segments)))
        self._stuck = {}
        if self._pack is None or len(self._pack.members) != len(self._segments):
            self.cleanup()
            self._pack = Pack(self._settings.ppo_config, len(self._segments))
        for place, segment in enumerate(self._segments):
            try:
                self._begin(self._pack, place, segment)
            except CheckpointError as error:
                # One member's misfortune. It may be half begun, and must not be trained so.
                self._pack.stop(place)
                self._stuck[place] = str(error)

    def _begin(self, pack: Pack, place: int, segment: Segment) -> None:
        pack.start(
            place,
            training=segment.training,
            pruning=PruningConfig.from_dict(segment.pruning),
            seed=segment.seed,
            state=MemberState.load(self._folder / segment.state) if segment.state else None,
            initial=self._initial,
        )

    def _untrained(self, pack: Pack, place: int, failure: str) -> dict[str, Any]:
        """Returns metrics as `Pack.train` does, for a member still at the start of its segment."""
        iteration = iteration_of(self._segments[place].parent)
        return {
            # Who books a failure counts from the start: anything else would be spent, or won.
            "env_steps": iteration * pack.steps,
            "iteration": iteration,
            "env_steps_this_iter": 0,
            "evaluation_env_steps": 0,
            "pruning": {},
            "env_runners": {},
            "learners": {},
            "failure": failure,
        }

    def _result(self, place: int, trained: Mapping[str, Any]) -> dict[str, Any]:
        segment = self._segments[place]
        over = self._settings.is_over(segment, trained["env_steps"])
        return {
            **trained,
            "member": segment.member,
            "segment": segment.segment,
            "segment_done": over or bool(trained["failure"]),
        }

    def _is_due(self, place: int, result: Mapping[str, Any]) -> bool:
        if result["failure"]:
            return False
        segment, over = self._segments[place], bool(result["segment_done"])
        return self._settings.is_due(segment, result["iteration"], over=over)

    def _objectives(self, pack: Pack, place: int) -> dict[str, float]:
        settings = self._settings
        if not settings.measured:
            return {}
        # The policy is on the CPU, wherever the pack learns.
        masks = {name: mask.cpu() for name, mask in pack.pruning.pruner(place).masks.items()}
        return measured_objectives(
            settings.measured, pack.policy(place), masks, settings.timed_form
        )

    def _save(self, pack: Pack, place: int, snapshot: Mapping[str, Any]) -> None:
        metadata = metadata_of(snapshot, env_name(self._settings.ppo_config))
        pack.save_policy(place, self._folder / snapshot["checkpoint"], metadata)
        pack.state(place).save(self._folder / snapshot["state"])


def _summary(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The members' results, and means of them for whoever watches the trial."""
    listed = list(results)
    returns = [r["snapshot"]["return_mean"] for r in listed if "snapshot" in r]
    # Those that could not be started have none.
    sparsities = [r["pruning"]["sparsity"] for r in listed if r["pruning"]]
    return {
        MEMBERS: json.dumps(listed),
        "env_steps": max(r["env_steps"] for r in listed),
        "env_steps_this_iter": sum(r["env_steps_this_iter"] for r in listed),
        "return_mean": float(np.mean(returns)) if returns else math.nan,
        "sparsity": float(np.mean(sparsities)) if sparsities else math.nan,
    }
