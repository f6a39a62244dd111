"""User-defined RLModules for `benchmarks.packed --module`, as large as RLlib's networks there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn


class Same(DefaultPPOTorchRLModule):
    """RLlib's own network under another name, to measure the benefit of packs' hand-written layers."""


class LayerNorms(TorchRLModule, ValueFunctionAPI):
    """An actor and a critic of hidden layers with a layer norm before each tanh; discrete actions."""

    def setup(self) -> None:
        """Builds the layers."""
        hidden = self.model_config["fcnet_hiddens"]
        width = int(self.observation_space.shape[0])
        self.actor = _layers(width, hidden, int(self.action_space.n))
        self.critic = _layers(width, hidden, 1)

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.actor(batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Returns value estimates, of shape (batch,)."""
        values: Tensor = self.critic(batch[Columns.OBS]).squeeze(-1)
        return values


def _layers(width: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.LayerNorm(size), nn.Tanh()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, outputs))
