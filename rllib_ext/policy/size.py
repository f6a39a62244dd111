"""Further objectives of a search: the size of the shrunk policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.rl.module.shrinking import dense_policy_size, policy_size

# By the name of the objective what `policy_size` calls it.
_MEASURES = {"units": "removed_units", "params": "shrunk_params", "macs": "macs"}


def measured_size(
    names: Sequence[str], module: nn.Module, masks: Mapping[str, Tensor]
) -> dict[str, float]:
    """Measures the shrunk policy.

    A policy that no smaller one equals is as large as it was built.

    Args:
        names: Any of "units" (removed from the policy path), "params" (parameters of the shrunk policy,
            biases included) and "macs" (its multiply-accumulates for one observation); none: nothing
            is measured.
        module: The RLModule; left as it is.
        masks: Masks by parameter name, True = keep.

    Returns:
        Values by name.
    """
    if not names:
        return {}
    try:
        size = policy_size(module, masks)
    except ShrinkError:
        size = dense_policy_size(module)
    return {name: float(size[_MEASURES[name]]) for name in names}
