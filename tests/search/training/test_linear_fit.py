"""Linear maps: against numpy's and scikit-learn's own fits, and how weights are eliminated."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge

from search.training.linear_fit import fitted, least_squares, logistic

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(400, 5)) * [1.0, 10.0, 0.1, 1.0, 3.0] + [0.0, 5.0, 1.0, -2.0, 0.0]
TRUE = np.array([[1.0, 0.2, 0.0, -2.0, 0.0], [0.0, 0.0, 30.0, 0.5, 1.0]])
TARGETS = INPUTS @ TRUE.T + [1.0, -3.0] + 0.1 * RNG.normal(size=(400, 2))
ALL = np.ones((2, 5), dtype=bool)


def test_without_a_penalty_it_is_numpys_least_squares():
    found = least_squares(INPUTS, TARGETS, ALL, 0.0)
    matrix = np.column_stack([INPUTS, np.ones(400)])
    expected = np.linalg.lstsq(matrix, TARGETS, rcond=None)[0]
    np.testing.assert_allclose(found.weights, expected[:5].T, rtol=1e-9)
    np.testing.assert_allclose(found.biases, expected[5], rtol=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_with_a_penalty_it_is_ridge_regression(ridge):
    found = least_squares(INPUTS, TARGETS, ALL, ridge)
    expected = Ridge(alpha=400 * ridge).fit(INPUTS, TARGETS)
    np.testing.assert_allclose(found.weights, expected.coef_, rtol=1e-6)
    np.testing.assert_allclose(found.biases, expected.intercept_, rtol=1e-6)


def test_each_output_reads_what_it_is_allowed_to():
    free = np.array([[True, True, False, True, False], [False, False, True, True, True]])
    found = least_squares(INPUTS, TARGETS, free, 0.0)
    assert (found.weights[~free] == 0).all()
    np.testing.assert_allclose(found.weights, TRUE, atol=0.2)


def test_of_two_actions_it_is_scikit_learns_logistic_regression():
    labels = (RNG.random(400) < 1 / (1 + np.exp(-(INPUTS @ TRUE[0])))).astype(int)
    ridge = 0.01
    free = np.array([[False] * 5, [True] * 5])
    found = logistic(INPUTS, np.eye(2)[labels], free, ridge)
    expected = LogisticRegression(C=1 / (400 * ridge), tol=1e-10, max_iter=10_000)
    expected.fit(INPUTS, labels)
    np.testing.assert_allclose(found.weights[1], expected.coef_[0], atol=2e-3)
    np.testing.assert_allclose(found.biases[1], expected.intercept_[0], atol=1e-2)


def test_of_more_actions_the_probabilities_are_those_they_were_drawn_from():
    weights = np.array([[0.0] * 5, [1.0, 0.0, 3.0, 0.0, 0.5], [0.0, 0.3, 0.0, -1.0, 0.0]])
    probabilities = softmax(INPUTS @ weights.T, axis=1)
    found = fitted(INPUTS, probabilities, 10, discrete=True, ridge=1e-9)
    # The first action's logit is 0, and of the others no weight is needed twice.
    assert (found.weights[0] == 0).all()
    np.testing.assert_allclose(softmax(found(INPUTS), axis=1), probabilities, atol=1e-3)


@pytest.mark.parametrize("weights", [10, 6, 3, 1])
def test_so_many_weights_are_left_and_the_ones_that_matter_least_have_gone(weights):
    found = fitted(INPUTS, TARGETS, weights, discrete=False)
    assert (found.weights != 0).sum() == weights
    if weights == 6:
        assert ((found.weights != 0) == (TRUE != 0)).all()
        np.testing.assert_allclose(found.weights, TRUE, rtol=0.1, atol=0.02)


def test_an_input_that_never_varies_gets_no_weight():
    still = INPUTS.copy()
    still[:, 1] = 7.0
    found = fitted(still, TARGETS, 10, discrete=False)
    assert (found.weights[:, 1] == 0).all()
    assert np.isfinite(found.weights).all()


def test_actions_that_can_be_told_apart_without_error_give_finite_weights():
    labels = (INPUTS[:, 0] > 0).astype(int)
    found = fitted(INPUTS, np.eye(2)[labels], 5, discrete=True)
    assert np.isfinite(found.weights).all()
    assert (found(INPUTS).argmax(axis=1) == labels).mean() > 0.98
