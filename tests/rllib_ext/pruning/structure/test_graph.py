import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.structure.reach import NONE, SEVERAL


def test_a_column_is_reached_by_the_unit_before_it_through_an_activation(probe_for, networks):
    graph = trace(networks["actor_critic"](), probe_for((6,)))
    assert graph.reach["encoder.2"]["encoder.0"].tolist() == list(range(12))
    assert graph.reach["pi"]["encoder.2"].tolist() == list(range(8))
    assert graph.reach["vf"]["encoder.2"].tolist() == list(range(8))
    assert set(graph.reach["pi"]["encoder.0"].tolist()) == {NONE}


def test_flattened_columns_are_reached_by_the_channel_that_they_lie_in(probe_for):
    net = nn.Sequential(
        nn.ZeroPad2d(1), nn.Conv2d(3, 5, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 9, 2)
    )
    graph = trace(net, probe_for((3, 5, 5)))
    assert graph.reach["4"]["1"].tolist() == [channel for channel in range(5) for _ in range(9)]


def test_channels_last_flattening_is_read_off_too(probe_for):
    class ChannelsLast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Linear(5 * 9, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1))

    graph = trace(ChannelsLast(), probe_for((5, 5, 3)))
    assert graph.reach["head"]["conv"].tolist() == [c for _ in range(9) for c in range(5)]


@pytest.mark.parametrize(
    "between",
    [
        nn.Tanh(),
        nn.ReLU(),
        nn.SiLU(),
        nn.Sigmoid(),
        nn.Hardtanh(-20, 20),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.Dropout(0.9),
    ],
)
def test_what_acts_on_each_channel_alone_does_not_hide_it(between, probe_for):
    net = nn.Sequential(nn.Conv2d(2, 6, 3), between, nn.Conv2d(6, 3, 1))
    assert trace(net, probe_for((2, 6, 6))).reach["2"]["0"].tolist() == list(range(6))


def test_work_in_place_disturbs_nothing(probe_for):
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.core = nn.Linear(3, 4), nn.GRU(4, 5, batch_first=True)
            self.head = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).tanh_()
            out, _ = self.core(input=h, hx=None)
            h.zero_()
            return self.head(out.sigmoid_()).mul_(2.0)

    graph = trace(InPlace(), probe_for((6, 3)))
    assert graph.reach["core"]["first"].tolist() == list(range(4))
    assert graph.reach["head"]["core"].tolist() == list(range(5))


def test_a_packed_sequence_is_refused_with_a_way_out(probe_for):
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, [5] * 4, batch_first=True)
            return self.core(packed)[0].data

    with pytest.raises(ConfigError, match=r"core.*PackedSequence"):
        trace(Packed(), probe_for((5, 3)))


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.permutations(range(9)), st.integers(0, 9))
def test_any_rewiring_of_units_is_recovered(order: list[int], kept: int):
    class Rewired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 9)
            self.second = nn.Linear(9 + kept, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).tanh()
            return self.second(torch.cat([h[:, order], h[:, :kept].relu()], -1))

    probe = Probe(
        inputs=lambda module, generator: torch.randn(2, 4, generator=generator),
        forward=lambda module, x: module(x),
        observations=2,
    )
    expected = list(order) + list(range(kept))
    assert trace(Rewired(), probe).reach["second"]["first"].tolist() == expected


def test_added_values_reach_a_column_from_every_layer(probe_for, networks):
    graph = trace(networks["residual"](), probe_for((6,)))
    assert graph.reach["head"]["stem"].tolist() == list(range(10))
    assert graph.reach["head"]["second"].tolist() == list(range(10))
    assert graph.sources("head") == {"stem", "second"}


def test_a_normalisation_mixes_its_units(probe_for):
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    graph = trace(net, probe_for((3,)))
    assert graph.reach["2"]["0"].tolist() == [SEVERAL] * 4
    assert graph.opaque == {"1": "LayerNorm"}
    assert graph.feeds["1"] == {"0"}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_units_reach_what_reads_the_output(kind, probe_for, networks):
    graph = trace(networks["recurrent"](kind), probe_for((7, 5)))
    assert graph.reach["head"]["core"].tolist() == list(range(8))
    assert graph.reach["core"]["tokens"].tolist() == list(range(6))


def test_inputs_are_told_apart_by_their_key(probe_for, networks):
    graph = trace(networks["two_encoders"](), probe_for({"camera": (2, 5, 5), "speed": (3,)}))
    assert graph.sources("camera.0") == {"input:camera"}
    assert graph.sources("speed.0") == {"input:speed"}
    assert graph.input_names() == {"input:camera", "input:speed"}


def test_outputs_know_the_layers_that_make_them(probe_for, networks):
    graph = trace(networks["actor_critic"](), probe_for((6,)))
    assert graph.outputs == {"logits": {frozenset({"pi"})}, "value": {frozenset({"vf"})}}


def test_elements_of_an_output_can_come_from_different_layers(probe_for):
    class Gaussian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.extra, self.log_std = (nn.Linear(3, 2) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.mean(x) + self.extra(x), self.log_std(x)], -1)

    graph = trace(Gaussian(), probe_for((3,)))
    assert graph.output_elements() == {frozenset({"mean", "extra"}), frozenset({"log_std"})}
    assert not graph.connected(frozenset({"log_std"}))
    assert graph.connected(frozenset({"mean"}))
    assert not graph.connected(frozenset({"mean", "extra"}))


def test_what_is_never_called_is_not_in_the_graph(probe_for, networks):
    net = networks["actor_critic"]()
    net.spare = nn.Linear(3, 3)
    assert "spare" not in trace(net, probe_for((6,))).layers


def test_stacked_and_bidirectional_recurrent_layers_are_not_understood(probe_for):
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.deep = nn.LSTM(4, 4, num_layers=2, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.deep(self.first(x))[0])

    graph = trace(Stacked(), probe_for((5, 3)))
    assert graph.opaque == {"deep": "LSTM"}
    assert graph.feeds["deep"] == {"first"}


def test_tracing_leaves_the_module_as_it_was(probe_for, networks):
    net = networks["actor_critic"]().train()
    net.encoder[1].eval()
    before = copy.deepcopy(net.state_dict())
    modes = [m.training for m in net.modules()]
    attributes = [set(vars(m)) for m in net.modules()]
    trace(net, probe_for((6,)))
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert modes == [m.training for m in net.modules()]
    assert attributes == [set(vars(m)) for m in net.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("limit", [0.9, 1e3, -1e3])
def test_a_computation_that_depends_on_values_is_refused(limit, probe_for):
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            calls = self.second(h) if float(x.max()) > limit else h
            return calls if float(h.max()) < 0.9 else self.second(calls)

    with pytest.raises(ConfigError, match="granularity='weight'") as raised:
        trace(Branching(), probe_for((3,)))
    # It can come from another process.
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_without_every_input_an_output_is_cut_off(probe_for, networks):
    graph = trace(networks["two_encoders"](), probe_for({"camera": (2, 5, 5), "speed": (3,)}))
    assert graph.connected(frozenset({"input:camera", "camera.0"}))
    assert not graph.connected(frozenset({"camera.0", "speed.0"}))
    assert not graph.connected(frozenset({"trunk"}))
