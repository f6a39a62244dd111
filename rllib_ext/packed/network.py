"""P policy networks of one architecture, computed at once.

All weights lie in one tensor, a row a member. Each member is an ordinary RLlib module whose parameters
are views of its row: what is written to one is written to the other, so that whatever works on a
module – masks, RLlib's states and checkpoints – works on a member.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor, nn

from rllib_ext.packed.architecture import architecture_of
from rllib_ext.packed.layers import apply
from rllib_ext.pruning.errors import ConfigError

Parameters = Mapping[str, Tensor]
# Some members: neighbours as a slice, of which views are taken; others by their numbers, copied.
Rows = Tensor | slice


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where a parameter lies in a member's row.

    Attributes:
        shape: The parameter's shape.
        start: Index of the parameter's first element.
        stop: One after its last element.
    """

    shape: torch.Size
    start: int
    stop: int


class StackedNetwork:
    """P networks in one tensor.

    Args:
        modules: RLlib's own PPO modules, one a member, of equal architecture. They are taken over:
            their parameters become views of the stack.

    Attributes:
        modules: The members as RLlib modules.
        weights: All parameters, of shape (members, parameters of one).
        slots: Where each parameter lies in a row, by the name that RLlib gives it.

    Raises:
        ConfigError: The modules can't be stacked.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.architecture = architecture_of(modules[0])
        self.modules = list(modules)
        shapes = {name: p.shape for name, p in modules[0].named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        stops = list(itertools.accumulate(sizes))
        self.slots = {
            name: Slot(shape, stop - size, stop)
            for (name, shape), size, stop in zip(shapes.items(), sizes, stops, strict=True)
        }
        like = next(modules[0].parameters())
        self.weights = torch.zeros(len(modules), stops[-1], dtype=like.dtype, device=like.device)
        for member, module in enumerate(modules):
            self.adopt(member, module)

    def __len__(self) -> int:
        return len(self.modules)

    def adopt(self, member: int, module: nn.Module) -> None:
        """Makes a module a member in place of the one that was there.

        Args:
            member: Which.
            module: A member's module; the stack takes its weights over, and it becomes a view of
                the stack.

        Raises:
            ConfigError: The module's layers or sizes are others than the members'.
        """
        shapes = {name: p.shape for name, p in module.named_parameters()}
        if shapes != {name: slot.shape for name, slot in self.slots.items()}:
            raise ConfigError(
                f"member {member} cannot be stacked: its network differs. Expected the same layers and "
                "sizes in all."
            )
        for name, parameter in module.named_parameters():
            view = self.part(self.weights[member], name)
            view.copy_(parameter.detach())
            parameter.data = view
        self.modules[member] = module

    def part(self, row: Tensor, name: str) -> Tensor:
        """A view of one parameter in a row that is laid out like a member's weights."""
        slot = self.slots[name]
        return row[slot.start : slot.stop].view(slot.shape)

    def parts(self, rows: Tensor) -> dict[str, Tensor]:
        """Views of all parameters, of shape (rows, *shape), by name."""
        return {
            name: rows[:, slot.start : slot.stop].view(-1, *slot.shape)
            for name, slot in self.slots.items()
        }

    def act(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """The action distributions' inputs.

        Args:
            parameters: Stacked, by name: `parts` of some rows of `weights`.
            observations: A tensor of shape (rows, batch, …), flat or not.

        Returns:
            Logits, or means and log standard deviations, of shape (rows, batch, inputs).
        """
        return self._head(parameters, apply(self.architecture.actor, parameters, observations))

    def value(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Value estimates of shape (rows, batch); arguments as `act`."""
        return self._value(parameters, apply(self.architecture.critic, parameters, observations))

    def act_and_value(self, parameters: Parameters, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Both, with a shared encoder computed once; arguments as `act`."""
        actor = apply(self.architecture.actor, parameters, observations)
        critic = (
            actor
            if self.architecture.shared
            else apply(self.architecture.critic, parameters, observations)
        )
        return self._head(parameters, actor), self._value(parameters, critic)

    def _value(self, parameters: Parameters, features: Tensor) -> Tensor:
        return apply(self.architecture.value_head, parameters, features).squeeze(-1)

    def _head(self, parameters: Parameters, features: Tensor) -> Tensor:
        outputs = apply(self.architecture.policy_head, parameters, features)
        limit = self.architecture.log_std_limit
        if self.architecture.log_std:
            log_std = parameters[self.architecture.log_std].unsqueeze(1).expand_as(outputs)
        elif limit is not None:
            outputs, log_std = outputs.chunk(2, dim=-1)
        else:
            return outputs
        if limit is not None:
            log_std = log_std.clamp(-limit, limit)
        return torch.cat([outputs, log_std], dim=-1)


def rows_of(members: Sequence[int], network: StackedNetwork) -> Rows:
    """Some members of a network, ascending."""
    first, last = members[0], members[-1]
    if last - first + 1 == len(members):
        return slice(first, last + 1)
    return torch.tensor(members, device=network.weights.device)


def build_module(spec: RLModuleSpec, seed: int) -> Any:
    """Builds an RLlib module with RLlib's own initialisation, fixed by the seed.

    RLlib draws from torch's global generator; that is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build()
