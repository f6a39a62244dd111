"""What a teacher adds to the loss of RLlib's PPO Learner."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

# As which the divergence is reported.
TEACHING_LOSS = "teaching_loss"


class Teacher:
    """A policy that another one of the same network is held to (Rusu et al. 2016, arXiv 1511.06295).

    Args:
        module: The RLModule that is trained.
        weights: The teacher's, by parameter name.
    """

    def __init__(self, module: Any, weights: Mapping[str, Any]) -> None:
        self._module = copy.deepcopy(module)
        self._module.load_state_dict({n: torch.as_tensor(w) for n, w in weights.items()})
        self._module.requires_grad_(False)

    def divergence(self, batch: Mapping[str, Any], outputs: Mapping[str, Tensor]) -> Tensor:
        """Mean KL(teacher ‖ policy) in nats over what counts of a minibatch.

        Args:
            batch: What the policy saw.
            outputs: What it made of it.
        """
        with torch.no_grad():
            # A copy: modules leave things in the batch that they are given.
            taught = self._module.forward_train(dict(batch))[Columns.ACTION_DIST_INPUTS]
        of_inputs = self._module.get_train_action_dist_cls().from_logits
        found: Tensor = of_inputs(taught).kl(of_inputs(outputs[Columns.ACTION_DIST_INPUTS]))
        mask = batch.get(Columns.LOSS_MASK)
        return found.mean() if mask is None else found[mask].sum() / mask.sum()
