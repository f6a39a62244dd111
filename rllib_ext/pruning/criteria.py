"""Importance scores: weights in, one score for each weight out. Low scores go first.

A criterion is a pure function `(weights, statistics) -> scores`. To add one, write the function and
name it in `CRITERIA`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from rllib_ext.pruning.errors import ScoreError

Weights = Mapping[str, Tensor]
Scores = dict[str, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a criterion may need beside the weights; gathered elsewhere.

    Attributes:
        seed: Seeds the scores of "random".
    """

    seed: int = 0


Criterion = Callable[[Weights, Statistics], Scores]


def magnitude(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = |w| (Han et al. 2015, "Learning both weights and connections").

    Args:
        weights: Tensors of any shape by name.
        statistics: Not used.

    Returns:
        Scores of the weights' shapes, ≥ 0.
    """
    return {name: weight.detach().abs() for name, weight in weights.items()}


def random(weights: Weights, statistics: Statistics) -> Scores:
    """Scores that know nothing of the weights: the control that every criterion must beat.

    Args:
        weights: Tensors of any shape by name.
        statistics: Its seed fixes the scores; they are the same at every call, so that masks nest.

    Returns:
        Scores of the weights' shapes, uniform in [0, 1).
    """
    generator = torch.Generator().manual_seed(statistics.seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in weights.items()
    }


CRITERIA: dict[str, Criterion] = {"magnitude": magnitude, "random": random}


def score(criterion: str, weights: Weights, statistics: Statistics | None = None) -> Scores:
    """Scores every weight and makes sure that the scores can be ranked.

    Args:
        criterion: A name in `CRITERIA`.
        weights: Tensors of any shape by name.
        statistics: What the criterion needs beside the weights.

    Returns:
        Scores of the weights' shapes.

    Raises:
        ScoreError: A score is NaN; the message names the layer.
    """
    scores = CRITERIA[criterion](weights, statistics or Statistics())
    for name, values in scores.items():
        if bool(torch.isnan(values).any()):
            raise ScoreError(
                f"criterion {criterion!r} gave NaN for {name!r}, so its weights cannot be ranked. "
                "The training has probably diverged: lower the learning rate or clip gradients."
            )
    return scores


def in_layer_deviations(scores: Mapping[str, Tensor], weights: Weights) -> Scores:
    """Scores in units of their layer's standard deviation of stored weights, pruned zeros included.

    Args:
        scores: Scores by layer.
        weights: Weights by the same names.

    Returns:
        score ÷ deviation. A layer whose weights are all equal has none: its scores become so large
        that no threshold reaches them, but zeros stay zero.
    """
    return {
        name: values / weights[name].detach().std(correction=0).clamp_min(1e-12)
        if values.numel()
        else values
        for name, values in scores.items()
    }
