"""Fits decision trees to a policy's answers with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from rllib_ext.policy.tree import LEAF, Tree
from search.training.demonstrations import Demonstration
from search.training.vectors import Array, Vectors


def fit_trees(shown: Demonstration, vectors: Vectors, leaves: int) -> list[Tree]:
    """Fits trees with a limited number of leaves that imitate a policy's answers.

    For discrete actions, two trees are fitted. In the first, all steps have the same weight (Ross et
    al. 2011, DAgger). In the second, a step's weight is the cost of the wrong action: the log ratio of
    the policy's probabilities of its best and worst action (Bastani et al. 2018, VIPER, with
    log-probabilities for Q-values, as they propose for policies). Which of the two is better depends on
    how well the policy knows its best action.

    Args:
        shown: Observations that the policy saw and its answers.
        vectors: The policy's inputs and actions.
        leaves: Maximum number of leaves, ≥ 2.
    """
    if not vectors.discrete:
        aims = np.clip(shown.outputs[:, : vectors.actions], vectors.low, vectors.high)
        regressor = DecisionTreeRegressor(max_leaf_nodes=leaves, random_state=0)
        found = regressor.fit(shown.inputs, aims).tree_
        return [_tree(found, found.value[:, :, 0], discrete=False)]
    logs = log_softmax(shown.outputs.astype(np.float64), axis=1)
    # Where all actions are equally probable, any action will do, but the fit needs a positive weight.
    cost = logs.max(axis=1) - logs.min(axis=1) + 1e-6
    labels = logs.argmax(axis=1)
    return [
        _classifier(shown.inputs, labels, weights, leaves) for weights in (np.ones(len(cost)), cost)
    ]


def _classifier(inputs: Array, labels: Array, weights: Array, leaves: int) -> Tree:
    classifier = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0)
    found = classifier.fit(inputs, labels, sample_weight=weights).tree_
    best = classifier.classes_[found.value[:, 0, :].argmax(axis=1)]
    return _tree(found, best[:, None], discrete=True)


def _tree(found: Any, answers: Array, *, discrete: bool) -> Tree:
    leaf = found.children_left < 0
    return Tree(
        inputs=np.where(leaf, LEAF, found.feature),
        thresholds=_not_above(np.where(leaf, 0.0, found.threshold)),
        left=np.where(leaf, 0, found.children_left),
        right=np.where(leaf, 0, found.children_right),
        answers=np.asarray(answers, dtype=np.float32),
        discrete=discrete,
    )


def _not_above(thresholds: Array) -> Array:
    """Rounds thresholds down to single precision; single-precision inputs take the same branches."""
    rounded = thresholds.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > thresholds, lower, rounded)
