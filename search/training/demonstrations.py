"""Records a policy's inputs and answers in episodes that it, or a student in its place, plays."""

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

# Maximum number of observations used in a fit; of more, evenly spaced ones are used.
MOST_ROWS = 20_000
Answer = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """Observations after all connectors, and a policy's answers to them.

    Attributes:
        inputs: Observations that the network saw, shape (steps, inputs).
        outputs: The network's outputs, the inputs of the action distribution, shape (steps, outputs).
        env_steps: Number of env steps played to collect them.
    """

    inputs: Array
    outputs: Array
    env_steps: int

    def joined(self, other: Demonstration) -> Demonstration:
        """Returns the concatenation of both demonstrations."""
        return Demonstration(
            np.concatenate([self.inputs, other.inputs]),
            np.concatenate([self.outputs, other.outputs]),
            self.env_steps + other.env_steps,
        )

    def thinned(self, most: int = MOST_ROWS) -> Demonstration:
        """Returns at most `most` of the steps, evenly spaced."""
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
    """Plays one episode per seed and records the teacher's answers to all observations.

    Args:
        teacher: A saved policy. Its connectors are used even if a student answers.
        evaluator: Evaluator of the teacher's environment.
        seeds: Seeds with which the environments are reset.
        student: Function that answers in the teacher's place, from observations of shape (episodes,
            inputs) to inputs of the action distribution; None if the teacher itself answers.

    Raises:
        RunError: The teacher's network returns actions instead of the inputs of their distribution.
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
        # Native environments reuse the memory of their observations.
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
