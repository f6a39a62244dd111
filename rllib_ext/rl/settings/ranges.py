"""Ranges of PPO's main hyperparameters. Imports neither Ray nor torch.

RLlib accepts nearly any value: a discount of 1.5 trains, but has no meaning.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

SHARES = ("gamma", "lambda_")
# None and infinity mean that nothing is clipped.
LIMITS = ("vf_clip_param", "grad_clip")
# RLlib takes a schedule for these too: pairs of env steps and a value.
SCHEDULED = ("lr", "entropy_coeff")
_AT_LEAST_ZERO = (
    "clip_param",
    "vf_loss_coeff",
    "kl_coeff",
    "kl_target",
    *SCHEDULED,
)
_COUNTS = ("num_epochs", "minibatch_size", "train_batch_size", "train_batch_size_per_learner")
# Counts that may be None: no minibatches; batches as long as `train_batch_size` says.
_OPEN = ("minibatch_size", "train_batch_size_per_learner")
RANGED = (*SHARES, *LIMITS, *_AT_LEAST_ZERO, *_COUNTS)


def expected(name: str, value: Any) -> str:
    """Describes what a hyperparameter's value should have been; empty if it is valid.

    Args:
        name: An argument of `PPOConfig.training`, one of `RANGED`.
        value: The value that was given, or a schedule where RLlib takes one.
    """
    if name in _COUNTS:
        fine = _is_count(value) or (value is None and name in _OPEN)
        return "" if fine else "an integer of 1 or more"
    if name in SCHEDULED and isinstance(value, Sequence):
        fine = len(value) > 0 and all(_is_point(name, point) for point in value)
        return "" if fine else f"{_in_words(name)}, or pairs [env steps, such a number]"
    return "" if _is_in_range(name, value) else _in_words(name)


def _is_point(name: str, point: Any) -> bool:
    return (
        isinstance(point, Sequence)
        and not isinstance(point, str)
        and len(point) == 2
        and _is_number(point[0])
        and _is_in_range(name, point[1])
    )


def _is_in_range(name: str, value: Any) -> bool:
    if value is None:
        return name in LIMITS
    largest = 1.0 if name in SHARES else math.inf
    return (
        _is_number(value) and 0.0 <= value <= largest and (name in LIMITS or math.isfinite(value))
    )


def _is_number(value: Any) -> bool:
    """Whether a value is a real number; booleans are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and isinstance(value, numbers.Integral) and int(value) >= 1


def _in_words(name: str) -> str:
    if name in SHARES:
        return "a number from 0 to 1"
    return "a number of 0 or more, or null" if name in LIMITS else "a number of 0 or more"
