"""A decision tree as an RLModule: saved, loaded and evaluated like any policy. It doesn't train."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor
from typing_extensions import override

from rllib_ext.policy.tree import Array, Tree


class TreeModule(TorchRLModule):
    """Acts by a tree that `model_config["tree"]` holds in plain values.

    Of several actions the leaf's gets the only logit that isn't 0; of continuous ones the leaf holds the
    mean, and the deviation is 1.
    """

    tree: Tree

    @override
    def setup(self) -> None:
        super().setup()
        self.tree = Tree.from_dict(self.model_config["tree"])
        self.action_dist_cls = TorchCategorical if self.tree.discrete else TorchDiagGaussian

    def answer(self, observations: Tensor) -> Tensor:
        """The inputs of the action distribution, for observations of shape (steps, inputs)."""
        held: Array = self.tree(observations.numpy())
        if not self.tree.discrete:
            mean = torch.from_numpy(held)
            return torch.cat([mean, torch.zeros_like(mean)], dim=1)
        actions = torch.from_numpy(held[:, 0]).long()
        return torch.nn.functional.one_hot(actions, int(self.action_space.n)).float()

    @override
    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.answer(batch[Columns.OBS])}
