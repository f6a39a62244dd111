"""Copies of modules that keep what they computed last."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Module = TypeVar("Module", bound=nn.Module)


def copy_of(module: Module) -> Module:
    """A deep copy, also of a module that holds results of its own forward pass.

    torch refuses to copy tensors that a gradient could still flow through, and modules that keep one
    between two calls (RLlib's models of the old API stack all do) could not be copied after training.

    Args:
        module: Left as it is.

    Returns:
        The copy; results that it holds no longer lead back to anything.
    """
    memo: dict[int, Any] = {}
    for child in module.modules():
        for value in tree_leaves(vars(child)):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(module, memo)
