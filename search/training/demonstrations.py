"""What a policy's network sees and answers in episodes that it, or a student in its place, plays."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.acting import ConnectorPolicy, DirectPolicy
from rllib_ext.pruning.errors import RunError
from search.training.vectors import Array

# Observations that a fit reads, evenly of more.
MOST_ROWS = 20_000
Answer = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """Observations behind all connectors, and a policy's answers.

    Attributes:
        inputs: What the network saw, of shape (steps, inputs).
        outputs: The action distributions' inputs that it gave, of shape (steps, outputs).
        env_steps: Env steps that were played for them.
    """

    inputs: Array
    outputs: Array
    env_steps: int

    def joined(self, other: Demonstration) -> Demonstration:
        """Both."""
        return Demonstration(
            np.concatenate([self.inputs, other.inputs]),
            np.concatenate([self.outputs, other.outputs]),
            self.env_steps + other.env_steps,
        )

    def thinned(self, most: int = MOST_ROWS) -> Demonstration:
        """At most so many of the steps, evenly chosen."""
        if len(self.inputs) <= most:
            return self
        rows = np.linspace(0, len(self.inputs) - 1, most).astype(np.int64)
        return Demonstration(self.inputs[rows], self.outputs[rows], self.env_steps)


def demonstrate(
    teacher: ConnectorPolicy | DirectPolicy,
    evaluator: Evaluator,
    seeds: Sequence[int],
    student: Answer | None = None,
) -> Demonstration:
    """Plays one episode a seed and notes the teacher's answers to all that is seen.

    Args:
        teacher: A saved policy; its connectors lead to the network and from it to the environment,
            whoever answers.
        evaluator: Of its environment.
        seeds: What the environments are reset with.
        student: Answers in the teacher's place, from observations of shape (episodes, inputs) to inputs
            of the action distribution; None: the teacher does.

    Raises:
        RunError: The teacher's network gives actions by itself, not their distribution.
    """
    with _noted(teacher.module, student) as notes:
        episodes = evaluator.run(teacher, seeds)
    inputs, outputs = (torch.cat(part).numpy() for part in zip(*notes, strict=True))
    return Demonstration(inputs, outputs, sum(episodes.lengths))


@contextlib.contextmanager
def _noted(module: Any, student: Answer | None) -> Iterator[list[tuple[Tensor, Tensor]]]:
    forward, notes = module.forward_inference, []

    def noting(batch: dict[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = dict(forward(batch))
        answer = outputs.get(Columns.ACTION_DIST_INPUTS)
        if answer is None or Columns.ACTIONS in outputs:
            raise RunError(
                "the policy's RLModule gives actions by itself, not the inputs of their distribution, "
                "so that no other policy can be fitted to it."
            )
        # Native environments see on in the same memory.
        seen = batch[Columns.OBS].reshape(-1, batch[Columns.OBS].shape[-1]).clone()
        notes.append((seen, answer.reshape(len(seen), -1)))
        if student is not None:
            outputs[Columns.ACTION_DIST_INPUTS] = student(seen).reshape(answer.shape)
        return outputs

    module.forward_inference = noting
    try:
        yield notes
    finally:
        del module.forward_inference
