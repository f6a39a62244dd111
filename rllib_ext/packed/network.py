"""P policy networks of one architecture, computed at once.

All weights lie in one tensor, a row a member. Each member is an ordinary RLlib module whose parameters
are views of its row: what is written to one is written to the other, so that whatever works on a
module – masks, RLlib's states and checkpoints – works on a member.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor, nn

from rllib_ext.packed.computation import Computation, ForwardPass, Parameters
from rllib_ext.packed.kinds import computation_of
from rllib_ext.packed.scratch import Scratch
from rllib_ext.pruning.errors import ConfigError

# Some members: neighbours as a slice, of which views are taken; others by their numbers, copied.
Rows = Tensor | slice


@dataclasses.dataclass(frozen=True)
class Slot:
    """The position of a parameter in a member's row.

    Attributes:
        shape: The parameter's shape.
        start: Index of the parameter's first element.
        stop: One after its last element.
    """

    shape: torch.Size
    start: int
    stop: int


class StackedNetwork:
    """P stacked networks: one tensor with a row of weights per member.

    Args:
        modules: PPO modules, one a member, of equal architecture. They are taken over: their
            parameters become views of the stack.
        computation: Stacked computation of such modules; None takes that of `computation_of`.

    Attributes:
        modules: The members as RLlib modules.
        computation: Their stacked computation.
        weights: All parameters, of shape (members, parameters of one).
        slots: Position of each parameter in a row, by RLlib's name of it.
        scratch: Memory for intermediate results.

    Raises:
        ConfigError: The modules can't be stacked.
    """

    def __init__(
        self, modules: Sequence[nn.Module], computation: Computation | None = None
    ) -> None:
        self.computation = computation or computation_of(modules)
        self.modules = list(modules)
        shapes = {name: p.shape for name, p in modules[0].named_parameters()}
        sizes = [shape.numel() for shape in shapes.values()]
        stops = list(itertools.accumulate(sizes))
        self.slots = {
            name: Slot(shape, stop - size, stop)
            for (name, shape), size, stop in zip(shapes.items(), sizes, stops, strict=True)
        }
        like = next(modules[0].parameters())
        self.scratch = Scratch()
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

    def act(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """See `Computation.act`; `parameters` are `parts` of some rows of `weights`."""
        return self.computation.act(parameters, observations, scratch)

    def value(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """See `Computation.value`."""
        return self.computation.value(parameters, observations, scratch)

    def forward_pass(self, parameters: Parameters, observations: Tensor) -> ForwardPass:
        """See `Computation.forward_pass`; uses the network's own `scratch`."""
        return self.computation.forward_pass(parameters, observations, self.scratch)


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
