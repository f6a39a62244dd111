"""Adam of P members: torch's rule, a learning rate and a step count each."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from rllib_ext.packed.network import Rows, StackedNetwork

# torch's defaults, which RLlib's PPO leaves as they are.
BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclasses.dataclass(frozen=True)
class MemberMoments:
    """An `OptimizerLike` view of one member's moments; torch's own Adam would load torch's compiler.

    Attributes:
        state: By parameter, views of the member's rows.
        param_groups: All of its parameters, with its learning rate.
    """

    state: defaultdict[Tensor, Any]
    param_groups: list[dict[str, Any]]


class StackedAdam:
    """Moments of all members, laid out like their weights.

    Args:
        network: Networks whose weights are stepped.

    Attributes:
        first: Running means of gradients, of shape (members, parameters of one).
        second: Running means of squared gradients, of the same shape.
        steps: Steps that each member has taken, of shape (members,).
        members: For each member its rows by parameter, for those who read and write moments, or ask
            whether a weight moves.
    """

    def __init__(self, network: StackedNetwork) -> None:
        self._network = network
        self.first = torch.zeros_like(network.weights)
        self.second = torch.zeros_like(network.weights)
        self.steps = torch.zeros(len(network), device=network.weights.device)
        stacks = network.weights, self.first, self.second, self.steps
        self._rows = list(zip(*(stack.unbind() for stack in stacks), strict=True))
        self.members = [self._view_of(member) for member in range(len(network))]

    def restart_(self, member: int, rate: float) -> None:
        """Forgets a member's moments; called when its module was replaced.

        Args:
            member: Whose.
            rate: The member's learning rate.
        """
        self.members[member] = self._view_of(member, rate)

    def _view_of(self, member: int, rate: float = 0.0) -> MemberMoments:
        parameters = list(self._network.modules[member].parameters())
        moments = MemberMoments(defaultdict(dict), [{"params": parameters, "lr": rate}])
        self._connect_(member, moments)
        return moments

    def reconnect_(self, member: int) -> None:
        """Zeroes moments that somebody removed from the member's state, and puts them back."""
        self._connect_(member, self.members[member])

    def _connect_(self, member: int, moments: MemberMoments) -> None:
        state = moments.state
        for name, parameter in self._network.modules[member].named_parameters():
            if state.get(parameter):
                continue
            first = self._network.part(self.first[member], name)
            second = self._network.part(self.second[member], name)
            # Fresh moments of one parameter are fresh moments of all: the step count is shared.
            self.steps[member] = 0.0
            first.zero_()
            second.zero_()
            state[parameter] = {
                "step": self.steps[member],
                "exp_avg": first,
                "exp_avg_sq": second,
            }

    @torch.no_grad()
    def step_(self, gradients: Tensor, rates: Tensor, rows: Rows) -> None:
        """One step of Kingma & Ba 2015 (arXiv 1412.6980), as torch computes it.

        Args:
            gradients: A tensor of shape (rows, parameters of one).
            rates: Learning rates, of shape (rows,).
            rows: Members that step.
        """
        if gradients.device.type == "cpu":
            self._step_each_(gradients, rates, rows)
        else:
            self._step_all_(gradients, rates, rows)

    def _step_each_(self, gradients: Tensor, rates: Tensor, rows: Rows) -> None:
        """Member by member with torch's fused kernel, which passes over memory once."""
        numbers = range(len(self._network))[rows] if isinstance(rows, slice) else rows.tolist()
        self.steps[rows] += 1.0
        for member, own, rate in zip(numbers, gradients.unbind(), rates.tolist(), strict=True):
            weights, first, second, step = self._rows[member]
            torch._fused_adam_(
                [weights],
                [own],
                [first],
                [second],
                [],
                [step],
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def _step_all_(self, gradients: Tensor, rates: Tensor, rows: Rows) -> None:
        """All members at once, as a GPU likes it."""
        stepped = [self._network.weights, self.first, self.second, self.steps]
        weights, first, second, steps = (values[rows] for values in stepped)
        steps += 1.0
        beta1, beta2 = BETAS
        exact = steps.double()
        size = rates.double() / (1.0 - beta1**exact)
        scale = (1.0 - beta2**exact).sqrt()
        # At rate 0 the floor is infinite, and nothing moves.
        factor = torch.where(size > 0, 1.0 / (size * scale), 0.0).to(weights.dtype).unsqueeze(1)
        floor = (EPSILON / size).to(weights.dtype).unsqueeze(1)
        first.lerp_(gradients, 1.0 - beta1)
        second.mul_(beta2).addcmul_(gradients, gradients, value=1.0 - beta2)
        # The usual first · size / (√second / scale + ε), in as few passes over memory as can be.
        weights.addcdiv_(first, second.sqrt().mul_(factor).add_(floor), value=-1.0)
        if not isinstance(rows, slice):
            for values, new in zip(stepped, (weights, first, second, steps), strict=True):
                values[rows] = new
