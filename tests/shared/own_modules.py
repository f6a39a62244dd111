"""Modules that users might write."""

import torch
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns


class Branching(DefaultPPOTorchRLModule):
    """Runs a further layer where its own outputs say so."""

    def setup(self):
        super().setup()
        width = int(self.action_space.n)
        self.second = torch.nn.Linear(width, width, bias=False)

    def _forward(self, batch, **kwargs):
        outputs = super()._forward(batch, **kwargs)
        logits = outputs[Columns.ACTION_DIST_INPUTS]
        if logits.mean() > 0:
            outputs[Columns.ACTION_DIST_INPUTS] = self.second(logits)
        return outputs
