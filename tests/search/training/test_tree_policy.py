"""Trees: fitted as scikit-learn fits them, saved like any policy, better with DAgger's rounds."""

import json

import numpy as np
import pytest
from linear_world import Aim
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from taught import dense_policy, lesson, segment, settings_of

from rllib_ext import load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.errors import ExportError
from rllib_ext.export.figures import exported_figures
from rllib_ext.export.opened import open_saved
from rllib_ext.export.source import source_of
from rllib_ext.policy.latency import latencies
from rllib_ext.policy.store import note_size
from search.training.demonstrations import Demonstration
from search.training.tree_fit import fit_trees
from search.training.tree_policy import fit_tree_policy
from search.training.vectors import Vectors

RNG = np.random.default_rng(0)
SEEN = RNG.normal(size=(500, 3)).astype(np.float32)


def fit_tree(shown, vectors, leaves):
    """The tree that weighs steps by what a wrong action costs."""
    return fit_trees(shown, vectors, leaves)[-1]


def test_of_equal_costs_it_answers_as_scikit_learns_classifier():
    labels = (SEEN[:, 0] > SEEN[:, 2]).astype(int)
    logits = np.where(np.eye(2)[labels] > 0, 3.0, 0.0)
    shown = Demonstration(SEEN, logits, 500)
    tree = fit_tree(shown, Vectors(inputs=3, actions=2, discrete=True), 9)
    expected = DecisionTreeClassifier(max_leaf_nodes=9, random_state=0).fit(SEEN, labels)
    other = RNG.normal(size=(400, 3)).astype(np.float32)
    np.testing.assert_array_equal(tree(other)[:, 0], expected.predict(other))
    assert (tree.leaves, tree.nodes, tree.numbers) == (9, 17, 17)


def test_actions_that_are_not_taken_don_t_change_the_numbers_of_the_others():
    logits = np.where(np.eye(4)[np.where(SEEN[:, 1] > 0, 3, 1)] > 0, 5.0, 0.0)
    tree = fit_tree(
        Demonstration(SEEN, logits, 500), Vectors(inputs=3, actions=4, discrete=True), 2
    )
    assert set(tree(SEEN)[:, 0]) == {1.0, 3.0}


def test_where_a_wrong_action_costs_more_a_tree_of_few_leaves_gets_it_right():
    # Two rules, of which a stump can follow one; the rarer one costs a hundred times as much.
    rare = SEEN[:, 0] > 1.0
    labels = np.where(rare, 1, (SEEN[:, 1] > 0).astype(int))
    sure = np.where(rare, 50.0, 0.1)[:, None]
    logits = sure * np.eye(2)[labels]
    stump = fit_tree(
        Demonstration(SEEN, logits, 500), Vectors(inputs=3, actions=2, discrete=True), 2
    )
    assert (stump(SEEN)[rare, 0] == 1).all()
    plain, weighted = fit_trees(
        Demonstration(SEEN, logits, 500), Vectors(inputs=3, actions=2, discrete=True), 2
    )
    assert weighted.to_dict() == stump.to_dict()
    # Where all steps weigh alike it follows the rule that holds for most of them.
    assert plain.inputs[0] == 1
    right = [(tree(SEEN)[:, 0] == labels).mean() for tree in (plain, weighted)]
    assert right[0] > right[1]


def test_of_numbers_it_answers_as_scikit_learns_regressor_within_the_bounds():
    aims = np.column_stack([2 * SEEN[:, 0], SEEN[:, 1]])
    shown = Demonstration(SEEN, np.column_stack([aims, np.zeros((500, 2))]), 500)
    vectors = Vectors(inputs=3, actions=2, discrete=False, low=-1.0, high=1.0)
    tree = fit_tree(shown, vectors, 12)
    fit = DecisionTreeRegressor(max_leaf_nodes=12, random_state=0).fit(SEEN, aims.clip(-1, 1))
    np.testing.assert_allclose(tree(SEEN), fit.predict(SEEN), rtol=1e-5, atol=1e-6)
    assert tree.numbers == 11 + 12 * 2


def fitted(small_ppo, folder, size, rounds, env=Aim, **config):
    ppo = small_ppo(env, lr=3e-3, gamma=0.5).environment(env, env_config=config)
    dense, _ = dense_policy(folder, ppo)
    (result,) = fit_tree_policy(settings_of(folder, ppo), segment(1), lesson(dense, size, rounds))
    evaluator = Evaluator(env_maker(ppo))
    try:
        place = folder / result["snapshot"]["checkpoint"]
        returns = [evaluator.run(load_policy(p), range(50)) for p in (place, folder / dense)]
    finally:
        evaluator.close()
    return result, place, *returns


@pytest.mark.parametrize("continuous", [False, True])
def test_a_large_tree_is_nearly_as_good_as_the_policy_and_a_small_one_holds_less(
    small_ppo, tmp_path, continuous
):
    large, _, own, dense = fitted(small_ppo, tmp_path, 99, 3, continuous=continuous)
    assert own.mean > dense.mean - 2.0
    small, *_ = fitted(small_ppo, tmp_path, 5, 3, continuous=continuous)
    assert small["snapshot"]["nonzero_params"] == 5
    assert 5 < large["snapshot"]["nonzero_params"] <= 99
    assert small["flash_bytes"] < large["flash_bytes"]
    assert "of them leaves" in small["description"]
    # Each round ten episodes to learn from and twenty to choose each by; twenty more at the end.
    trees = 1 if continuous else 2
    assert small["env_steps"] == 20 * (3 * (10 + trees * 20) + 20)


def test_it_is_a_policy_like_any_other_but_is_not_exported(small_ppo, tmp_path):
    result, place, own, _ = fitted(small_ppo, tmp_path, 9, 2)
    note_size(place)
    described = json.loads((place / "metadata.json").read_text())
    assert described["shrink_note"] == "it has no parameters"
    assert latencies({"tree": place})["tree"] > 0
    figures = exported_figures({"tree": place})["tree"]
    assert "decision tree" in figures["export_note"]
    parts, masks, _ = open_saved(place)
    with pytest.raises(ExportError, match="only networks are exported"):
        source_of(parts, masks)
    assert result["snapshot"]["return_mean"] == pytest.approx(own.mean, abs=3.0)


def test_the_round_that_is_kept_is_the_best_on_seeds_of_its_own(small_ppo, tmp_path, monkeypatch):
    import search.training.tree_policy as module

    built = []
    parts_of = module._parts

    def noted(tree, *rest):
        built.append(parts_of(tree, *rest))
        return built[-1]

    monkeypatch.setattr(module, "_parts", noted)
    result, place, *_ = fitted(small_ppo, tmp_path, 5, 4)
    ppo = small_ppo(Aim).environment(Aim, env_config={})
    evaluator = Evaluator(env_maker(ppo))
    scores = [evaluator.run(parts.policy(), range(2000, 2020)).mean for parts in built]
    evaluator.close()
    kept = int(np.argmax(scores))
    # Each round fits two.
    assert len(built) == 8
    assert f"(round {kept // 2 + 1})" in result["description"]
    assert load_policy(place).module.tree.to_dict() == built[kept].module.tree.to_dict()
