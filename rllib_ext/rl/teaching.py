"""The distillation term that a teacher adds to the loss of RLlib's PPO Learner."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

# Name of the metric under which the divergence is reported.
TEACHING_LOSS = "teaching_loss"


class Teacher:
    """A fixed policy that guides another of the same network (Rusu et al. 2016, arXiv 1511.06295).

    Args:
        module: The RLModule that is trained.
        weights: The teacher's weights, by parameter name.
    """

    def __init__(self, module: Any, weights: Mapping[str, Any]) -> None:
        self._module = copy.deepcopy(module)
        self._module.load_state_dict({n: torch.as_tensor(w) for n, w in weights.items()})
        self._module.requires_grad_(False)

    def divergence(self, batch: Mapping[str, Any], outputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the mean KL(teacher ‖ policy) in nats over the valid steps of a minibatch.

        Args:
            batch: Minibatch that the policy was run on.
            outputs: The policy's outputs for it.
        """
        with torch.no_grad():
            # A copy, because modules may write into the batch that they are given.
            taught = self._module.forward_train(dict(batch))[Columns.ACTION_DIST_INPUTS]
        of_inputs = self._module.get_train_action_dist_cls().from_logits
        found: Tensor = of_inputs(taught).kl(of_inputs(outputs[Columns.ACTION_DIST_INPUTS]))
        mask = batch.get(Columns.LOSS_MASK)
        return found.mean() if mask is None else found[mask].sum() / mask.sum()
