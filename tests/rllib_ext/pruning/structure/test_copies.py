"""Modules that keep results of their forward pass, copied."""

import copy

import pytest
import torch
from torch import nn

from rllib_ext.pruning.structure.copies import copy_of


class Remembering(nn.Module):
    """Keeps what it computed, as RLlib's models of the old API stack do."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.last = None
        self.history = {"outputs": []}

    def forward(self, x):
        self.last = self.inner(x)
        self.history["outputs"].append(self.last)
        return self.last


def test_a_module_that_keeps_results_is_copied_whole():
    module = nn.Sequential(Remembering())
    x = torch.ones(1, 3)
    before = module(x)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(module)
    twin = copy_of(module)
    assert torch.equal(twin[0].last, before)
    assert twin[0].last is twin[0].history["outputs"][0]
    assert not twin[0].last.requires_grad
    with torch.no_grad():
        twin[0].inner.weight.zero_()
    assert torch.equal(module(x), before)
    # The original's results still lead to its weights.
    module[0].last.sum().backward()
    assert module[0].inner.weight.grad is not None
    assert twin[0].inner.weight.grad is None


def test_shared_parameters_stay_shared():
    layer = nn.Linear(2, 2)
    twin = copy_of(nn.Sequential(layer, layer))
    assert twin[0] is twin[1]
    assert twin[0].weight is not layer.weight
