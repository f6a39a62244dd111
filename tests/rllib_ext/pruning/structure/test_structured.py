import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.prune import ln_structured

from rllib_ext.pruning.masks import apply_masks_, full_masks
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.structured import group_scores, prune_groups

NETWORKS = [
    "actor_critic",
    "concatenated",
    "convolutional",
    "recurrent",
    "residual",
    "two_encoders",
]


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: w.detach() for name, w in prunable_weights(net).policy.items()}


def structure_of(net: nn.Module, probe: Probe, granularity: str = "neuron") -> Structure:
    return build_structure(trace(net, probe), granularity, weights_of(net))


def chain(*widths: int, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def magnitudes(net: nn.Module) -> dict[str, Tensor]:
    return {name: w.abs() for name, w in weights_of(net).items()}


def pruned(masks: dict[str, Tensor]) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def test_modules_scored_1_4_and_7_with_threshold_3_lose_the_first(probe_for):
    # ARTICLE §4.3: M1 goes, M2 and M3 stay.
    net = chain(2, 3, 1, bias=False)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.5, 1.0], [3.0, 4.0], [6.0, 7.0]]))
        net[2].weight.copy_(torch.tensor([[1.5, 5.0, 8.0]]))
    structure = structure_of(net, probe_for((2,)))
    masks = full_masks(weights_of(net))
    assert group_scores(structure, magnitudes(net), masks).tolist() == [1.0, 4.0, 7.0]
    after = prune_groups(
        structure, magnitudes(net), masks, scope="global", among=masks, threshold=3.0
    )
    assert after["0.weight"].tolist() == [[False] * 2, [True] * 2, [True] * 2]
    assert after["2.weight"].tolist() == [[False, True, True]]


def test_a_score_equal_to_the_threshold_stays(probe_for):
    net = chain(1, 3, 1, bias=False)
    scores = torch.tensor([3.0, 2.5, 5.0])
    with torch.no_grad():
        net[0].weight.copy_(scores[:, None])
        net[2].weight.copy_(scores[None])
    structure = structure_of(net, probe_for((1,)))
    masks = full_masks(weights_of(net))
    after = prune_groups(
        structure, magnitudes(net), masks, scope="global", among=masks, threshold=3.0
    )
    assert after["0.weight"].flatten().tolist() == [True, False, True]


@pytest.mark.parametrize("count", [1, 5, 11])
def test_rows_go_as_in_torchs_ln_structured_where_columns_are_alike(count, probe_for):
    torch.manual_seed(count)
    net = chain(7, 12, 2)
    nn.init.ones_(net[2].weight)
    structure = structure_of(net, probe_for((7,)))
    masks = full_masks(weights_of(net))
    share = count * 9 / (7 * 12 + 2 * 12)
    after = prune_groups(
        structure, magnitudes(net), masks, scope="global", among=masks, sparsity=share
    )
    theirs = nn.Linear(7, 12)
    theirs.weight = nn.Parameter(net[0].weight.detach().clone())
    ln_structured(theirs, "weight", amount=count, n=1, dim=0)
    assert torch.equal(after["0.weight"], theirs.weight_mask.bool())


def brute_force(net, scores, masks, sparsity):
    """Groups of a chain of linear layers as sets of single weights, one after the other."""
    names = list(masks)
    kept = {(n, *i) for n in names for i in torch.nonzero(masks[n]).tolist()}
    groups = []
    for name, after in itertools.pairwise(names):
        for unit in range(masks[name].shape[0]):
            row = {(name, unit, j) for j in range(masks[name].shape[1])}
            groups.append((name, row | {(after, i, unit) for i in range(masks[after].shape[0])}))
    total = sum(m.numel() for m in masks.values())

    def mean(group: set) -> float:
        return sum(float(scores[n][i, j]) for n, i, j in sorted(group)) / len(group)

    live = [(mean(g & kept), k, n, g) for k, (n, g) in enumerate(groups) if g & kept]
    left = {n: sum(1 for *_, m, _ in live if m == n) for n in names}
    for _, _, name, group in sorted(live, key=lambda item: item[:2]):
        if left[name] == 1:
            continue
        if total - len(kept - group) > math.floor(sparsity * total + 1e-9):
            break
        left[name] -= 1
        kept -= group
    return {
        n: torch.tensor([[(n, i, j) in kept for j in range(m.shape[1])] for i in range(m.shape[0])])
        for n, m in masks.items()
    }


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.integers(1, 5), min_size=3, max_size=5),
    st.lists(st.floats(0, 1), min_size=1, max_size=3),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_brute_force_removes_the_same_units_step_by_step(widths, sparsities, seed, ties):
    net = chain(*widths)
    probe = Probe(
        inputs=lambda m, g: torch.randn(2, widths[0], generator=g),
        forward=lambda m, x: m(x),
        observations=2,
    )
    structure = structure_of(net, probe)
    generator = torch.Generator().manual_seed(seed)
    masks = full_masks(weights_of(net))
    for sparsity in sparsities:
        scores = {
            name: torch.randint(0, 2 if ties else 10_000, m.shape, generator=generator).double()
            for name, m in masks.items()
        }
        expected = brute_force(net, scores, masks, sparsity)
        after = prune_groups(
            structure, scores, masks, scope="global", among=masks, sparsity=sparsity
        )
        assert all(torch.equal(after[name], mask) for name, mask in expected.items())
        masks = after


@settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    network=st.sampled_from(NETWORKS),
    scope=st.sampled_from(["global", "layerwise"]),
    sparsities=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
)
def test_masks_only_lose_whole_groups_and_never_too_much(
    network, scope, sparsities, seed, networks, probe_for
):
    net = networks[network]()
    structure, weights = structure_of(net, probe_for(networks[network].shape)), weights_of(net)
    masks = full_masks(weights)
    total = sum(w.numel() for w in weights.values())
    generator = torch.Generator().manual_seed(seed)
    for sparsity in sparsities:
        scores = {n: torch.rand(w.shape, generator=generator) for n, w in weights.items()}
        after = prune_groups(
            structure, scores, masks, scope=scope, among=weights, sparsity=sparsity
        )
        assert all(bool((mask <= masks[name]).all()) for name, mask in after.items())
        assert pruned(after) <= max(math.floor(sparsity * total + 1e-9), pruned(masks))
        removed = structure.removed(after)
        rebuilt = structure.keep_masks(removed, full_masks(weights))
        assert all(torch.equal(rebuilt[name], mask) for name, mask in after.items())
        taken: dict[str, int] = {}
        for group in torch.nonzero(removed).flatten().tolist():
            for layer, units in structure.takes[group].items():
                taken[layer] = taken.get(layer, 0) + units
        assert all(units < structure.widths[layer] for layer, units in taken.items())
        masks = after


@pytest.mark.parametrize("scope", ["global", "layerwise"])
def test_the_next_group_would_have_been_too_much(scope, probe_for, networks):
    torch.manual_seed(1)
    net = networks["actor_critic"]()
    structure = structure_of(net, probe_for((6,)))
    weights = weights_of(net)
    total = sum(w.numel() for w in weights.values())
    largest = int(structure.totals(full_masks(weights)).max())
    for sparsity in (0.1, 0.3, 0.5, 0.7, 0.9):
        after = prune_groups(
            structure,
            magnitudes(net),
            full_masks(weights),
            scope=scope,
            among=weights,
            sparsity=sparsity,
        )
        assert sparsity * total - largest < pruned(after) <= sparsity * total


def test_layerwise_takes_the_same_share_of_units_from_each_layer(probe_for):
    torch.manual_seed(0)
    net = chain(4, 8, 16, 4)
    with torch.no_grad():
        net[0].weight.mul_(100)
    structure = structure_of(net, probe_for((4,)))
    weights = weights_of(net)
    scores = magnitudes(net)
    masks = full_masks(weights)

    def removed_by_layer(scope: str) -> list[int]:
        after = prune_groups(structure, scores, masks, scope=scope, among=weights, sparsity=0.5)
        lost = structure.removed(after)
        return [int(lost[:8].sum()), int(lost[8:].sum())]

    first, second = removed_by_layer("layerwise")
    assert abs(first / 8 - second / 16) <= 1 / 8
    assert removed_by_layer("global")[0] == 0


def test_threshold_and_target_together_stop_at_whichever_comes_first(probe_for):
    torch.manual_seed(0)
    net = chain(4, 10, 10, 2)
    structure = structure_of(net, probe_for((4,)))
    scores, weights = magnitudes(net), weights_of(net)
    masks = full_masks(weights)

    def after(**how) -> int:
        return pruned(prune_groups(structure, scores, masks, scope="global", among=masks, **how))

    by_threshold = after(threshold=0.2)
    assert 0 < by_threshold < after(threshold=0.5)
    assert after(threshold=0.2, sparsity=0.99) == by_threshold
    assert after(threshold=0.5, sparsity=0.1) == after(sparsity=0.1)


def test_scores_are_those_of_the_weights_that_are_left(probe_for):
    torch.manual_seed(0)
    net = chain(3, 4, 4, 2)
    structure = structure_of(net, probe_for((3,)))
    masks = full_masks(weights_of(net))
    masks = structure.keep_masks(torch.tensor([True] * 2 + [False] * 6), masks)
    scores = magnitudes(net)
    values = group_scores(structure, scores, masks)
    assert values[:2].isnan().all()
    left = torch.cat([scores["2.weight"][1, 2:], scores["4.weight"][:, 1]]).double()
    assert values[5].item() == pytest.approx(left.mean().item(), abs=1e-12)


def test_units_that_are_dead_already_do_not_count_as_the_last_one(probe_for):
    net = chain(3, 3, 1)
    structure = structure_of(net, probe_for((3,)))
    masks = full_masks(weights_of(net))
    # Units 0 and 1 read nothing: unit 2 is the last live one although it has the lowest score.
    masks["0.weight"][:2] = False
    scores = {"0.weight": torch.ones(3, 3) * 0.1, "2.weight": torch.ones(1, 3)}
    after = prune_groups(structure, scores, masks, scope="global", among=masks, sparsity=1.0)
    assert after["0.weight"].tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert after["2.weight"].tolist() == [[False, False, True]]


def test_the_critics_units_answer_to_the_critics_target(probe_for):
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pi, self.vf = chain(4, 8, 2), chain(4, 8, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.pi(x), self.vf(x)

    torch.manual_seed(0)
    net = Apart()
    structure = structure_of(net, probe_for((4,)))
    weights = weights_of(net)
    masks = full_masks(weights)
    actor = [name for name in weights if name.startswith("pi")]
    after = prune_groups(
        structure, magnitudes(net), masks, scope="global", among=actor, sparsity=0.5
    )
    assert pruned({n: after[n] for n in actor}) == 24
    assert pruned({n: after[n] for n in weights if n not in actor}) == 0


def test_shared_units_take_the_critics_columns_along_but_are_counted_on_the_policy_path(
    probe_for, networks
):
    torch.manual_seed(0)
    net = networks["actor_critic"]()
    structure = structure_of(net, probe_for((6,)))
    weights = weights_of(net)
    masks = full_masks(weights)
    policy = [name for name in weights if not name.startswith("vf")]
    total = sum(weights[n].numel() for n in policy)
    after = prune_groups(
        structure, magnitudes(net), masks, scope="global", among=policy, sparsity=0.6
    )
    gone = ~after["pi.weight"].any(0)
    assert torch.equal(gone, ~after["vf.weight"][0])
    assert pruned({n: after[n] for n in policy}) <= 0.6 * total


def test_biases_go_with_their_units(probe_for, networks):
    torch.manual_seed(0)
    net = networks["recurrent"]()
    structure = structure_of(net, probe_for((7, 5)))
    masks = prune_groups(
        structure,
        magnitudes(net),
        full_masks(weights_of(net)),
        scope="layerwise",
        among=weights_of(net),
        sparsity=0.5,
    )
    parameters = dict(net.named_parameters())
    biases = structure.bias_masks(masks)
    apply_masks_(parameters, {**masks, **biases})
    assert set(biases) == {"tokens.bias", "core.bias_ih_l0", "core.bias_hh_l0"}
    for name, mask in biases.items():
        matrix = name.replace("bias", "weight")
        assert torch.equal(mask, masks[matrix].any(1))
        assert not parameters[name][~mask].any()


def test_one_branch_always_stays(probe_for, networks):
    net = networks["two_encoders"]()
    structure = structure_of(net, probe_for(networks["two_encoders"].shape), "branch")
    masks = full_masks(weights_of(net))
    after = prune_groups(
        structure, magnitudes(net), masks, scope="global", among=masks, sparsity=1.0
    )
    assert structure.removed(after).sum() == 1


def test_a_layer_goes_whole_or_not_at_all(probe_for, networks):
    net = networks["residual"]()
    structure = structure_of(net, probe_for((6,)), "layer")
    weights = weights_of(net)
    masks = full_masks(weights)
    share = 140 / sum(w.numel() for w in weights.values())
    for sparsity, expected in ((share - 0.01, 0), (share + 1e-6, 140), (1.0, 140)):
        after = prune_groups(
            structure, magnitudes(net), masks, scope="global", among=masks, sparsity=sparsity
        )
        assert pruned(after) == expected
