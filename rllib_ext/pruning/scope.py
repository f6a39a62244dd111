"""Which parameters may be pruned, and how a target is shared out between layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch

from torch import nn

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
        critic_prefixes: Names of submodules that only the critic uses, such as "vf".
        exclude: Shell patterns over parameter names; what matches stays dense.

    Returns:
        Weights of two or more dimensions by their name in `module.named_parameters()`, in that order.
    """
    prefixes = tuple(critic_prefixes)
    patterns = tuple(exclude)
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
            on_critic = any(name == p or name.startswith(p + ".") for p in prefixes)
            (critic if on_critic else policy)[name] = parameter
    return PrunableWeights(policy, critic)


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
    counts = list(floors)
    free = list(range(len(sizes)))
    rest = max(total, sum(floors)) - sum(floors)
    # A layer whose floor lies above its fair share keeps the floor; the others share what remains.
    while True:
        pool = sum(sizes[i] for i in free)
        budget = rest + sum(floors[i] for i in free)
        above = [i for i in free if floors[i] * pool > budget * sizes[i]]
        if not above:
            break
        free = [i for i in free if i not in above]
    if not pool:
        return counts
    for i in free:
        counts[i] = budget * sizes[i] // pool
    missing = budget - sum(counts[i] for i in free)
    by_remainder = sorted(free, key=lambda i: (-(budget * sizes[i] % pool), i))
    for i in by_remainder[:missing]:
        counts[i] += 1
    return counts
