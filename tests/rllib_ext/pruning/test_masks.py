"""Masks: exact counts, nesting, thresholds, and what lies on disk."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.pruning.masks import (
    apply_masks_,
    count_for,
    count_zeros,
    full_masks,
    load_masks,
    masks_from_numpy,
    masks_to_numpy,
    prune,
    save_masks,
    sparsity_of,
)

SPARSITIES = (0.0, 0.1, 1 / 3, 0.5, 0.77, 0.95, 0.999)


def random_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (7, 5), "b": (3, 7), "conv": (4, 2, 3, 3), "c": (1, 3)}
    return {n: torch.randn(shape, generator=generator) for n, shape in shapes.items()}


def magnitudes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight.abs() for name, weight in weights.items()}


def pruned(masks: dict[str, torch.Tensor]) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_layerwise_equals_torch_l1_unstructured(sparsity: float) -> None:
    weights = random_weights()
    for name, weight in weights.items():
        layer = {name: weight}
        count = count_for(sparsity, layer)
        ours = prune(magnitudes(layer), full_masks(layer), scope="layerwise", count=count)
        holder = nn.Module()
        holder.register_parameter("w", nn.Parameter(weight.clone()))
        torch_prune.l1_unstructured(holder, "w", amount=count)
        assert torch.equal(ours[name], holder.w_mask.bool())


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("seed", range(5))
def test_global_equals_torch_global_unstructured(sparsity: float, seed: int) -> None:
    weights = random_weights(seed)
    count = count_for(sparsity, weights)
    ours = prune(magnitudes(weights), full_masks(weights), scope="global", count=count)
    holders = {}
    for name, weight in weights.items():
        holders[name] = nn.Module()
        holders[name].register_parameter("w", nn.Parameter(weight.clone()))
    torch_prune.global_unstructured(
        [(holder, "w") for holder in holders.values()],
        pruning_method=torch_prune.L1Unstructured,
        amount=count,
    )
    for name, holder in holders.items():
        assert torch.equal(ours[name], holder.w_mask.bool())


def test_ties_go_by_position() -> None:
    scores = {"a": torch.ones(2, 3), "b": torch.ones(2, 2)}
    masks = prune(scores, full_masks(scores), scope="global", count=7)
    assert masks["a"].flatten().tolist() == [False] * 6
    assert masks["b"].flatten().tolist() == [False, True, True, True]


def test_count_rounds_halves_to_even() -> None:
    weights = {"a": torch.ones(5, 1)}
    assert [count_for(s, weights) for s in (0.1, 0.3, 0.5, 0.7, 0.9)] == [0, 2, 2, 4, 4]
    assert count_for(0.0, weights) == 0


def test_what_is_pruned_stays_pruned_whatever_its_score() -> None:
    weights = random_weights()
    before = prune(magnitudes(weights), full_masks(weights), scope="global", count=40)
    reversed_scores = {name: -weight.abs() for name, weight in weights.items()}
    after = prune(reversed_scores, before, scope="global", count=60)
    assert pruned(after) == 60
    assert all(bool((before[n] | ~after[n]).all()) for n in before)


def test_a_target_below_the_sparsity_reached_holds() -> None:
    weights = random_weights()
    before = prune(magnitudes(weights), full_masks(weights), scope="global", count=40)
    for scope in ("global", "layerwise"):
        assert equal(prune(magnitudes(weights), before, scope=scope, count=10), before)


def test_article_weights_below_the_threshold_go() -> None:
    """ARTICLE §4.3 by its formula: what it prints ([0,5,0]) contradicts |w| < 3."""
    weights = {
        "w1": torch.tensor([[1.0, 2.0, 3.0]]),
        "w2": torch.tensor([[4.0, 5.0, 6.0]]),
        "w3": torch.tensor([[7.0, 8.0, 9.0]]),
    }
    masks = prune(magnitudes(weights), full_masks(weights), scope="global", threshold=3.0)
    apply_masks_(weights, masks)
    assert {n: w.flatten().tolist() for n, w in weights.items()} == {
        "w1": [0.0, 0.0, 3.0],
        "w2": [4.0, 5.0, 6.0],
        "w3": [7.0, 8.0, 9.0],
    }


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_threshold_alone_prunes_what_is_below_it(scope: str) -> None:
    weights = random_weights()
    scores = magnitudes(weights)
    masks = prune(scores, full_masks(weights), scope=scope, threshold=0.6)
    assert all(torch.equal(masks[name], scores[name] >= 0.6) for name in weights)
    assert equal(
        prune(scores, full_masks(weights), scope=scope, threshold=0.0), full_masks(weights)
    )


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_threshold_and_count_take_the_lesser_of_the_two(scope: str) -> None:
    weights = random_weights()
    scores = magnitudes(weights)
    by_threshold = prune(scores, full_masks(weights), scope=scope, threshold=0.6)
    below = pruned(by_threshold)
    far = prune(scores, full_masks(weights), scope="global", threshold=0.6, count=below + 30)
    assert equal(far, by_threshold)
    near = prune(scores, full_masks(weights), scope=scope, threshold=0.6, count=10)
    assert pruned(near) <= 10
    assert all(bool((by_threshold[n] <= near[n]).all()) for n in near)
    if scope == "global":
        assert pruned(near) == 10


def test_empty_and_one_weight_layers_are_pruned_exactly() -> None:
    weights = {"none": torch.zeros(0, 4), "one": torch.ones(1, 1), "two": torch.full((2, 1), 2.0)}
    for scope, count in itertools.product(("global", "layerwise"), range(4)):
        masks = prune(magnitudes(weights), full_masks(weights), scope=scope, count=count)
        assert pruned(masks) == count
        assert masks["none"].shape == (0, 4)
    assert prune({}, {}, scope="global", count=0) == {}


@given(data=st.data(), scope=st.sampled_from(["global", "layerwise"]))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_counts_are_exact_and_masks_nest_for_any_scores(data: st.DataObject, scope: str) -> None:
    sizes = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    weights = {
        f"layer{i}": torch.tensor(
            data.draw(st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.0]), min_size=n, max_size=n)),
            dtype=torch.float32,
        ).view(n, 1)
        for i, n in enumerate(sizes)
    }
    total = sum(sizes)
    masks = full_masks(weights)
    for count in sorted(data.draw(st.lists(st.integers(0, total), max_size=5))):
        before, masks = masks, prune(weights, masks, scope=scope, count=count)
        assert pruned(masks) == max(count, pruned(before))
        assert all(bool((masks[n] <= before[n]).all()) for n in masks)


def test_masked_weights_become_exactly_zero_and_others_stay() -> None:
    weights = random_weights()
    original = copy.deepcopy(weights)
    masks = prune(magnitudes(weights), full_masks(weights), scope="global", count=50)
    apply_masks_(weights, masks)
    assert count_zeros(weights.values()) == 50
    for name, mask in masks.items():
        assert torch.equal(weights[name], torch.where(mask, original[name], 0.0))


def test_a_masked_nan_becomes_zero_too() -> None:
    weights = {"a": torch.tensor([[float("nan"), 1.0]])}
    apply_masks_(weights, {"a": torch.tensor([[False, True]])})
    assert weights["a"].tolist() == [[0.0, 1.0]]


def test_sparsity_counts_stored_zeros() -> None:
    weights = {"a": torch.tensor([[0.0, -0.0, 1.0]]), "b": torch.tensor([[0.0]])}
    assert count_zeros(weights.values()) == 3
    assert sparsity_of(weights) == 0.75
    assert sparsity_of({}) == 0.0


def test_masks_survive_the_file(tmp_path) -> None:
    weights = random_weights()
    masks = prune(magnitudes(weights), full_masks(weights), scope="global", count=33)
    save_masks(tmp_path / "masks.npz", masks)
    loaded = load_masks(tmp_path / "masks.npz", weights)
    assert equal(masks, loaded)
    assert all(mask.dtype == torch.bool for mask in loaded.values())


def test_a_damaged_or_missing_file_is_named(tmp_path) -> None:
    path = tmp_path / "masks.npz"
    with pytest.raises(CheckpointError, match=r"masks\.npz"):
        load_masks(path, {})
    path.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"masks\.npz"):
        load_masks(path, {})
    save_masks(path, full_masks(random_weights()))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=r"masks\.npz"):
        load_masks(path, random_weights())


def test_pickled_masks_are_refused(tmp_path) -> None:
    path = tmp_path / "masks.npz"
    np.savez(path, a=np.array([{"code": "here"}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"masks\.npz"):
        load_masks(path, {"a": torch.ones(1, 1)})


def test_masks_of_another_network_are_refused() -> None:
    arrays = masks_to_numpy(full_masks(random_weights()))
    with pytest.raises(CheckpointError, match="'other'"):
        masks_from_numpy(arrays, {"other": torch.ones(2, 2)})
    with pytest.raises(CheckpointError, match=r"'a'.*\(7, 5\).*\(5, 7\)"):
        masks_from_numpy(arrays, {**random_weights(), "a": torch.ones(5, 7)})
