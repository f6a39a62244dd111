"""Importance scores, and the contract that every criterion keeps in every scope."""

from typing import get_args

import pytest
import torch
import torch_pruning as tp

from rllib_ext.pruning import config
from rllib_ext.pruning.criteria import CRITERIA, Statistics, in_layer_deviations, score
from rllib_ext.pruning.errors import ScoreError
from rllib_ext.pruning.masks import count_for, full_masks, prune

SCOPES = get_args(config.Scope)
SPARSITIES = (0.0, 0.05, 0.25, 0.5, 0.8, 0.9, 0.99)


def weights_with_ties(seed: int = 0) -> dict[str, torch.Tensor]:
    """Few distinct values, an empty layer, a layer of one unit, a convolution."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (16, 4), "none": (0, 16), "one": (1, 16), "conv": (4, 1, 3, 3)}
    return {
        name: torch.randint(-2, 3, shape, generator=generator).float()
        for name, shape in shapes.items()
    }


def statistics_of(weights: dict[str, torch.Tensor], seed: int = 0) -> Statistics:
    """Made-up statistics with many ties, of every kind."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: int) -> dict[str, torch.Tensor]:
        return {
            name: torch.randint(low, 3, weight.shape, generator=generator).float()
            for name, weight in weights.items()
        }

    return Statistics(
        seed=seed,
        taylor=drawn(0),
        movement=drawn(-2),
        activation={
            name: read.amax(0, keepdim=True) if len(read) else read
            for name, read in drawn(0).items()
        },
        paths=drawn(0),
        damage={name: [(0.5, 0.0), (0.9, 1.0)] for name in weights},
    )


def pruned(masks: dict[str, torch.Tensor]) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def test_config_offers_exactly_the_criteria_that_exist() -> None:
    assert set(get_args(config.Criterion)) == set(CRITERIA)


def test_magnitude_is_the_absolute_value() -> None:
    scores = score("magnitude", {"a": torch.tensor([[-2.0, 0.0, 1.5]])})
    assert scores["a"].tolist() == [[2.0, 0.0, 1.5]]


def test_random_knows_nothing_of_the_weights_but_of_the_seed() -> None:
    weights = weights_with_ties(0)
    others = weights_with_ties(1)
    first = score("random", weights, Statistics(seed=3))
    again = score("random", others, Statistics(seed=3))
    other = score("random", weights, Statistics(seed=4))
    assert all(torch.equal(first[n], again[n]) for n in weights)
    assert not torch.equal(first["first"], other["first"])
    assert float(first["first"].min()) >= 0.0
    assert float(first["first"].max()) < 1.0


def test_random_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    score("random", weights_with_ties())
    assert torch.equal(before, torch.get_rng_state())


def test_magnitude_l2_is_the_square() -> None:
    scores = score("magnitude_l2", {"a": torch.tensor([[-2.0, 0.0, 1.5]])})
    assert scores["a"].tolist() == [[4.0, 0.0, 2.25]]


def test_lamp_scores_are_the_papers_on_sorted_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 9, generator=generator)
    found = score("lamp", {"a": weight})["a"].flatten()
    squares = weight.double().square().flatten()
    rising = sorted(squares.tolist())
    for place, square in enumerate(squares.tolist()):
        assert float(found[place]) == pytest.approx(square / sum(rising[rising.index(square) :]))


def test_lamp_scores_are_those_of_torch_pruning() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(6, 11, generator=generator)
    expected = tp.importance.LAMPImportance()._normalize(weight.square().flatten(), "lamp")
    found = score("lamp", {"a": weight})["a"].flatten()
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-6)


def test_lamp_leaves_every_layer_its_largest_weight() -> None:
    generator = torch.Generator().manual_seed(2)
    weights = {
        name: size * torch.randn(20, 10, generator=generator)
        for name, size in (("small", 1e-3), ("middle", 1.0), ("large", 1e3))
    }
    weights["equal"] = torch.ones(5, 5)
    masks = prune(score("lamp", weights), full_masks(weights), scope="global", count=621)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == dict.fromkeys(weights, 1)
    by_size = prune(score("magnitude", weights), full_masks(weights), scope="global", count=621)
    assert int(by_size["small"].sum()) == 0
    assert all(bool(w.abs().max() == w.abs()[masks[n]]) for n, w in weights.items())


def test_lamp_scores_pruned_weights_0_and_does_not_count_them() -> None:
    weights = {"a": torch.tensor([[3.0, 0.0, 4.0, 0.0]]), "gone": torch.zeros(2, 2)}
    scores = score("lamp", weights)
    assert scores["a"].tolist() == [[9 / 25, 0.0, 1.0, 0.0]]
    assert not bool(scores["gone"].any())


def test_synflow_is_what_flows_through_a_weight() -> None:
    weights = {
        "dense": torch.tensor([[1.0, -2.0], [0.0, 4.0]]),
        "conv": -torch.ones(1, 2, 2, 2),
    }
    paths = {"dense": torch.tensor([[3.0, 1.0], [5.0, 0.5]]), "conv": torch.ones(1, 2, 1, 1)}
    scores = score("synflow", weights, Statistics(paths=paths))
    assert scores["dense"].tolist() == [[3.0, 2.0], [0.0, 2.0]]
    assert torch.equal(scores["conv"], torch.ones(1, 2, 2, 2))


def test_gradient_and_movement_are_what_was_gathered() -> None:
    weights = {"a": torch.ones(2, 2)}
    gathered = {"a": torch.tensor([[1.0, -2.0], [0.0, 3.0]])}
    assert score("movement", weights, Statistics(movement=gathered)) == gathered
    assert score("gradient", weights, Statistics(taylor=gathered)) == gathered


def test_activation_is_the_size_of_what_a_weight_adds() -> None:
    weights = {
        "dense": torch.tensor([[1.0, -2.0], [3.0, 4.0]]),
        "conv": torch.arange(1.0, 9.0).view(1, 2, 2, 2),
    }
    read = {"dense": torch.tensor([[0.5, 2.0]]), "conv": torch.tensor([10.0, 1.0]).view(1, 2, 1, 1)}
    scores = score("activation", weights, Statistics(activation=read))
    assert scores["dense"].tolist() == [[0.5, 4.0], [1.5, 8.0]]
    assert scores["conv"].flatten().tolist() == [10.0, 20.0, 30.0, 40.0, 5.0, 6.0, 7.0, 8.0]


def test_a_layer_that_nothing_is_known_of_is_named() -> None:
    weights = {"seen": torch.ones(1, 1), "unseen": torch.ones(1, 1)}
    seen = {"seen": torch.ones(1, 1)}
    with pytest.raises(ScoreError, match=r"knows nothing of 'unseen'.*without calling it"):
        score("activation", weights, Statistics(activation=seen))
    with pytest.raises(ScoreError, match=r"knows nothing of 'seen', 'unseen'.*no gradients"):
        score("gradient", weights)
    with pytest.raises(ScoreError, match=r"'unseen'.*paths"):
        score("synflow", weights, Statistics(paths=seen))
    with pytest.raises(ScoreError, match=r"'unseen'.*the table"):
        score("sensitivity", weights, Statistics(damage={"seen": [(0.5, 1.0)]}))


def test_sensitivity_scores_are_the_damage_at_each_rank() -> None:
    weight = torch.tensor([[0.4, -0.1], [0.3, 0.2]])
    damage = {"a": [(0.5, 1.0), (1.0, 5.0)]}
    scores = score("sensitivity", {"a": weight}, Statistics(damage=damage))["a"]
    # Ranks 4, 1, 3, 2 of 4: sparsities 1, 0.25, 0.75, 0.5.
    assert scores.flatten().tolist() == pytest.approx([5.0, 0.5, 3.0, 1.0], abs=1e-6)


def test_sensitivity_takes_from_the_layer_that_can_spare_it() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {n: torch.randn(10, 10, generator=generator) for n in ("hardy", "frail")}
    damage = {"hardy": [(0.5, 0.01), (0.9, 0.1)], "frail": [(0.1, 0.05), (0.9, 8.0)]}
    scores = score("sensitivity", weights, Statistics(damage=damage))
    masks = prune(scores, full_masks(weights), scope="global", count=90)
    # 0.05 of damage: hardy at 0.5 + 0.4·(0.04 ÷ 0.09), frail at 0.1.
    assert int((~masks["frail"]).sum()) in range(10, 16)
    kept = weights["hardy"].abs()[masks["hardy"]]
    assert float(kept.min()) > float(weights["hardy"].abs()[~masks["hardy"]].max())


def test_sensitivity_treats_a_dip_as_noise_and_breaks_ties_by_magnitude() -> None:
    weight = torch.tensor([[0.5, 0.1, 0.4, 0.2, 0.3]])
    damage = {"a": [(0.4, 0.0), (0.6, 1.0), (0.8, 0.2), (1.0, 1.0)]}
    scores = score("sensitivity", {"a": weight}, Statistics(damage=damage))["a"].flatten()
    assert torch.argsort(scores).tolist() == [1, 3, 4, 2, 0]


def test_weights_that_are_not_numbers_are_refused_although_statistics_are() -> None:
    weights = {"a": torch.tensor([[float("nan")]])}
    with pytest.raises(ScoreError, match="'a'"):
        score("movement", weights, Statistics(movement={"a": torch.ones(1, 1)}))


def test_scores_in_units_of_a_layers_deviation() -> None:
    weights = {
        "narrow": torch.tensor([[-1.0, 1.0]]),
        "wide": torch.tensor([[-4.0, 4.0]]),
        "flat": torch.full((2, 2), 3.0),
        "one": torch.tensor([[5.0]]),
        "none": torch.zeros(0, 3),
    }
    scores = in_layer_deviations(score("magnitude", weights), weights)
    assert scores["narrow"].tolist() == scores["wide"].tolist() == [[1.0, 1.0]]
    assert float(scores["flat"].min()) > 1e9
    assert float(scores["one"]) > 1e9
    assert scores["none"].shape == (0, 3)


class TestContract:
    @pytest.fixture(params=sorted(CRITERIA))
    def criterion(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture(params=SCOPES)
    def scope(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def test_scores_have_the_shapes_of_the_weights(self, criterion: str) -> None:
        weights = weights_with_ties()
        scores = score(criterion, weights, statistics_of(weights))
        assert {n: s.shape for n, s in scores.items()} == {n: w.shape for n, w in weights.items()}

    def test_weights_are_left_alone(self, criterion: str) -> None:
        weights = weights_with_ties()
        score(criterion, weights, statistics_of(weights))
        assert all(torch.equal(w, weights_with_ties()[n]) for n, w in weights.items())

    def test_parameters_give_scores_without_a_graph(self, criterion: str) -> None:
        weights = {n: torch.nn.Parameter(w) for n, w in weights_with_ties().items()}
        scores = score(criterion, weights, statistics_of(weights))
        assert not any(s.requires_grad for s in scores.values())

    def test_counts_are_exact_under_ties_and_masks_nest(self, criterion: str, scope: str) -> None:
        weights = weights_with_ties()
        masks = full_masks(weights)
        for sparsity in SPARSITIES:
            count = count_for(sparsity, weights)
            before = masks
            masks = prune(
                score(criterion, weights, statistics_of(weights)), masks, scope=scope, count=count
            )
            assert pruned(masks) == round(sparsity * 116) == count
            assert all(bool((masks[n] <= before[n]).all()) for n in masks)

    def test_the_same_seed_gives_the_same_masks(self, criterion: str, scope: str) -> None:
        def masks() -> dict[str, torch.Tensor]:
            weights = weights_with_ties()
            scores = score(criterion, weights, statistics_of(weights, seed=11))
            return prune(scores, full_masks(weights), scope=scope, count=60)

        first, second = masks(), masks()
        assert all(torch.equal(first[n], second[n]) for n in first)

    def test_scores_that_cannot_be_ranked_name_their_layer(self, criterion: str) -> None:
        weights = weights_with_ties()
        weights["one"] = torch.full((1, 16), float("nan"))
        with pytest.raises(ScoreError, match="'one'"):
            score(criterion, weights, statistics_of(weights))
