"""RLlib's own networks of all members at once, layer by layer, with gradients written out."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from typing_extensions import override

from rllib_ext.packed.architecture import Architecture
from rllib_ext.packed.computation import Activity, Computation, ForwardPass, Parameters, mode_of
from rllib_ext.packed.layers import applied, apply
from rllib_ext.packed.scratch import Scratch


class WrittenOut(Computation):
    """Networks of linear layers, convolutions and activations.

    Args:
        architecture: Architecture of each network.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.discrete = architecture.discrete
        layers = (*architecture.actor, *architecture.policy_head)
        found = [getattr(layer, part, "") for layer in layers for part in ("weight", "bias")]
        self.acting = tuple(dict.fromkeys(name for name in found if name))

    @override
    def for_module(self, module: nn.Module) -> WrittenOut:
        return self

    @override
    def act(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        return self._inputs(parameters, self._outputs(parameters, observations, scratch))

    @override
    def most_likely(self, parameters: Parameters, observations: Tensor) -> Tensor:
        outputs = self._outputs(parameters, observations)
        # Half of them are standard deviations, where those aren't parameters of their own.
        return outputs if self.architecture.log_std else mode_of(outputs, discrete=self.discrete)

    @override
    def value(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        features = apply(self.architecture.critic, parameters, observations, scratch)
        return apply(self.architecture.value_head, parameters, features, scratch).squeeze(-1)

    @override
    def forward_pass(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch
    ) -> ForwardPass:
        made = self.architecture
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

        read = {**actor.read, **critic.read, **head.read, **value.read}
        return ForwardPass(
            observations=observations,
            inputs=self._inputs(parameters, head.output),
            values=value.output.squeeze(-1),
            activity=_activity(parameters, read),
            backward=backward,
        )

    def _outputs(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        """Returns the outputs of the policy head."""
        features = apply(self.architecture.actor, parameters, observations, scratch)
        return apply(self.architecture.policy_head, parameters, features, scratch)

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


def _activity(
    parameters: Parameters, read: Mapping[str, Tensor]
) -> dict[str, tuple[Activity, ...]]:
    return {
        name: (functools.partial(_mean_of, inputs, parameters[name].dim() - 1),)
        for name, inputs in read.items()
    }


def _mean_of(inputs: Tensor, dimensions: int, rows: Tensor | slice) -> Tensor:
    """Returns means by unit of inputs of shape (rows, batch, …, units), for the weights' dimensions."""
    means = inputs[rows].abs().flatten(1, -2).mean(1)
    return means.view(len(means), 1, -1, *[1] * (dimensions - 2))
