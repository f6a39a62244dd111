"""Fits linear maps to a policy's answers: regularised least squares and logistic regression. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from search.training.vectors import Array

# Penalty on squared weights of standardised inputs, in units of the loss of one observation. Without it,
# the weights of actions that are perfectly separable would grow without bound.
RIDGE = 1e-4
# Share of the surplus weights that is removed before the remaining ones are fitted again.
ROUND = 0.25


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """An affine map from inputs to outputs.

    Attributes:
        weights: Weights, shape (outputs, inputs).
        biases: Biases, shape (outputs,).
    """

    weights: Array
    biases: Array

    def __call__(self, inputs: Array) -> Array:
        """Maps inputs of shape (steps, inputs) to outputs of shape (steps, outputs)."""
        found: Array = inputs @ self.weights.T + self.biases
        return found


# Fits a map to standardised inputs and targets, given the weights that may be nonzero and the penalty.
Fit = Callable[[Array, Array, Array, float], LinearMap]


def fitted(
    inputs: Array, targets: Array, weights: int, *, discrete: bool, ridge: float = RIDGE
) -> LinearMap:
    """Fits a linear map with a limited number of weights by backward elimination.

    All weights are fitted. Then the smallest ones (for standardised inputs) are removed and the others
    fitted again, until few enough are left; each time, a share `ROUND` of the surplus is removed.

    Args:
        inputs: Inputs, shape (steps, inputs).
        targets: Probabilities of actions, or desired outputs, shape (steps, outputs).
        weights: Maximum number of nonzero weights in the result.
        discrete: Whether the targets are probabilities and the outputs logits; the logit of the first
            action is 0.
        ridge: Penalty on squared weights, as in `RIDGE`.
    """
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
    varies = deviation > 1e-8 * np.maximum(1.0, np.abs(mean))
    scale = np.where(varies, deviation, 1.0)
    standard = (inputs - mean) / scale
    fit: Fit = logistic if discrete else least_squares
    free = np.tile(varies, (targets.shape[1], 1))
    if discrete:
        free[0] = False
    found = fit(standard, targets, free, ridge)
    while (surplus := int(free.sum()) - weights) > 0:
        sizes = np.where(free, np.abs(found.weights), np.inf).ravel()
        goes = np.argsort(sizes, kind="stable")[: math.ceil(ROUND * surplus)]
        free.ravel()[goes] = False
        found = fit(standard, targets, free, ridge)
    own = found.weights / scale
    return LinearMap(own, found.biases - own @ mean)


def least_squares(inputs: Array, targets: Array, free: Array, ridge: float) -> LinearMap:
    """Minimises the mean squared error plus `ridge` times the squared weights, output by output.

    Args:
        inputs: Inputs, shape (steps, inputs).
        targets: Desired outputs, shape (steps, outputs).
        free: Mask of the weights that may be nonzero, bool of shape (outputs, inputs).
        ridge: Penalty, ≥ 0; biases have none.
    """
    steps, outputs = targets.shape
    weights, biases = np.zeros(free.shape), np.zeros(outputs)
    for row in range(outputs):
        own = inputs[:, free[row]]
        penalty = math.sqrt(steps * ridge) * np.eye(own.shape[1])
        matrix = np.block([[own, np.ones((steps, 1))], [penalty, np.zeros((own.shape[1], 1))]])
        aim = np.concatenate([targets[:, row], np.zeros(own.shape[1])])
        solution = np.linalg.lstsq(matrix, aim, rcond=None)[0]
        weights[row, free[row]], biases[row] = solution[:-1], solution[-1]
    return LinearMap(weights, biases)


def logistic(inputs: Array, targets: Array, free: Array, ridge: float) -> LinearMap:
    """Minimises the mean cross-entropy plus half of `ridge` times the squared weights.

    Args:
        inputs: Inputs, shape (steps, inputs).
        targets: Probabilities, shape (steps, outputs).
        free: Mask of the weights that may be nonzero, bool of shape (outputs, inputs).
        ridge: Penalty, ≥ 0; biases have none. The first output's bias is 0.
    """
    steps, outputs = targets.shape
    count = int(free.sum())

    def unpacked(values: Array) -> LinearMap:
        weights = np.zeros(free.shape)
        weights[free] = values[:count]
        return LinearMap(weights, np.concatenate([[0.0], values[count:]]))

    def loss(values: Array) -> tuple[float, Array]:
        now = unpacked(values)
        log_probabilities = log_softmax(now(inputs), axis=1)
        value = -float((targets * log_probabilities).sum()) / steps
        wrong = (np.exp(log_probabilities) - targets) / steps
        gradient = (wrong.T @ inputs)[free] + ridge * values[:count]
        squares = 0.5 * ridge * float(values[:count] @ values[:count])
        return value + squares, np.concatenate([gradient, wrong.sum(axis=0)[1:]])

    start = np.zeros(count + outputs - 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return unpacked(found.x)
