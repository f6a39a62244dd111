"""What depends on where tensors lie."""

from __future__ import annotations

from torch import Tensor


def can_be_asked(values: Tensor) -> bool:
    """Whether to look at a value costs nothing; elsewhere everything computed so far is waited for."""
    return values.device.type == "cpu"
