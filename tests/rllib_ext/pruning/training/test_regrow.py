"""SET and RigL: exact counts, who goes and who comes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ext.pruning.training.regrow import exchange, gradient_growth, random_growth


def example() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    weights = {"a": torch.tensor([[5.0, -1.0, 0.0, 3.0], [0.0, 0.0, -2.0, 4.0]])}
    return weights, {"a": weights["a"] != 0}


def test_the_smallest_go_and_the_highest_growth_comes() -> None:
    weights, masks = example()
    growth = {"a": torch.tensor([[9.0, 0.0, 1.0, 9.0], [3.0, 2.0, 0.0, 9.0]])}
    new = exchange(weights, masks, growth, share=0.4)["a"]
    # −1 and −2 go; the positions of growth 3 and 2 come.
    assert new.int().tolist() == [[1, 0, 0, 1], [1, 1, 0, 1]]


def test_a_dropped_weight_may_win_its_place_back() -> None:
    weights, masks = example()
    growth = {"a": torch.tensor([[0.0, 7.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])}
    new = exchange(weights, masks, growth, share=0.4)["a"]
    assert new.int().tolist() == [[1, 1, 0, 1], [0, 1, 0, 1]]


def test_ties_go_by_position() -> None:
    weights = {"a": torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])}
    masks = {"a": weights["a"] != 0}
    growth = {"a": torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]])}
    new = exchange(weights, masks, growth, share=0.34)["a"]
    assert new.int().tolist() == [[0, 1, 1, 1, 0, 0]]


@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.0, 1.0),
    sparsity=st.floats(0.0, 1.0),
    rule=st.sampled_from(["set", "rigl"]),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_every_layer_keeps_exactly_as_many(
    seed: int, share: float, sparsity: float, rule: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (5, 4), "none": (0, 3), "one": (1, 1), "conv": (2, 2, 3, 3)}
    weights = {n: torch.randint(-2, 3, s, generator=generator).float() for n, s in shapes.items()}
    masks = {n: torch.rand(s, generator=generator) >= sparsity for n, s in shapes.items()}
    growth = (
        random_growth(weights, seed)
        if rule == "set"
        else gradient_growth({n: torch.randint(-1, 2, s).float() for n, s in shapes.items()})
    )
    new = exchange(weights, masks, growth, share)
    for name, mask in masks.items():
        assert int(new[name].sum()) == int(mask.sum())
        assert int((mask & ~new[name]).sum()) <= round(share * int(mask.sum()))


def test_nothing_is_exchanged_at_share_zero_and_in_dense_layers() -> None:
    weights, masks = example()
    dense = {"a": torch.ones(2, 4, dtype=torch.bool)}
    growth = random_growth(weights, 0)
    assert torch.equal(exchange(weights, masks, growth, 0.0)["a"], masks["a"])
    assert torch.equal(exchange(weights, dense, growth, 0.5)["a"], dense["a"])


def test_masks_that_were_given_stay() -> None:
    weights, masks = example()
    exchange(weights, masks, random_growth(weights, 0), 0.6)
    assert torch.equal(masks["a"], weights["a"] != 0)


def test_random_growth_is_fixed_by_its_seed_alone() -> None:
    weights, _ = example()
    before = torch.get_rng_state()
    first, again, other = (random_growth(weights, seed)["a"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_gradient_growth_ignores_the_sign() -> None:
    assert gradient_growth({"a": torch.tensor([-2.0, 1.0])})["a"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("places", [1, 3])
def test_random_growth_reaches_every_free_place(places: int) -> None:
    weights, masks = example()
    reached = torch.zeros(2, 4, dtype=torch.bool)
    for seed in range(60):
        reached |= exchange(weights, masks, random_growth(weights, seed), places / 5)["a"]
    assert bool(reached.all())
