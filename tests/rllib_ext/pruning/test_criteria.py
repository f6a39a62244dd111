"""Importance scores, and the contract that every criterion keeps in every scope."""

from typing import get_args

import pytest
import torch

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
