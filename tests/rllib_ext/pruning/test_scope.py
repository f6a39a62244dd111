"""Which weights may be pruned, and how a number is shared out over layers."""

import itertools
import logging
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.scope import (
    prunable_weights,
    pruned_by_layer,
    share_capped,
    share_out,
    warn_of_unknown_layers,
)


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh())
        self.memory = nn.LSTM(8, 6)
        self.pi = nn.Linear(6, 2)
        self.vf = nn.Linear(6, 1)
        self.vf_extra = nn.Linear(6, 1)
        self.log_std = nn.Parameter(nn.init.zeros_(nn.Linear(2, 1).weight).clone())


def test_weight_matrices_are_found_and_biases_are_not() -> None:
    weights = prunable_weights(ActorCritic(), critic_prefixes=["vf"])
    assert list(weights.policy) == [
        "encoder.0.weight",
        "memory.weight_ih_l0",
        "memory.weight_hh_l0",
        "pi.weight",
        "vf_extra.weight",
    ]
    assert list(weights.critic) == ["vf.weight"]


def test_weights_are_the_modules_own_parameters() -> None:
    module = ActorCritic()
    by_name = dict(module.named_parameters())
    assert all(w is by_name[n] for n, w in prunable_weights(module).policy.items())


def test_excluded_layers_stay_dense() -> None:
    weights = prunable_weights(ActorCritic(), ["vf"], exclude=["pi.*", "memory.weight_hh*"])
    assert list(weights.policy) == ["encoder.0.weight", "memory.weight_ih_l0", "vf_extra.weight"]


@pytest.mark.parametrize("pattern", ["polcy.*", "encoder.0", "PI.*"])
def test_a_pattern_that_matches_nothing_is_refused_with_names_to_choose_from(pattern: str) -> None:
    with pytest.raises(ConfigError) as refused:
        prunable_weights(ActorCritic(), ["vf"], exclude=["pi.*", pattern])
    told = str(refused.value)
    assert f"exclude = ['pi.*', {pattern!r}]: {pattern!r} matches no parameter" in told
    names = "encoder.0.weight, memory.weight_ih_l0, memory.weight_hh_l0, pi.weight, vf.weight"
    assert names in told
    assert "bias" not in told


def test_of_a_large_network_some_names_are_told() -> None:
    layers = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    with pytest.raises(ConfigError, match=r"such as 0\.weight, .*, 7\.weight, …\. Correct"):
        prunable_weights(layers, exclude=["8.wieght"])


def test_a_pattern_may_match_a_bias_or_a_second_name_of_a_weight() -> None:
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    weights = prunable_weights(nn.Sequential(a, b), exclude=["*.bias", "1.weight"])
    assert list(weights.policy) == ["0.weight"]


def test_a_weight_that_two_layers_share_counts_once() -> None:
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    assert list(prunable_weights(nn.Sequential(a, b)).policy) == ["0.weight"]


def test_a_module_that_is_one_layer_has_a_name_too() -> None:
    assert list(prunable_weights(nn.Linear(2, 2)).policy) == ["weight"]


def layers() -> st.SearchStrategy[tuple[list[int], list[int], int]]:
    @st.composite
    def build(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
        sizes = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
        floors = [draw(st.integers(0, size)) for size in sizes]
        return sizes, floors, draw(st.integers(0, sum(sizes)))

    return build()


@given(layers())
@settings(deadline=None, derandomize=True, max_examples=400)
def test_shares_are_within_floors_and_sizes_and_add_up(
    case: tuple[list[int], list[int], int],
) -> None:
    sizes, floors, total = case
    counts = share_out(total, sizes, floors)
    assert sum(counts) == max(total, sum(floors))
    assert all(f <= c <= s for f, c, s in zip(floors, counts, sizes, strict=True))


@given(layers())
@settings(deadline=None, derandomize=True, max_examples=200)
def test_no_other_sharing_is_fairer(case: tuple[list[int], list[int], int]) -> None:
    """Brute force: none brings the layers closer to the exact shares (floors kept)."""
    sizes, floors, total = case
    counts = share_out(total, sizes, floors)
    target = sum(counts)

    def unfairness(candidate: tuple[int, ...]) -> list[Fraction]:
        # Distances from the common share, largest first: smaller is fairer.
        wanted = water_level(target, sizes, floors)
        return sorted((abs(c - w) for c, w in zip(candidate, wanted, strict=True)), reverse=True)

    everything = itertools.product(*(range(f, s + 1) for f, s in zip(floors, sizes, strict=True)))
    best = min(sum(unfairness(c)) for c in everything if sum(c) == target)
    assert sum(unfairness(tuple(counts))) == best


def water_level(total: int, sizes: list[int], floors: list[int]) -> list[Fraction]:
    """Exact shares p·size, raised to the floors, with p such that they add up to `total`."""
    candidates = {Fraction(f, s) for f, s in zip(floors, sizes, strict=True) if s} | {Fraction(0)}

    def filled(p: Fraction) -> list[Fraction]:
        return [max(Fraction(f), p * s) for f, s in zip(floors, sizes, strict=True)]

    low = max(p for p in candidates if sum(filled(p)) <= total)
    rising = [s for f, s in zip(floors, sizes, strict=True) if p_reached(f, s, low)]
    gap = total - sum(filled(low))
    return filled(low + (gap / sum(rising) if rising and gap else 0))


def p_reached(floor: int, size: int, p: Fraction) -> bool:
    return size > 0 and Fraction(floor) <= p * size


def test_remainders_go_to_the_largest_then_to_the_first() -> None:
    assert share_out(1, [1, 1, 1], [0, 0, 0]) == [1, 0, 0]
    assert share_out(2, [3, 3, 3], [0, 0, 0]) == [1, 1, 0]
    assert share_out(5, [10, 4, 6], [0, 0, 0]) == [3, 1, 1]


def test_a_floor_above_its_share_is_kept_and_the_others_share_the_rest() -> None:
    assert share_out(6, [10, 10], [5, 0]) == [5, 1]
    assert share_out(3, [10, 10], [5, 0]) == [5, 0]


def test_layers_without_weights_get_nothing() -> None:
    assert share_out(0, [0, 0], [0, 0]) == [0, 0]
    assert share_out(3, [0, 4], [0, 0]) == [0, 3]


def published_erk_densities(shapes: list[tuple[int, ...]], sparsity: float) -> list[float]:
    """Evci et al. 2020, §3: density ∝ Σ dimensions ÷ Π dimensions, at most 1, by their search for ε."""
    dense: set[int] = set()
    while True:
        total = sum(math.prod(s) for s in shapes) * (1 - sparsity)
        total -= sum(math.prod(shapes[i]) for i in dense)
        raw = [sum(s) / math.prod(s) for s in shapes]
        epsilon = total / sum(raw[i] * math.prod(s) for i, s in enumerate(shapes) if i not in dense)
        densities = [1.0 if i in dense else epsilon * raw[i] for i in range(len(shapes))]
        worst = max(range(len(shapes)), key=lambda i: densities[i])
        if densities[worst] <= 1.0 + 1e-12:
            return densities
        dense.add(worst)


NETWORKS = {
    "64-64 policy": [(64, 4), (64, 64), (2, 64)],
    "wide policy": [(256, 17), (256, 256), (12, 256)],
    "MinAtar CNN": [(16, 4, 3, 3), (32, 16, 3, 3), (128, 2048), (6, 128)],
    "LeNet-300-100": [(300, 784), (100, 300), (10, 100)],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_erk_densities_are_as_published(name: str, sparsity: float) -> None:
    shapes = NETWORKS[name]
    sizes = [math.prod(shape) for shape in shapes]
    total = round(sparsity * sum(sizes))
    pruned = pruned_by_layer("erk", total, shapes, [0] * len(shapes))
    assert sum(pruned) == total
    published = published_erk_densities(shapes, total / sum(sizes))
    for count, size, density in zip(pruned, sizes, published, strict=True):
        assert abs((size - count) - density * size) < 1.0


def test_erk_by_hand() -> None:
    """Sums 68, 128, 66 of 256 + 4096 + 128 weights; 10 % are 448, the head would exceed 1 beyond 508."""
    assert pruned_by_layer("erk", 4480 - 262, NETWORKS["64-64 policy"], [0, 0, 0]) == [
        256 - 68,
        4096 - 128,
        128 - 66,
    ]
    half = pruned_by_layer("erk", 2240, NETWORKS["64-64 policy"], [0, 0, 0])
    assert half == [0, 2240, 0]


def test_erk_keeps_what_is_pruned_already() -> None:
    shapes = NETWORKS["64-64 policy"]
    pruned = pruned_by_layer("erk", 4000, shapes, [250, 0, 128])
    assert pruned[0] == 250
    assert pruned[2] == 128
    assert sum(pruned) == 4000
    assert pruned_by_layer("erk", 0, shapes, [250, 0, 128]) == [250, 0, 128]


def test_layers_that_are_not_understood_are_named_in_one_warning(caplog) -> None:
    known = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.LSTM(4, 4))
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_layers(known)
    assert not caplog.records
    module = nn.ModuleDict(
        {"known": known, "table": nn.Embedding(5, 3), "mixer": nn.MultiheadAttention(4, 2)}
    )
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_layers(module)
    assert len(caplog.records) == 1
    assert "table (Embedding), mixer (MultiheadAttention)" in caplog.text
    assert not {"table.weight", "mixer.in_proj_weight"} & prunable_weights(module).policy.keys()


@given(layers())
@settings(deadline=None, derandomize=True, max_examples=200)
def test_capped_shares_add_up_and_the_uncapped_are_in_proportion(
    case: tuple[list[int], list[int], int],
) -> None:
    claims, caps, wanted = case
    claims = [claim + 1 for claim in claims]
    total = min(wanted, sum(caps))
    counts = share_capped(total, claims, caps)
    assert sum(counts) == total
    assert all(0 <= n <= cap for n, cap in zip(counts, caps, strict=True))
    for (n, claim, cap), (m, other, _) in itertools.permutations(
        zip(counts, claims, caps, strict=True), 2
    ):
        if n < cap:
            # Nobody below its cap is more than a rounding behind another.
            assert Fraction(n + 1, claim) >= Fraction(m - 1, other)
