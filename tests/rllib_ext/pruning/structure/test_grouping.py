import logging

import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.masks import full_masks
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.coupling import NO_GROUP
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.groups import Structure

OUT = {nn.Linear: tp.prune_linear_out_channels, nn.Conv2d: tp.prune_conv_out_channels}


def structure_of(net: nn.Module, probe, granularity: str = "neuron", exclude=()) -> Structure:
    return build_structure(
        trace(net, probe), granularity, prunable_weights(net, (), exclude).policy
    )


def lost(structure: Structure, net: nn.Module, group: int) -> set[tuple[str, int, int]]:
    """Rows (dim 0) and columns (dim 1) of weights and biases that a group holds."""
    found = set()
    for dim, indices in ((0, structure.rows), (1, structure.columns), (0, structure.biases)):
        for name, groups in indices.items():
            found |= {(name, dim, i) for i in torch.nonzero(groups == group).flatten().tolist()}
    return found


def lost_by_torch_pruning(net: nn.Module, example, layer: str, unit: int):
    names = {id(module): name for name, module in net.named_modules()}
    graph = tp.DependencyGraph().build_dependency(
        net, example_inputs=example, forward_fn=lambda module, x: module(x)
    )
    module = net.get_submodule(layer)
    found = set()
    for dependency, indices in graph.get_pruning_group(module, OUT[type(module)], [unit]):
        target = dependency.target.module
        name = names.get(id(target))
        if name is None or not hasattr(target, "weight"):
            continue
        into = "out_channels" in dependency.handler.__name__
        found |= {(f"{name}.weight", 0 if into else 1, i) for i in indices}
        found |= {(f"{name}.bias", 0, i) for i in indices if into}
    return found


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("actor_critic", ["encoder.0", "encoder.2"]),
        ("residual", ["stem", "first", "second"]),
        ("convolutional", ["net.0", "net.2", "net.5"]),
        # Not both at once: torch-pruning 1.6.1 loses the index of what is concatenated after a flatten.
        ("concatenated", ["left", "right"]),
    ],
)
def test_groups_are_those_of_torch_pruning(network, layers, probe_for, networks):
    torch.manual_seed(0)
    net = networks[network]()
    probe = probe_for(networks[network].shape, batch=1)
    structure = structure_of(net, probe)
    example = probe.inputs(net, torch.Generator().manual_seed(0))
    for layer in layers:
        for unit in range(net.get_submodule(layer).weight.shape[0]):
            group = int(structure.rows[f"{layer}.weight"][unit])
            assert lost(structure, net, group) == lost_by_torch_pruning(net, example, layer, unit)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_unit_takes_its_gates_its_recurrent_column_and_its_readers(
    kind, gates, probe_for, networks
):
    net = networks["recurrent"](kind)
    structure = structure_of(net, probe_for((7, 5)))
    group = int(structure.rows["core.weight_hh_l0"][2])
    rows = [gate * 8 + 2 for gate in range(gates)]
    expected = {("core.weight_hh_l0", 1, 2), ("head.weight", 1, 2)}
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        expected |= {(f"core.{name}", 0, row) for row in rows}
    assert lost(structure, net, group) == expected


def test_every_hidden_unit_has_a_group_and_no_output_has(probe_for, networks):
    structure = structure_of(networks["actor_critic"](), probe_for((6,)))
    assert len(structure) == 20
    assert structure.names[0] == "encoder.0[0]"
    for head in ("pi", "vf"):
        assert set(structure.rows[f"{head}.weight"].tolist()) == {NO_GROUP}


def test_a_weight_in_row_and_column_counts_once(probe_for, networks):
    net = networks["recurrent"](nn.LSTM)
    structure = structure_of(net, probe_for((7, 5)))
    sizes = structure.totals(full_masks(dict(net.named_parameters())))
    # Four rows of 6 + 8, a column of 32 of which four lie in those rows, a column of the head.
    group = int(structure.rows["core.weight_hh_l0"][0])
    assert int(sizes[group]) == 4 * (6 + 8) + 32 - 4 + 3


def test_a_unit_with_a_part_in_an_excluded_layer_stays(probe_for, networks):
    structure = structure_of(networks["actor_critic"](), probe_for((6,)), exclude=["pi.*"])
    assert len(structure) == 12
    assert set(structure.rows["encoder.2.weight"].tolist()) == {NO_GROUP}
    assert "pi.weight" not in structure.rows


def test_units_before_a_normalisation_stay_and_are_named_once(probe_for, caplog):
    net = nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 2)
    )
    with caplog.at_level(logging.WARNING):
        structure = structure_of(net, probe_for((3,)))
    assert len(structure) == 4
    assert len(caplog.records) == 1
    assert "3: LayerNorm is not understood" in caplog.text
    assert "2: it feeds 3 (LayerNorm)" in caplog.text


def test_units_that_are_added_to_an_input_stay(probe_for):
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.second(self.first(x).relu()))

    structure = structure_of(Skip(), probe_for((4,)))
    assert structure.homes == ("first.weight",) * 6
    assert "network inputs" in structure.left_alone["second"]


def test_a_network_without_hidden_units_is_refused_with_a_way_out(probe_for):
    with pytest.raises(ConfigError, match="granularity='weight'"):
        structure_of(nn.Linear(3, 2), probe_for((3,)))


def test_a_layer_goes_where_a_path_leads_around_it_and_takes_what_only_feeds_it(
    probe_for, networks
):
    net = networks["residual"]()
    structure = structure_of(net, probe_for((6,)), "layer")
    assert structure.names == ("second",)
    held = lost(structure, net, 0)
    assert {name for name, _, _ in held} == {
        "first.weight",
        "first.bias",
        "second.weight",
        "second.bias",
    }
    assert int(structure.totals(full_masks(dict(net.named_parameters())))[0]) == 10 * 7 * 2


def test_a_concatenated_path_around_a_layer_takes_its_columns_along(probe_for):
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.extra = nn.Linear(3, 4), nn.Linear(4, 5)
            self.head = nn.Linear(9, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x).relu()
            return self.head(torch.cat([h, self.extra(h).relu()], -1))

    structure = structure_of(Dense(), probe_for((3,)), "layer")
    assert structure.names == ("extra",)
    assert structure.columns["head.weight"].tolist() == [NO_GROUP] * 4 + [0] * 5


@pytest.mark.parametrize("network", ["actor_critic", "two_encoders", "recurrent"])
def test_a_layer_without_a_path_around_it_is_refused_with_a_way_out(network, probe_for, networks):
    with pytest.raises(ConfigError, match=r"path around.*granularity='neuron'"):
        structure_of(networks[network](), probe_for(networks[network].shape), "layer")


def test_a_branch_is_an_encoder_with_the_columns_that_read_it(probe_for, networks):
    net = networks["two_encoders"]()
    structure = structure_of(net, probe_for(networks["two_encoders"].shape), "branch")
    assert structure.names == ("camera", "speed")
    assert structure.columns["trunk.weight"].tolist() == [0] * 36 + [1] * 5
    camera = {name for name, _, _ in lost(structure, net, 0)}
    assert camera == {"camera.0.weight", "camera.0.bias", "trunk.weight"}


def test_an_input_without_an_encoder_is_a_branch_too(probe_for):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(3, 4), nn.Linear(6, 2)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return self.head(torch.cat([self.encoder(x["a"]).relu(), x["b"]], -1))

    structure = structure_of(Mixed(), probe_for({"a": (3,), "b": (2,)}), "branch")
    assert structure.columns["head.weight"].tolist() == [0] * 4 + [1] * 2


def test_an_input_may_be_called_like_a_layer(probe_for):
    class Namesakes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(8, 2)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            return self.head(torch.cat([self.a(x["a"]), self.b(x["b"])], -1).tanh())

    shapes = {"a": (3,), "b": (2,)}
    assert len(structure_of(Namesakes(), probe_for(shapes))) == 8
    branches = structure_of(Namesakes(), probe_for(shapes), "branch")
    assert branches.names == ("a", "b")
    assert branches.takes[0] == {"a": 4, "input:a": 1}


def test_heads_of_one_output_are_not_paths_around_each_other(probe_for):
    class Gaussian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_std = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.mean(x), self.log_std(x)], -1)

    with pytest.raises(ConfigError, match="path around"):
        structure_of(Gaussian(), probe_for((3,)), "layer")


def test_a_single_observation_has_no_branch(probe_for, networks):
    with pytest.raises(ConfigError, match="dict observation"):
        structure_of(networks["actor_critic"](), probe_for((6,)), "branch")
