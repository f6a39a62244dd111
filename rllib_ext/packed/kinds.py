"""Chooses the kind of computation that networks are stacked with."""

from __future__ import annotations

from collections.abc import Sequence

from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from torch import nn

from rllib_ext.packed.architecture import architecture_of, refuse_spaces
from rllib_ext.packed.computation import Computation
from rllib_ext.packed.vmappable import vmapped_of
from rllib_ext.packed.written_out import WrittenOut
from rllib_ext.pruning.errors import ConfigError


def computation_of(modules: Sequence[nn.Module]) -> Computation:
    """Written-out layers where they fit, which are the faster; else `torch.func.vmap`.

    Args:
        modules: PPO modules of one architecture; of two, what their buffers hold is compared.

    Raises:
        ConfigError: They can't be stacked either way; the message says why.
    """
    try:
        return WrittenOut(architecture_of(modules[0]))
    except ConfigError:
        if type(modules[0]) is DefaultPPOTorchRLModule:
            # Of other spaces RLlib's own layers make nothing, whoever computes them.
            refuse_spaces(modules[0].observation_space, modules[0].action_space)
        return vmapped_of(modules)
