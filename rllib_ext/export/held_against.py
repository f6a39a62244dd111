"""An export held against the policy in RLlib: observation by observation, then in closed loop."""

from __future__ import annotations

import dataclasses
from typing import Any

from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.contract import return_interval
from rllib_ext.export.errors import MismatchError
from rllib_ext.export.numpy_loader import Policy
from rllib_ext.export.verify import (
    TOLERANCE,
    Recording,
    compare,
    difference_of,
    play,
    require,
    require_chaos,
)
from rllib_ext.policy.store import PolicyParts


@dataclasses.dataclass(frozen=True)
class HeldAgainst:
    """A policy's behaviour in RLlib, as the reference for its exports.

    Attributes:
        parts: The policy's, with all of its weights.
        evaluator: Evaluator in the policy's environment.
        recording: Recorded observations and actions.
        seeds: Seeds of the closed-loop episodes, ≥ 2.
        stochastic: Whether exports draw their actions.
    """

    parts: PolicyParts
    evaluator: Evaluator
    recording: Recording
    seeds: list[int]
    stochastic: bool

    def verified(self, policy: Policy, numbers: Numbers) -> dict[str, Any]:
        """Compares an export with the policy.

        Args:
            policy: The loaded export.
            numbers: Number format of the export; with 8-bit weights differences are reported but not
                refused.

        Returns:
            What `policy.json` says under "verified".

        Raises:
            MismatchError: It does something else than the policy.
        """
        if self.stochastic:
            return self._sampling(policy, numbers)
        recording = self.recording
        agreement = compare(recording, policy, self.parts.module.action_space)
        if not numbers.int8:
            require(recording, policy, agreement)
        closed = play(policy, self.evaluator, self.seeds)
        apart = difference_of(recording.episodes, closed)
        if not numbers.int8 and not apart["equal"]:
            require_chaos(apart, agreement.observations, self._discrete)
        return {
            "observations": agreement.observations,
            "largest_relative_difference": agreement.difference,
            "allowed": None if numbers.int8 else TOLERANCE,
            "other_discrete_actions": agreement.others,
            "ties": agreement.ties,
            "closed_loop": {"seeds": [self.seeds[0], self.seeds[-1]], **apart},
            "return": return_interval(closed),
        }

    @property
    def _discrete(self) -> bool:
        kinds = {array[0].dtype.kind for array in self.recording.actions.values()}
        return "f" not in kinds

    def _sampling(self, policy: Policy, numbers: Numbers) -> dict[str, Any]:
        """Parameters observation by observation, and returns of drawn actions."""
        agreement = compare(self.recording, policy, self.parts.module.action_space)
        only = dataclasses.replace(agreement, others=0)
        parameters = [r for r in policy.description["results"] if r["path"] is None]
        found = self._parameters_only(policy) if parameters else only.difference
        if not numbers.int8 and found > TOLERANCE:
            raise MismatchError(
                f"the distribution's parameters differ by up to {found:.1e} of their largest value; "
                f"allowed: {TOLERANCE:.0e}. Nothing was written."
            )
        drawn = play(policy, self.evaluator, self.seeds)
        like = dataclasses.replace(self.parts, through_connectors=True).policy(stochastic=True)
        expected = self.evaluator.run(like, self.seeds)
        return {
            "observations": agreement.observations,
            "largest_relative_difference": found,
            "allowed": None if numbers.int8 else TOLERANCE,
            "return": return_interval(drawn),
            "return_drawn_in_rllib": return_interval(expected),
        }

    def _parameters_only(self, policy: Policy) -> float:
        kept = [r for r in policy.description["results"] if r["path"] is None]
        parameters = Policy({**policy.description, "results": kept}, policy.run)
        return compare(
            dataclasses.replace(self.recording, actions={}),
            parameters,
            self.parts.module.action_space,
        ).difference
