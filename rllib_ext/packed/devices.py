"""Questions whose answer depends on a tensor's device."""

from __future__ import annotations

from torch import Tensor


def can_be_asked(values: Tensor) -> bool:
    """Whether reading a value is free; on other devices it waits for all computations so far."""
    return values.device.type == "cpu"
