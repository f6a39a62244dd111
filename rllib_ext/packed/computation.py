"""The interface of a pack's stacked networks, independent of how they are computed.

Two kinds answer it: layers written out for the members together (`rllib_ext.packed.written_out`), for
RLlib's own networks, and a member's module under `torch.func.vmap` (`rllib_ext.packed.vmapped`), for any
other one without memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from rllib_ext.packed.scratch import Scratch
from rllib_ext.pruning.errors import ConfigError

# Stacked, by name: of shape (rows, *shape).
Parameters = Mapping[str, Tensor]
# From some rows of a minibatch, as of `rllib_ext.packed.network.Rows`, to the mean |activation| of what
# one use of a weight read: a tensor of shape (rows, …) that broadcasts to the rows' weights.
Activity = Callable[[Tensor | slice], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """The forward pass of some members on a minibatch, with its backward pass.

    Attributes:
        observations: Observations of shape (rows, batch, …).
        inputs: The action distributions' inputs, of shape (rows, batch, inputs).
        values: Value estimates, of shape (rows, batch).
        activity: By the name of each weight, one for each time that the network used it.
        backward: From the gradients of `inputs` and `values` to those of the parameters, which are
            written into its third argument, stacked and by name; called once at most.
    """

    observations: Tensor
    inputs: Tensor
    values: Tensor
    activity: Mapping[str, Sequence[Activity]]
    backward: Callable[[Tensor, Tensor, Parameters], None]


class Computation(Protocol):
    """Computes networks of one architecture, each row's observations with its own weights.

    Observations are of shape (rows, batch, …), flat or in the shape of their space, and in the
    parameters' number format.

    Attributes:
        discrete: Whether actions are integers from 0 on; otherwise means and log standard deviations
            come out.
        acting: Names of the parameters that `most_likely` reads.
    """

    discrete: bool
    acting: tuple[str, ...]

    def for_module(self, module: nn.Module) -> Computation:
        """The same for modules of this architecture elsewhere, or in another number format."""
        ...

    def act(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Returns the inputs of the distributions that actions are drawn from.

        Args:
            parameters: Parameters of the rows.
            observations: Observations of the rows.
            scratch: Memory for results, valid until it is used again; None allocates fresh memory.

        Returns:
            Logits, or means and log standard deviations, of shape (rows, batch, inputs).
        """
        ...

    def most_likely(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Deterministic actions, of shape (rows, batch) or (rows, batch, …); arguments as `act`."""
        ...

    def value(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Value estimates of shape (rows, batch); arguments as `act`."""
        ...

    def forward_pass(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch
    ) -> ForwardPass:
        """Returns a forward pass whose gradients can be taken until `scratch` is used again."""
        ...


def mode_of(inputs: Tensor, *, discrete: bool) -> Tensor:
    """The most likely actions of distributions with some inputs: the largest logits, or the means."""
    return inputs.argmax(dim=-1) if discrete else inputs.chunk(2, dim=-1)[0]


def refusal(given: str, expected: str) -> ConfigError:
    """Returns the error that members can't be stacked.

    Args:
        given: Description of what the policy has.
        expected: Description of what is supported.
    """
    return ConfigError(
        f"members cannot be stacked: the policy has {given}; expected {expected}. Train it with the "
        "rllib engine."
    )
