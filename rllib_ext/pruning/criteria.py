"""Importance scores: weights in, one score for each weight out. Low scores go first.

A criterion is a pure function `(weights, statistics) -> scores`. To add one, write the function, name
it in `CRITERIA` (and in `READS`, if it reads what is gathered in training) and in `config.Criterion`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rllib_ext.pruning.errors import ScoreError

Weights = Mapping[str, Tensor]
Scores = dict[str, Tensor]
StatisticKind = Literal["taylor", "movement", "activation", "mean_gradient"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics that a criterion may need in addition to the weights; gathered elsewhere.

    Attributes:
        seed: Seeds the scores of "random".
        taylor: Mean |w · ∂L/∂w| over recent minibatches, of the weights' shapes.
        movement: Sum of −w · ∂L/∂w over all minibatches so far, of the weights' shapes.
        activation: Mean |activation| of the unit that each weight reads, over recent observations;
            broadcasts to the weights' shapes.
        paths: Sum over all paths through each weight of the product of the others on the path, as
            `rllib_ext.pruning.structure.paths` sums them; broadcasts to the weights' shapes.
        damage: For each layer, points (sparsity of that layer, damage ≥ 0) by rising sparsity, as
            `rllib_ext.pruning.sensitivity_table` makes them of measurements.
        at_rest: Weights that don't train, each with the reason, as
            `rllib_ext.pruning.training.ranking.at_rest` finds them.
    """

    seed: int = 0
    taylor: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    movement: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    activation: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    paths: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    damage: Mapping[str, Sequence[tuple[float, float]]] = dataclasses.field(default_factory=dict)
    at_rest: Mapping[str, str] = dataclasses.field(default_factory=dict)


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


def magnitude_l2(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = w²: ranks single weights as "magnitude" does, but a group by its mean square.

    Args:
        weights: Tensors of any shape by name.
        statistics: Not used.

    Returns:
        Scores of the weights' shapes, ≥ 0.
    """
    return {name: weight.detach().square() for name, weight in weights.items()}


def lamp(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = w² ÷ the sum of squares of those weights of its layer that are not smaller.

    Layer-adaptive magnitude (Lee et al. 2021, arXiv 2010.07611, eq. 1): within a layer the order is that
    of magnitude; between layers a weight counts by what share of its layer would be left with it. Each
    layer's largest weight has score 1, so that under the scope "global" no layer is emptied while
    another has two weights. Equal weights go by position, as in the paper.

    Args:
        weights: Tensors of any shape by name; each is a layer.
        statistics: Not used.

    Returns:
        Scores of the weights' shapes in [0, 1], float64; 0 for weights that are 0.
    """
    return {name: _share_of_larger(weight.detach()) for name, weight in weights.items()}


def _share_of_larger(weight: Tensor) -> Tensor:
    squares = weight.double().square().flatten()
    order = torch.argsort(squares, stable=True)
    rising = squares[order]
    not_smaller = rising.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    # Where all that are not smaller are 0, the weight is too.
    scores[order] = torch.where(not_smaller == 0, 0.0, rising / not_smaller)
    return scores.view_as(weight)


def gradient(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = mean |w · ∂L/∂w|: how much the loss would change without the weight, to first order.

    Molchanov et al. 2017 (arXiv 1611.06440), applied to weights. L is the whole loss that the Learner
    minimises, so that entropy bonus and value loss count in shared layers.

    Args:
        weights: Tensors of any shape by name.
        statistics: `taylor` is read.

    Returns:
        Scores of the weights' shapes, ≥ 0.

    Raises:
        ScoreError: Nothing was gathered for a layer.
    """
    return _gathered(weights, statistics.taylor, "gradient")


def movement(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = Σ −w · ∂L/∂w over training: above 0 where the weight moved away from zero.

    Movement pruning (Sanh et al. 2020, arXiv 2005.07683, eq. 7), up to the learning rate of its scores,
    which doesn't change the ranking. Scores are signed, so a threshold ≥ 0 prunes all that shrank.

    Args:
        weights: Tensors of any shape by name.
        statistics: `movement` is read.

    Returns:
        Scores of the weights' shapes.

    Raises:
        ScoreError: Nothing was gathered for a layer.
    """
    return _gathered(weights, statistics.movement, "movement")


def activation(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = |w| · mean |a|, with a the activation of the unit that the weight reads.

    The mean size of what the weight adds to its own unit. A unit that hardly fires takes the weights
    that read it along. (Sun et al. 2023, "Wanda", arXiv 2306.11695, take the root mean square of a.)

    Args:
        weights: Tensors of any shape by name.
        statistics: `activation` is read.

    Returns:
        Scores of the weights' shapes, ≥ 0.

    Raises:
        ScoreError: Nothing was gathered for a layer.
    """
    read = _gathered(weights, statistics.activation, "activation")
    return {name: weight.detach().abs() * read[name] for name, weight in weights.items()}


def synflow(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = |w| · ∂R/∂|w|: how much of what flows through the network passes the weight.

    R = 1ᵀ ∏|W| 1 (Tanaka et al. 2020, arXiv 2006.05467, eq. 2 and 3) sums the products of the weights on
    all paths from an input to an output. The paper scores anew as weights go, which who prunes does.

    Args:
        weights: Tensors of any shape by name.
        statistics: `paths` is read.

    Returns:
        Scores of the weights' shapes, ≥ 0, float64.

    Raises:
        ScoreError: The paths of a layer were not summed.
    """
    paths = _gathered(weights, statistics.paths, "synflow")
    return {name: weight.detach().abs() * paths[name] for name, weight in weights.items()}


def sensitivity(weights: Weights, statistics: Statistics) -> Scores:
    """score(w) = the damage measured when its layer is pruned, by magnitude, up to this weight.

    A weight at rank r of n by magnitude in its layer gets the layer's damage at sparsity r ÷ n, linear
    between the measured points, from 0 damage at sparsity 0. Layers that a policy can spare thus go
    first. Beyond the last point the last slope goes on.

    Args:
        weights: Tensors of any shape by name.
        statistics: `damage` is read.

    Returns:
        Scores of the weights' shapes, ≥ 0, float64.

    Raises:
        ScoreError: A layer was not measured.
    """
    _known(weights, statistics.damage, "sensitivity")
    return {
        name: damage_of_ranks(weight.detach(), statistics.damage[name])
        for name, weight in weights.items()
    }


def damage_of_ranks(weight: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """The damage at each weight's rank by magnitude: see `sensitivity`.

    Args:
        weight: One layer's weights.
        points: (sparsity, damage) by rising sparsity; a damage below an earlier one is noise and counts
            as the earlier one.

    Returns:
        Damages of the weight's shape, float64, strictly rising with rank so that magnitude breaks ties.
    """
    order = torch.argsort(weight.abs().flatten(), stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(1, order.numel() + 1, device=order.device)
    share = ranks.double() / max(1, order.numel())
    xs = torch.tensor([0.0, *(x for x, _ in points)], dtype=torch.float64, device=share.device)
    ys = torch.tensor([0.0, *(y for _, y in points)], dtype=torch.float64, device=share.device)
    ys = torch.cummax(ys, 0).values
    right = torch.searchsorted(xs, share).clamp(1, len(xs) - 1)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    damage = y0 + (y1 - y0) * (share - x0) / (x1 - x0)
    return (damage + 1e-9 * share).view_as(weight)


def random(weights: Weights, statistics: Statistics) -> Scores:
    """Scores that know nothing of the weights: the control that every criterion must beat.

    Args:
        weights: Tensors of any shape by name.
        statistics: `seed` fixes the scores, which are the same at every call, so that masks nest.

    Returns:
        Scores of the weights' shapes, uniform in [0, 1); a layer's hang on its name, not on what it is
        scored with.
    """
    return {
        name: torch.rand(weight.shape, generator=_generator(statistics.seed, name)).to(
            weight.device
        )
        for name, weight in weights.items()
    }


def _generator(seed: int, name: str) -> torch.Generator:
    entropy = (seed % 2**64, zlib.crc32(name.encode()))
    (own,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(own))


CRITERIA: dict[str, Criterion] = {
    "magnitude": magnitude,
    "magnitude_l2": magnitude_l2,
    "lamp": lamp,
    "gradient": gradient,
    "movement": movement,
    "activation": activation,
    "synflow": synflow,
    "sensitivity": sensitivity,
    "random": random,
}

# What has to be gathered while the network trains, for the criteria that read it.
READS: dict[str, StatisticKind] = {
    "gradient": "taylor",
    "movement": "movement",
    "activation": "activation",
}


def score(criterion: str, weights: Weights, statistics: Statistics | None = None) -> Scores:
    """Scores every weight and makes sure that the scores can be ranked.

    Args:
        criterion: A name in `CRITERIA`.
        weights: Tensors of any shape by name.
        statistics: Statistics that the criterion needs in addition to the weights.

    Returns:
        Scores of the weights' shapes.

    Raises:
        ScoreError: A weight or a score is NaN, or nothing was gathered for a layer; the message names
            the layer.
    """
    scores = CRITERIA[criterion](weights, statistics or Statistics())
    for name, values in scores.items():
        if bool(torch.isnan(values).any() or torch.isnan(weights[name]).any()):
            raise ScoreError(
                f"criterion {criterion!r} gave NaN for {name!r}, so its weights cannot be ranked. "
                "The training has probably diverged: lower the learning rate or clip gradients."
            )
    return scores


def in_layer_deviations(scores: Mapping[str, Tensor], of: Mapping[str, Tensor]) -> Scores:
    """Scores in units of their layer's standard deviation of values of the same unit.

    Args:
        scores: Scores by layer.
        of: Values whose standard deviation is the unit, by the same names: for "magnitude" the stored
            weights with pruned zeros; for other criteria, whose scores aren't weights, the scores
            themselves.

    Returns:
        score ÷ deviation. A layer whose values are all equal has none: its scores become so large
        that no threshold reaches them, but zeros stay zero.
    """
    return {
        name: values / of[name].detach().std(correction=0).clamp_min(_SMALLEST).to(values)
        if values.numel()
        else values
        for name, values in scores.items()
    }


# What counts as no deviation; Taylor scores of a trained network are far below a weight's size.
_SMALLEST = 1e-30


def _gathered(weights: Weights, values: Mapping[str, Tensor], criterion: str) -> Scores:
    _known(weights, values, criterion)
    return {name: values[name] for name in weights}


def _known(weights: Weights, values: Mapping[str, object], criterion: str) -> None:
    missing = [name for name in weights if name not in values]
    if missing:
        raise ScoreError(
            f"criterion {criterion!r} knows nothing of {', '.join(map(repr, missing))}: "
            f"{_WHY_UNKNOWN[criterion]} Exclude them, or choose another criterion."
        )


_WHY_UNKNOWN = {
    "gradient": "no gradients were gathered.",
    "movement": "no gradients were gathered.",
    "activation": "no activations were seen, as when a layer's weights are used without calling it.",
    "synflow": "the paths through them were not summed.",
    "sensitivity": "the table that was given does not name them.",
}
