"""Rewinding to early parameters."""

import pytest
import torch
from torch import nn

from rllib_ext.pruning.training.rewind import Rewinding


def network() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    return module, torch.optim.Adam(module.parameters(), lr=0.1)


def train(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()


def test_the_first_parameters_at_or_after_the_time_come_back() -> None:
    module, optimizer = network()
    rewinding = Rewinding(at=0.2)
    rewinding.keep(module, 0.1)
    train(module, optimizer)
    kept = {name: p.detach().clone() for name, p in module.named_parameters()}
    rewinding.keep(module, 0.25)
    train(module, optimizer)
    rewinding.keep(module, 0.3)
    train(module, optimizer)
    rewinding.due = True
    rewinding.rewind_(module, [optimizer])
    assert all(torch.equal(kept[name], p) for name, p in module.named_parameters())
    assert not optimizer.state
    assert not rewinding.due


def test_it_can_be_done_again_after_more_training() -> None:
    module, optimizer = network()
    rewinding = Rewinding(at=0.0)
    rewinding.keep(module, 0.0)
    kept = module.weight.detach().clone()
    for _ in range(2):
        train(module, optimizer)
        rewinding.rewind_(module, [optimizer])
        assert torch.equal(module.weight.detach(), kept)


def test_training_after_a_rewind_repeats_itself() -> None:
    module, optimizer = network()
    rewinding = Rewinding(at=0.0)
    rewinding.keep(module, 0.0)
    train(module, optimizer)
    first = module.weight.detach().clone()
    train(module, optimizer)
    rewinding.rewind_(module, [optimizer])
    train(module, optimizer)
    assert torch.equal(module.weight.detach(), first)


@pytest.mark.parametrize("at", [None, 0.9])
def test_nothing_is_kept_before_its_time(at: float | None) -> None:
    module, _ = network()
    rewinding = Rewinding(at)
    rewinding.keep(module, 0.5)
    assert rewinding.state_dict() is None


def test_a_network_that_is_not_rewound_does_not_carry_a_donors_parameters() -> None:
    module, _ = network()
    donor = Rewinding(at=0.0)
    donor.keep(module, 0.0)
    clone = Rewinding(at=None)
    clone.load_state_dict(donor.state_dict())
    assert clone.state_dict() is None
