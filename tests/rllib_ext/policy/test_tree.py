"""Trees in arrays: what they answer, against walking them node by node, and what they take."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rllib_ext.policy.tree import LEAF, Tree

# x₁ ≤ 0.5 ? (x₀ ≤ −1 ? 2 : 0) : 1
SMALL = Tree(
    inputs=np.array([1, 0, LEAF, LEAF, LEAF]),
    thresholds=np.array([0.5, -1.0, 0.0, 0.0, 0.0], np.float32),
    left=np.array([1, 2, 0, 0, 0]),
    right=np.array([4, 3, 0, 0, 0]),
    answers=np.array([[0], [0], [2], [0], [1]], np.float32),
    discrete=True,
)


def drawn(rng, leaves, inputs, numbers):
    """A tree that grows by splitting leaves at random."""
    own = {0: (LEAF, 0.0, 0, 0)}
    while sum(node[0] == LEAF for node in own.values()) < leaves:
        leaf = int(rng.choice([i for i, node in own.items() if node[0] == LEAF]))
        left, right = len(own), len(own) + 1
        own[leaf] = (int(rng.integers(inputs)), float(rng.normal()), left, right)
        own[left] = own[right] = (LEAF, 0.0, 0, 0)
    rows = [own[i] for i in range(len(own))]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    answers = rng.normal(size=(len(own), numbers)).astype(np.float32)
    which, thresholds, left, right = columns
    return Tree(
        inputs=which, thresholds=thresholds.astype(np.float32), left=left, right=right,
        answers=answers, discrete=False,
    )  # fmt: skip


def walked(tree, observation):
    node = 0
    while tree.inputs[node] != LEAF:
        below = observation[tree.inputs[node]] <= tree.thresholds[node]
        node = (tree.left if below else tree.right)[node]
    return tree.answers[node]


def test_what_is_not_above_a_threshold_goes_left():
    seen = np.array([[-1.0, 0.5], [0.0, 0.5], [-5.0, 0.6]], np.float32)
    assert SMALL(seen)[:, 0].tolist() == [2, 0, 1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5), st.integers(1, 3))
def test_all_at_once_it_answers_as_when_it_is_walked(seed, leaves, inputs, numbers):
    rng = np.random.default_rng(seed)
    tree = drawn(rng, leaves, inputs, numbers)
    seen = rng.normal(size=(20, inputs)).astype(np.float32)
    np.testing.assert_array_equal(tree(seen), [walked(tree, row) for row in seen])
    assert tree.leaves == leaves
    assert tree.nodes == 2 * leaves - 1
    assert tree.numbers == leaves - 1 + leaves * numbers


def test_it_comes_back_from_json():
    again = Tree.from_dict(json.loads(json.dumps(SMALL.to_dict())))
    seen = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.testing.assert_array_equal(again(seen), SMALL(seen))
    assert again.discrete


def test_bytes_are_those_of_its_arrays():
    # Two inner nodes of an input, a threshold and a place; three leaves of a mark and an action.
    assert SMALL.bytes == 2 * (1 + 4 + 1) + 3 * (1 + 1)
    large = drawn(np.random.default_rng(0), 200, 300, 3)
    assert large.bytes == 199 * (2 + 4 + 2) + 200 * (2 + 3 * 4)
