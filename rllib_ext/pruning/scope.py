"""Selects the parameters that may be pruned, and divides a target between layers."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch

from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError

logger = logging.getLogger(__name__)

# Parameter names that a message shows.
_SHOWN = 8

# Parameters of these layers are understood; those of any other layer are left alone.
PRUNABLE_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.LSTM,
    nn.GRU,
    nn.RNN,
)


@dataclasses.dataclass(frozen=True)
class PrunableWeights:
    """The weight matrices of a policy network.

    Attributes:
        policy: Weights on the deployed path (actor encoder, policy head) by parameter name.
        critic: Weights that only the critic uses.
    """

    policy: dict[str, nn.Parameter]
    critic: dict[str, nn.Parameter]


def prunable_weights(
    module: nn.Module, critic_prefixes: Iterable[str] = (), exclude: Iterable[str] = ()
) -> PrunableWeights:
    """Finds the weight matrices of a network; biases and free log-stds are never prunable.

    Args:
        module: The network.
        critic_prefixes: Names of submodules or parameters used only by the critic, such as "vf".
        exclude: Shell patterns over parameter names; what matches stays dense.

    Returns:
        Weights of two or more dimensions by their name in `module.named_parameters()`, in that order.

    Raises:
        ConfigError: A pattern matches no parameter.
    """
    parts = tuple(critic_prefixes)
    patterns = tuple(exclude)
    _refuse_unmatched(patterns, module)
    policy: dict[str, nn.Parameter] = {}
    critic: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for layer_name, layer in module.named_modules():
        if not isinstance(layer, PRUNABLE_LAYERS):
            continue
        for parameter_name, parameter in layer.named_parameters(recurse=False):
            name = f"{layer_name}.{parameter_name}" if layer_name else parameter_name
            excluded = any(fnmatch(name, pattern) for pattern in patterns)
            if parameter.dim() < 2 or id(parameter) in seen or excluded:
                continue
            seen.add(id(parameter))
            (critic if lies_in(name, parts) else policy)[name] = parameter
    return PrunableWeights(policy, critic)


def lies_in(name: str, parts: Iterable[str]) -> bool:
    """Whether a parameter or submodule is one of some parts of a module or lies in one, by its name."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def refuse_nothing_to_prune(config: PruningConfig, weights: PrunableWeights) -> None:
    """Refuses a configuration that asks for sparsity where there is no weight that could go.

    Raises:
        ConfigError: The policy path has no prunable weights, or the critic has a target and none.
    """
    if not weights.policy:
        raise ConfigError(
            "the policy network has no prunable weights: expected linear, convolutional or recurrent "
            f"torch layers that exclude = {list(config.exclude)} leaves over. Exclude fewer layers, or "
            "build the network from torch's own."
        )
    if config.critic_final_sparsity > 0 and not weights.critic:
        raise ConfigError(
            f"critic_final_sparsity = {config.critic_final_sparsity} asks for a target of the critic's "
            f"own, but exclude = {list(config.exclude)} leaves no prunable weights over that belong to "
            "the critic alone. Set critic_final_sparsity=0, exclude fewer layers, or give the critic "
            "layers that no action is computed with."
        )


def _refuse_unmatched(patterns: Iterable[str], module: nn.Module) -> None:
    named = dict(module.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in named):
            weights = [name for name, parameter in named.items() if parameter.dim() > 1]
            shown = ", ".join(weights[:_SHOWN]) + (", …" if len(weights) > _SHOWN else "")
            raise ConfigError(
                f"pruning: exclude = {list(patterns)}: {pattern!r} matches no parameter of the "
                f"network; expected shell patterns over names such as {shown}. Correct it, or leave it "
                "out."
            )


def warn_of_unknown_layers(module: nn.Module) -> None:
    """Names, in one warning, the layers whose weights are left alone because they are not understood."""
    unknown = [
        f"{name} ({type(layer).__name__})"
        for name, layer in module.named_modules()
        if not isinstance(layer, PRUNABLE_LAYERS)
        and any(parameter.dim() > 1 for parameter in layer.parameters(recurse=False))
    ]
    if unknown:
        logger.warning("pruning leaves alone what it does not understand: %s", ", ".join(unknown))


def pruned_by_layer(
    scope: str, total: int, shapes: Sequence[Sequence[int]], floors: Sequence[int]
) -> list[int]:
    """Shares a number of pruned weights over layers.

    Args:
        scope: "layerwise": each layer loses the same share. "erk": a layer keeps in proportion to the
            sum of its dimensions, so that small layers stay denser. The densities are those of
            Evci et al. 2020 (RigL, arXiv 1911.11134, "Erdős–Rényi-Kernel"): (n_in + n_out + w + h) ÷
            (n_in · n_out · w · h), scaled to the total; layers that would exceed 1 stay dense. A
            recurrent layer's weights count as the matrices they are stored as.
        total: Weights to prune over all layers, in [0, number of weights].
        shapes: Shape of each layer's weights.
        floors: Weights of each layer that are pruned already.

    Returns:
        Counts by layer that add up to max(total, sum(floors)); none below its floor.
    """
    sizes = [math.prod(shape) for shape in shapes]
    if scope == "layerwise":
        return share_out(total, sizes, floors)
    caps = [size - floor for size, floor in zip(sizes, floors, strict=True)]
    kept = share_capped(sum(sizes) - max(total, sum(floors)), [sum(s) for s in shapes], caps)
    return [size - k for size, k in zip(sizes, kept, strict=True)]


def share_out(total: int, sizes: Sequence[int], floors: Sequence[int]) -> list[int]:
    """Shares a number of pruned weights over layers in proportion to their sizes.

    Largest remainder, ties by index; no layer gets less than its floor or more than its size.

    Args:
        total: Weights to prune over all layers, in [0, sum(sizes)].
        sizes: Weights of each layer.
        floors: Weights of each layer that are pruned already.

    Returns:
        Counts by layer that add up to max(total, sum(floors)).
    """
    caps = [size - floor for size, floor in zip(sizes, floors, strict=True)]
    # Weights are kept from the last layer on, so that ties are pruned from the first.
    kept = share_capped(sum(sizes) - max(total, sum(floors)), sizes[::-1], caps[::-1])[::-1]
    return [size - k for size, k in zip(sizes, kept, strict=True)]


def share_capped(total: int, claims: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Shares a number in proportion to claims, none above its cap.

    What a capped one cannot take goes to the others, in proportion again. Largest remainder, ties by
    index.

    Args:
        total: Number to divide, in [0, sum(caps)].
        claims: Share of each, ≥ 0; above 0 where the cap is.
        caps: The most that each can take, ≥ 0.

    Returns:
        Counts that add up to `total`.
    """
    counts = list(caps)
    free = list(range(len(claims)))
    budget = total
    while True:
        pool = sum(claims[i] for i in free)
        capped = [i for i in free if caps[i] * pool <= budget * claims[i]]
        if not capped:
            break
        budget -= sum(caps[i] for i in capped)
        free = [i for i in free if i not in capped]
    if not pool:
        return counts
    for i in free:
        counts[i] = budget * claims[i] // pool
    missing = budget - sum(counts[i] for i in free)
    by_remainder = sorted(free, key=lambda i: (-(budget * claims[i] % pool), i))
    for i in by_remainder[:missing]:
        counts[i] += 1
    return counts
