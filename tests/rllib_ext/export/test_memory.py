"""Memories of modules of one's own."""

import numpy as np
import torch
from export_policies import small
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule

from rllib_ext.export import export_policy
from rllib_ext.export.exporting import Options
from rllib_ext.export.opened import untrained


class Remembering(TorchRLModule, ValueFunctionAPI):
    """Knows its last choice, a whole number."""

    def setup(self):
        self.layer, self.value = torch.nn.Linear(5, 2), torch.nn.Linear(4, 1)

    def get_initial_state(self):
        return {"last": np.zeros(1, np.float32)}

    def is_stateful(self):
        return True

    def _forward(self, batch, **kwargs):
        observed, last = batch[Columns.OBS], batch[Columns.STATE_IN]["last"].float()
        repeated = last.unsqueeze(1).expand(-1, observed.shape[1], -1)
        logits = self.layer(torch.cat([observed, repeated], -1))
        return {
            Columns.ACTION_DIST_INPUTS: logits,
            Columns.STATE_OUT: {"last": logits.argmax(-1)[:, -1:]},
        }

    def compute_values(self, batch, embeddings=None):
        return self.value(batch[Columns.OBS]).squeeze(-1)


def test_a_whole_number_is_remembered_in_every_form(tmp_path):
    spec = RLModuleSpec(module_class=Remembering, model_config={"max_seq_len": 4})
    config = small("CartPole-v1", {}).rl_module(rl_module_spec=spec)
    options = Options(episodes=2, observations=40, measure=False)
    contracts = export_policy(untrained(config), {}, config, tmp_path, options)
    assert all(c["verified"]["other_discrete_actions"] == 0 for c in contracts.values())
    assert contracts["onnx"]["state"] == [{"name": "state_last", "shape": [1], "initial": 0.0}]
