import copy

import pytest
import torch
import torch_pruning as tp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.pruning.masks import apply_masks_, full_masks, prune
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.counts import count
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.shrink import TOLERANCE, Constant, shrink
from rllib_ext.pruning.structure.structured import prune_groups

NETWORKS = [
    "actor_critic",
    "concatenated",
    "convolutional",
    "recurrent",
    "residual",
    "two_encoders",
]


def prunable(net: nn.Module) -> dict[str, Tensor]:
    return {name: w.detach() for name, w in prunable_weights(net).policy.items()}


def by_units(net: nn.Module, probe: Probe, sparsity: float, scope="global", granularity="neuron"):
    """Prunes a network in place by groups, biases included; returns the masks."""
    weights = prunable(net)
    structure = build_structure(trace(net, probe), granularity, weights)
    scores = {name: w.abs() for name, w in weights.items()}
    masks = prune_groups(
        structure, scores, full_masks(weights), scope=scope, among=weights, sparsity=sparsity
    )
    parameters = dict(net.named_parameters())
    apply_masks_(parameters, {**masks, **structure.bias_masks(masks)})
    return structure, masks


def by_weights(net: nn.Module, sparsity: float):
    """Prunes a network in place by single weights, biases left alive; returns the masks."""
    weights = prunable(net)
    total = sum(w.numel() for w in weights.values())
    scores = {name: w.abs() for name, w in weights.items()}
    masks = prune(scores, full_masks(weights), scope="global", count=round(sparsity * total))
    apply_masks_(weights, masks)
    return masks


def outputs_of(module: nn.Module, x):
    found = module(x)
    return found if isinstance(found, dict) else {"": found}


def assert_equal_outputs(a: nn.Module, b: nn.Module, probe: Probe) -> None:
    x = probe.inputs(a, torch.Generator().manual_seed(99))
    with torch.no_grad():
        ours, theirs = outputs_of(a, x), outputs_of(b, x)
    for name, expected in theirs.items():
        limit = TOLERANCE * float(expected.abs().max())
        assert float((ours[name] - expected).abs().max()) <= limit


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.3, 0.7, 0.95])
def test_a_network_pruned_by_units_shrinks_to_what_is_left(network, sparsity, probe_for, networks):
    torch.manual_seed(0)
    net, probe = networks[network](), probe_for(networks[network].shape)
    structure, masks = by_units(net, probe, sparsity)
    shrunk = shrink(net, masks, probe)
    assert_equal_outputs(shrunk.module, net, probe)
    for layer, units in shrunk.kept.items():
        removed = structure.removed(masks)
        matrix = structure.graph.layers[layer].incoming
        groups = structure.rows[matrix][: structure.widths[layer]]
        alive = [u for u, g in enumerate(groups.tolist()) if g < 0 or not removed[g]]
        assert units.tolist() == alive
    assert shrunk.after.nonzero == shrunk.after.parameters == shrunk.before.nonzero
    assert shrunk.after.macs < shrunk.before.macs


@settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    network=st.sampled_from(NETWORKS),
    sparsity=st.floats(0.3, 1.0),
    seed=st.integers(0, 10_000),
)
def test_any_network_pruned_by_weights_keeps_its_outputs(
    network, sparsity, seed, networks, probe_for
):
    torch.manual_seed(seed)
    net, probe = networks[network](), probe_for(networks[network].shape)
    masks = by_weights(net, sparsity)
    shrunk = shrink(net, masks, probe)
    assert_equal_outputs(shrunk.module, net, probe)
    assert shrunk.after.parameters <= shrunk.before.parameters
    assert shrunk.difference <= TOLERANCE


@pytest.mark.parametrize(
    "activation", [nn.Tanh, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.GELU, nn.ELU]
)
@pytest.mark.parametrize("network", ["actor_critic", "convolutional"])
def test_units_without_inputs_are_folded_into_the_next_bias(
    activation, network, probe_for, networks
):
    torch.manual_seed(0)
    net, probe = networks[network](activation), probe_for(networks[network].shape)
    masks = full_masks(prunable(net))
    first, second = list(masks)[:2]
    masks[first][:2] = False
    masks[second][1] = False
    shrunk = shrink(net, masks, probe)
    apply_masks_(prunable(net), masks)
    assert_equal_outputs(shrunk.module, net, probe)
    layer = first.removesuffix(".weight")
    assert shrunk.kept[layer].tolist() == list(range(2, masks[first].shape[0]))
    assert 1 not in shrunk.kept[second.removesuffix(".weight")].tolist()


def test_constant_and_unread_units_are_found_through_several_layers(probe_for):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 4), nn.Tanh(),
        nn.Linear(4, 2),
    )  # fmt: skip
    masks = full_masks(prunable(net))
    masks["0.weight"][0] = False
    masks["2.weight"][0, 1:] = False  # reads unit 0 of the first layer only, which is constant
    masks["6.weight"][:, 3] = False
    masks["4.weight"][:3, 3] = False  # unit 3 of the third is read by unit 3 of the fourth only
    shrunk = shrink(net, masks, probe_for((3,)))
    assert [shrunk.kept[name].tolist() for name in ("0", "2", "4", "6")] == [
        [1, 2, 3],
        [1, 2],
        [0, 1, 2],
        [0, 1],
    ]


def test_a_constant_channel_is_not_folded_where_padding_would_show(probe_for):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 3, 3, padding=1))
    probe = probe_for((2, 6, 6))
    masks = full_masks(prunable(net))
    masks["0.weight"][1] = False
    assert shrink(net, masks, probe).kept["0"].tolist() == [0, 1, 2, 3]
    net[2].padding = (0, 0)
    net[2] = nn.Conv2d(4, 3, 3)
    assert shrink(net, masks, probe).kept["0"].tolist() == [0, 2, 3]
    net = nn.Sequential(net[0], nn.ReLU(), nn.ZeroPad2d(1), net[2])
    masks = {"0.weight": masks["0.weight"], "3.weight": masks["2.weight"]}
    with torch.no_grad():
        net[0].bias[1] = -1.0
    assert shrink(net, masks, probe).kept["0"].tolist() == [0, 2, 3]
    with torch.no_grad():
        net[0].bias[1] = 1.0
    assert shrink(net, masks, probe).kept["0"].tolist() == [0, 1, 2, 3]


def test_nothing_is_folded_into_a_layer_without_bias(probe_for):
    net = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2, bias=False))
    masks = full_masks(prunable(net))
    masks["0.weight"][1] = False
    assert shrink(net, masks, probe_for((3,))).kept["0"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_unit_goes_when_it_stays_at_zero_or_when_nothing_reads_it(
    kind, gates, probe_for, networks
):
    torch.manual_seed(0)
    net, probe = networks["recurrent"](kind), probe_for((50, 5))
    masks = full_masks(prunable(net))
    candidate = {4: 2, 3: 2, 1: 0}[gates] * 8
    masks["core.weight_ih_l0"][candidate + 1] = False
    masks["core.weight_hh_l0"][candidate + 1] = False
    rows = torch.arange(gates * 8)
    masks["core.weight_hh_l0"][rows % 8 != 3, 3] = False
    masks["head.weight"][:, 3] = False
    with torch.no_grad():
        for bias in (net.core.bias_ih_l0, net.core.bias_hh_l0):
            bias[candidate + 1] = 0.0
    shrunk = shrink(net, masks, probe)
    assert shrunk.kept["core"].tolist() == [0, 2, 4, 5, 6, 7]
    with torch.no_grad():
        net.core.bias_ih_l0[candidate + 1] = 0.5
    assert shrink(net, masks, probe).kept["core"].tolist() == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("network", ["actor_critic", "convolutional", "residual"])
def test_shapes_and_outputs_are_those_of_torch_prunings_removal(network, probe_for, networks):
    torch.manual_seed(0)
    net, probe = networks[network](), probe_for(networks[network].shape)
    structure, masks = by_units(net, probe, 0.6)
    shrunk = shrink(net, masks, probe)
    theirs = copy.deepcopy(net)
    x = probe.inputs(net, torch.Generator().manual_seed(0))
    removers = {nn.Linear: tp.prune_linear_out_channels, nn.Conv2d: tp.prune_conv_out_channels}
    for layer, kept in shrunk.kept.items():
        module = theirs.get_submodule(layer)
        dead = sorted(set(range(structure.widths[layer])) - set(kept.tolist()))
        width = module.weight.shape[0]
        if dead and width == structure.widths[layer]:
            graph = tp.DependencyGraph().build_dependency(theirs, example_inputs=x)
            graph.get_pruning_group(module, removers[type(module)], dead).prune()
    ours = {name: p.shape for name, p in shrunk.module.named_parameters()}
    assert ours == {name: p.shape for name, p in theirs.named_parameters()}
    assert_equal_outputs(shrunk.module, theirs, probe)


def test_a_removed_layer_keeps_its_bias_and_no_weights(probe_for, networks):
    torch.manual_seed(0)
    net, probe = networks["residual"](), probe_for((6,))
    _, masks = by_units(net, probe, 0.99, granularity="layer")
    shrunk = shrink(net, masks, probe)
    assert_equal_outputs(shrunk.module, net, probe)
    assert isinstance(shrunk.module.second, Constant)
    assert shrunk.after.macs == 6 * 10 + 10 * 3


def test_a_removed_branch_costs_nothing_any_more(probe_for, networks):
    torch.manual_seed(0)
    net, probe = networks["two_encoders"](), probe_for(networks["two_encoders"].shape)
    _, masks = by_units(net, probe, 0.9, granularity="branch")
    shrunk = shrink(net, masks, probe)
    assert_equal_outputs(shrunk.module, net, probe)
    assert isinstance(shrunk.module.camera[0], Constant)
    assert shrunk.after.macs == 3 * 5 + (5 + 9) * 6 + 6 * 2


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
@pytest.mark.parametrize("padding", [0, 2, "same"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_constant_layer_gives_the_shape_and_values_of_the_layer(convolution, padding, bias):
    stride = 1 if padding == "same" else 2
    layer = convolution(2, 3, 3, stride=stride, padding=padding, dilation=2, bias=bias)
    nn.init.zeros_(layer.weight)
    axes = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}[convolution]
    x = torch.randn(4, 2, *range(7, 7 + axes))
    assert torch.equal(Constant(layer)(x), layer(x))


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.BatchNorm1d(6), nn.GroupNorm(2, 6)])
@pytest.mark.parametrize("where", ["0.weight", "2.weight"])
def test_a_normalisation_between_is_refused_by_name(norm, where, probe_for):
    net = nn.Sequential(nn.Linear(3, 6), copy.deepcopy(norm), nn.Linear(6, 2))
    masks = full_masks(prunable(net))
    if where == "0.weight":
        masks[where][2] = False
    else:
        masks[where][:, 2] = False
    if isinstance(norm, nn.BatchNorm1d) and where == "2.weight":
        # Rescaled but not mixed: nothing depends on the unit, so it could go; it stays, unread.
        assert shrink(net, masks, probe_for((3,))).kept["0"].tolist() == list(range(6))
        return
    with pytest.raises(ShrinkError, match=f"1 \\({type(norm).__name__}\\)"):
        shrink(net, masks, probe_for((3,)))


def test_a_normalised_network_without_dead_units_is_left_at_its_size(probe_for):
    net = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    shrunk = shrink(net, full_masks(prunable(net)), probe_for((3,)))
    assert shrunk.before == shrunk.after


def test_a_parameter_of_ones_own_over_removed_units_is_reported(probe_for):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2)
            self.scale = nn.Parameter(torch.rand(6) + 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).tanh() * self.scale)

    net = Scaled()
    masks = full_masks(prunable(net))
    masks["second.weight"][:, 0] = False
    with pytest.raises(ShrinkError, match="does not run"):
        shrink(net, masks, probe_for((3,)))


def test_outputs_that_differ_are_never_called_equal(probe_for):
    class WidthDependent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).tanh()) * self.first.out_features

    net = WidthDependent()
    masks = full_masks(prunable(net))
    masks["second.weight"][:, 0] = False
    with pytest.raises(ShrinkError, match="differs by"):
        shrink(net, masks, probe_for((3,)))


def test_the_given_module_is_left_as_it_was(probe_for, networks):
    torch.manual_seed(0)
    net, probe = networks["actor_critic"](), probe_for((6,))
    net.pi.eval()
    before = copy.deepcopy(net.state_dict())
    masks = full_masks(prunable(net))
    masks["pi.weight"][:, :4] = False
    masks["vf.weight"][:, :4] = False
    shrunk = shrink(net, masks, probe)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == [m.training for m in shrunk.module.modules()]
    assert list(shrunk.module.state_dict()) == list(before)
    assert shrunk.kept["encoder.2"].tolist() == [4, 5, 6, 7]


def test_masks_of_parameters_that_the_module_does_not_have_are_ignored(probe_for):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    masks = {**full_masks(prunable(net)), "vf.weight": torch.ones(2, 2, dtype=torch.bool)}
    assert shrink(net, masks, probe_for((3,))).kept["0"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("network", ["actor_critic", "convolutional", "residual", "two_encoders"])
def test_counts_are_those_of_torchs_flop_counter(network, probe_for, networks):
    torch.manual_seed(0)
    net, probe = networks[network](), probe_for(networks[network].shape, batch=1)
    masks = by_weights(net, 0.8)
    shrunk = shrink(net, masks, probe)
    for module, counts in ((net, shrunk.before), (shrunk.module, shrunk.after)):
        with FlopCounterMode(display=False) as counter:
            module(probe.inputs(module, torch.Generator().manual_seed(0)))
        assert counts.macs * 2 == counter.get_total_flops()
        assert counts.parameters == sum(p.numel() for p in module.parameters())
        assert counts.nonzero == sum(int((p != 0).sum()) for p in module.parameters())


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_step_costs_its_matrices_once(kind, gates, probe_for, networks):
    net = networks["recurrent"](kind)
    probe = probe_for((1, 5), batch=1)
    assert count(net, probe).macs == 5 * 6 + gates * 8 * (6 + 8) + 8 * 3


def test_what_is_left_out_is_not_counted(probe_for, networks):
    net, probe = networks["actor_critic"](), probe_for((6,))
    everything, actor = count(net, probe), count(net, probe, without=["vf"])
    assert everything.macs - actor.macs == 8
    assert everything.parameters - actor.parameters == 9
