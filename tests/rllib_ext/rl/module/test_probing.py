"""Example batches of training, as RLlib's learner would give them."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.probing import example_batch, prepared, probe_of

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
MIXED = gym.spaces.Tuple([gym.spaces.Discrete(4), gym.spaces.Box(-1.0, 1.0, (2,), np.float32)])


class LookingBack(DefaultPPOTorchRLModule):
    """Computes in training how likely the batch's actions are, as RLlib's ModelV2ToRLModule does."""

    def _forward_train(self, batch, **kwargs):
        outputs = super()._forward_train(batch, **kwargs)
        distribution = self.get_train_action_dist_cls().from_logits(
            outputs[Columns.ACTION_DIST_INPUTS]
        )
        outputs[Columns.ACTION_LOGP] = distribution.logp(batch[Columns.ACTIONS])
        return outputs


def build(module_class, actions, **model):
    torch.manual_seed(0)
    sizes = {"fcnet_hiddens": [6, 6], "vf_share_layers": False, **model}
    spec = RLModuleSpec(
        module_class=module_class,
        observation_space=BOX,
        action_space=actions,
        model_config=DefaultModelConfig(**sizes),
    )
    return spec.build()


@pytest.mark.parametrize("actions", [gym.spaces.Discrete(4), MIXED], ids=str)
def test_a_module_that_reads_the_batchs_actions_is_understood(actions):
    looking, usual = build(LookingBack, actions), build(DefaultPPOTorchRLModule, actions)
    assert critic_names(looking) == critic_names(usual) != []
    names = {name for name, parameter in looking.named_parameters() if parameter.dim() > 1}
    found = [build_structure(trace(m, probe_of(m)), "neuron", names) for m in (looking, usual)]
    assert found[0].names == found[1].names
    assert len(found[0]) == 24


@pytest.mark.parametrize(("model", "lead"), [({}, (2,)), ({"use_lstm": True}, (2, 3))], ids=str)
def test_there_is_an_action_for_every_observation(model, lead):
    module = build(DefaultPPOTorchRLModule, MIXED, **model)
    batch = example_batch(module, torch.Generator().manual_seed(0), steps=3)
    choice, amount = prepared(module, batch)[Columns.ACTIONS]
    assert (choice.shape, amount.shape) == (lead, (*lead, 2))
    assert all(0 <= int(c) < 4 for c in choice.flatten())
