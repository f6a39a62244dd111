"""Running somebody's network so that it neither changes what it is given nor draws twice differently."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module in evaluation mode and gives every part its own mode back."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


@contextlib.contextmanager
def fixed_draws(seed: int = 0) -> Iterator[None]:
    """Within, torch's global generators start from a seed; afterwards they are as they were."""
    # Not `torch.manual_seed`, which reaches generators of devices that aren't put back.
    cuda: Any = torch.cuda
    devices = list(range(cuda.device_count())) if cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            cuda.manual_seed_all(seed)
        yield


def copied(tree: Any) -> Any:
    """Nested mappings and sequences of tensors, copied throughout; what else lies in them is shared."""
    if isinstance(tree, Tensor):
        return tree.clone()
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        values = [copied(value) for value in tree]
        return tuple(values) if isinstance(tree, tuple) else values
    return tree


def leaves_behind(tensors: Iterable[Tensor]) -> set[int]:
    """Ids of the tensors that training reaches from some others, whatever their gradients are."""
    found: set[int] = set()
    seen: set[Any] = set()
    open_: list[Any] = []
    for tensor in tensors:
        # A leaf has no history of its own.
        found.update([id(tensor)] if tensor.is_leaf else [])
        open_.append(tensor.grad_fn)
    while open_:
        node = open_.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found.add(id(leaf))
        open_.extend(following for following, _ in node.next_functions)
    return found
