"""Networks of all members at once: one member's module under `torch.func.vmap`.

Any module without memory can be computed so that `rllib_ext.packed.vmappable` lets pass: its own code
runs once, on tensors that hold all members. Gradients are autograd's, through that one run; no member's
loss depends on another's weights, so that the gradient of their sum is each member's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor, nn
from torch.func import functional_call, vmap
from typing_extensions import override

from rllib_ext.packed.computation import Activity, Computation, ForwardPass, Parameters, mode_of
from rllib_ext.packed.observations import unraveled
from rllib_ext.packed.replayed import Replayed
from rllib_ext.packed.replayed_pass import ReplayedPass
from rllib_ext.packed.scratch import Scratch
from rllib_ext.pruning.structure.copies import copy_of
from rllib_ext.pruning.training.activations import read_by

# Of these, what a weight is multiplied with is what the layer is called with.
_READ = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_OWNER = "rl_module."


class Calls(nn.Module):
    """A PPO module that takes rows of numbers and gives tensors.

    Args:
        rl_module: The module; used as it is.
        primed: Whether training calls want `compute_values` to have seen their batch before, as RLlib's
            learner connector lets it.
    """

    def __init__(self, rl_module: nn.Module, *, primed: bool = False) -> None:
        super().__init__()
        self.rl_module: Any = rl_module
        self._primed = primed

    def forward(self, call: str, observations: Tensor) -> Any:
        """One of the calls below, by its name.

        Args:
            call: The name.
            observations: A tensor of shape (batch, features).
        """
        return getattr(self, call)(self._batch(observations))

    def explore(self, batch: dict[str, Any]) -> Tensor:
        """Returns the inputs of the distribution that actions are drawn from."""
        outputs = self.rl_module._forward_exploration(batch)
        found: Tensor = outputs[Columns.ACTION_DIST_INPUTS]
        return found

    def infer(self, batch: dict[str, Any]) -> Tensor:
        """Returns the inputs of the distribution that deterministic actions are taken from."""
        outputs = self.rl_module._forward_inference(batch)
        found: Tensor = outputs[Columns.ACTION_DIST_INPUTS]
        return found

    def value(self, batch: dict[str, Any]) -> Tensor:
        """Value estimates."""
        found: Tensor = self.rl_module.compute_values(batch)
        return found

    def train_on(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Returns the inputs of the loss: those of the distributions, and the values."""
        if self._primed:
            with torch.no_grad():
                self.rl_module.compute_values(batch)
        outputs = self.rl_module._forward_train(batch)
        values = self.rl_module.compute_values(batch, embeddings=outputs.get(Columns.EMBEDDINGS))
        return outputs[Columns.ACTION_DIST_INPUTS], values

    def _batch(self, observations: Tensor) -> dict[str, Any]:
        return {Columns.OBS: unraveled(self.rl_module.observation_space, observations)}


class Vmapped(Computation):
    """Networks of one module's architecture.

    Args:
        module: One of them; copied.
        primed: Whether `compute_values` must be called first, as for `Calls`.
        discrete: Whether actions are integers from 0 on.
    """

    def __init__(self, module: nn.Module, *, primed: bool, discrete: bool) -> None:
        self.discrete = discrete
        self._primed = primed
        self.acting = tuple(name for name, _ in module.named_parameters())
        self._trained = tuple(n for n, p in module.named_parameters() if p.requires_grad)
        # As RLlib's EnvRunners have it, and as its Learners have it.
        self._acts = Calls(copy_of(module).eval())
        self._learns = Calls(copy_of(module).train(), primed=primed)
        self._reading = _Reading(self._learns)
        names = self.acting
        self._explore = Replayed(together(self._acts, "explore"), names)
        self._infer = Replayed(together(self._acts, "infer"), names)
        self._value = Replayed(together(self._learns, "value"), names)
        self._pass = ReplayedPass(vmap(self._train_on), names, self._trained)

    @override
    def for_module(self, module: nn.Module) -> Vmapped:
        return Vmapped(module, primed=self._primed, discrete=self.discrete)

    @override
    def act(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        return self._explore(parameters, observations.flatten(2))

    @override
    def most_likely(self, parameters: Parameters, observations: Tensor) -> Tensor:
        return mode_of(self._infer(parameters, observations.flatten(2)), discrete=self.discrete)

    @override
    def value(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch | None = None
    ) -> Tensor:
        return self._value(parameters, observations.flatten(2))

    @override
    def forward_pass(
        self, parameters: Parameters, observations: Tensor, scratch: Scratch
    ) -> ForwardPass:
        passed = self._pass(parameters, observations.flatten(2))

        def backward(of_inputs: Tensor, of_values: Tensor, into: Parameters) -> None:
            found = dict(zip(self._trained, passed.backward(of_inputs, of_values), strict=True))
            for name, gradient in into.items():
                own = found.get(name)
                # What isn't trained, or reaches no output.
                gradient.zero_() if own is None else gradient.copy_(own)

        return ForwardPass(
            observations=observations,
            inputs=passed.inputs,
            values=passed.values,
            activity=self._reading.activity(passed.read),
            backward=backward,
        )

    def _train_on(
        self, parameters: Parameters, observations: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, list[Tensor]]]:
        with self._reading as read:
            inputs, values = _call(self._learns, "train_on", parameters, observations)
        return inputs, values, read


class _Reading:
    """Notes what the layers of a module read, while it is entered.

    Args:
        calls: The module.
    """

    def __init__(self, calls: Calls) -> None:
        self._noted: dict[str, list[Tensor]] | None = None
        self._layers: dict[str, nn.Module] = {}
        module: nn.Module = calls.rl_module
        named = dict(module.named_parameters())
        for path, layer in module.named_modules():
            name = f"{path}.weight"
            if isinstance(layer, _READ) and name in named:
                self._layers[name] = layer
                layer.register_forward_pre_hook(functools.partial(self._note, name))

    def __enter__(self) -> dict[str, list[Tensor]]:
        self._noted = {}
        return self._noted

    def __exit__(self, *_: object) -> None:
        self._noted = None

    def activity(self, read: Mapping[str, Sequence[Tensor]]) -> dict[str, list[Activity]]:
        """See `ForwardPass`; from a recording of many members."""
        return {
            name: [functools.partial(_mean_of, self._layers[name], use.detach()) for use in uses]
            for name, uses in read.items()
        }

    def _note(self, name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._noted is not None:
            self._noted.setdefault(name, []).append(inputs[0])


def _mean_of(layer: nn.Module, inputs: Tensor, rows: Tensor | slice) -> Tensor:
    found: Tensor = vmap(lambda own: read_by(layer, "weight", (own,), None))(inputs[rows])
    return found


def together(calls: Calls, call: str) -> Callable[[Parameters, Tensor], Any]:
    """One of a module's calls, for many members at once.

    Args:
        calls: The module; its own parameters aren't read.
        call: The call's name.

    Returns:
        From stacked parameters, by their names in the RLModule, and observations of shape (members,
        batch, features) to what the call gives, stacked.
    """
    found: Callable[[Parameters, Tensor], Any] = vmap(functools.partial(_call, calls, call))
    return found


def _call(calls: Calls, call: str, parameters: Parameters, observations: Tensor) -> Any:
    own = {_OWNER + name: value for name, value in parameters.items()}
    return functional_call(calls, own, (call, observations))
