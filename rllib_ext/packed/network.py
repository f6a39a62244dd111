"""P policy networks of one architecture, computed at once.

All weights lie in one tensor, a row a member. Each member is an ordinary RLlib module whose parameters
are views of its row: what is written to one is written to the other, so that whatever works on a
module – masks, RLlib's states and checkpoints – works on a member.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor, nn

from rllib_ext.packed.architecture import architecture_of
from rllib_ext.packed.layers import applied, apply
from rllib_ext.packed.scratch import Scratch
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """What some members make of a minibatch, and the way back.

    Attributes:
        observations: What they saw, of shape (rows, batch, …).
        inputs: The action distributions' inputs, of shape (rows, batch, inputs).
        values: Value estimates, of shape (rows, batch).
        read: As of `rllib_ext.packed.layers.Applied`.
        backward: From the gradients of `inputs` and `values` to those of the parameters, which are
            written into its third argument, stacked and by name; called once at most.
    """

    observations: Tensor
    inputs: Tensor
    values: Tensor
    read: Mapping[str, Tensor]
    backward: Callable[[Tensor, Tensor, Parameters], None]


class StackedNetwork:
    """P networks in one tensor.

    Args:
        modules: RLlib's own PPO modules, one a member, of equal architecture. They are taken over:
            their parameters become views of the stack.

    Attributes:
        modules: The members as RLlib modules.
        weights: All parameters, of shape (members, parameters of one).
        slots: Where each parameter lies in a row, by the name that RLlib gives it.
        scratch: Where what is computed may lie for a moment.

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
        """The action distributions' inputs.

        Args:
            parameters: Stacked, by name: `parts` of some rows of `weights`.
            observations: A tensor of shape (rows, batch, …), flat or not.
            scratch: Where results may lie until it is used again; None: in fresh memory.

        Returns:
            Logits, or means and log standard deviations, of shape (rows, batch, inputs).
        """
        features = apply(self.architecture.actor, parameters, observations, scratch)
        return self._head(parameters, features, scratch)

    def value(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Value estimates of shape (rows, batch); arguments as `act`."""
        features = apply(self.architecture.critic, parameters, observations, scratch)
        return self._value(parameters, features, scratch)

    def act_and_value(self, parameters: Parameters, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Both, with a shared encoder computed once; arguments as `act`."""
        actor = apply(self.architecture.actor, parameters, observations)
        critic = (
            actor
            if self.architecture.shared
            else apply(self.architecture.critic, parameters, observations)
        )
        return self._head(parameters, actor), self._value(parameters, critic)

    def forward_pass(self, parameters: Parameters, observations: Tensor) -> ForwardPass:
        """Both, so that gradients can be taken, until `scratch` is used again; arguments as `act`."""
        made, scratch = self.architecture, self.scratch
        actor = applied(made.actor, parameters, observations, scratch, first=True)
        critic = (
            actor
            if made.shared
            else applied(made.critic, parameters, observations, scratch, first=True)
        )
        head = applied(made.policy_head, parameters, actor.output, scratch, first=False)
        value = applied(made.value_head, parameters, critic.output, scratch, first=False)

        def backward(of_inputs: Tensor, of_values: Tensor, into: Parameters) -> None:
            of_head = self._head_backward(parameters, head.output, of_inputs, into)
            of_actor = head.backward(of_head, into)
            assert of_actor is not None
            if made.shared:
                # The other head's comes to lie where this one is.
                of_actor = of_actor.clone()
            else:
                actor.backward(of_actor, into)
            of_critic = value.backward(of_values.unsqueeze(-1), into)
            assert of_critic is not None
            if made.shared:
                actor.backward(of_actor.add_(of_critic), into)
            else:
                critic.backward(of_critic, into)

        return ForwardPass(
            observations=observations,
            inputs=self._inputs(parameters, head.output),
            values=value.output.squeeze(-1),
            read={**actor.read, **critic.read, **head.read, **value.read},
            backward=backward,
        )

    def _head_backward(
        self, parameters: Parameters, outputs: Tensor, gradient: Tensor, into: Parameters
    ) -> Tensor:
        """The gradient of the policy head's outputs; that of free log standard deviations is written."""
        limit, name = self.architecture.log_std_limit, self.architecture.log_std
        if not name and limit is None:
            return gradient
        of_mean, of_log_std = gradient.chunk(2, dim=-1)
        log_std = parameters[name].unsqueeze(1) if name else outputs.chunk(2, dim=-1)[1]
        if limit is not None:
            # Where it is clipped, it doesn't move.
            of_log_std = of_log_std * (log_std.abs() <= limit)
        if name:
            into[name].copy_(of_log_std.sum(1))
            return of_mean
        return torch.cat([of_mean, of_log_std], dim=-1)

    def _value(
        self, parameters: Parameters, features: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        return apply(self.architecture.value_head, parameters, features, scratch).squeeze(-1)

    def _head(
        self, parameters: Parameters, features: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        outputs = apply(self.architecture.policy_head, parameters, features, scratch)
        return self._inputs(parameters, outputs)

    def _inputs(self, parameters: Parameters, outputs: Tensor) -> Tensor:
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
