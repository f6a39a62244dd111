"""Which unit each weight reads, checked against what the layers really compute."""

import pytest
import torch
from torch import Tensor, nn

from rllib_ext.pruning.training.activations import observe_activations


def observed(module: nn.Module, *inputs: Tensor) -> dict[str, Tensor]:
    weights = {n: p for n, p in module.named_parameters() if p.dim() >= 2}
    seen: dict[str, Tensor] = {}
    observe_activations(module, weights, seen.__setitem__)
    module(*inputs)
    for name, read in seen.items():
        assert torch.broadcast_shapes(read.shape, weights[name].shape) == weights[name].shape
    return seen


def test_a_linear_layer_reads_its_inputs_over_all_leading_dimensions() -> None:
    inputs = torch.randn(5, 7, 3)
    seen = observed(nn.Linear(3, 4), inputs)
    assert torch.allclose(seen["weight"], inputs.abs().mean((0, 1)).view(1, 3))


@pytest.mark.parametrize("batched", [True, False])
def test_a_convolution_reads_channels(batched: bool) -> None:
    inputs = torch.randn(6, 3, 8, 8)
    seen = observed(nn.Conv2d(3, 5, 3), inputs if batched else inputs[0])
    expected = (inputs if batched else inputs[:1]).abs().mean((0, 2, 3))
    assert torch.allclose(seen["weight"], expected.view(1, 3, 1, 1))


def test_each_group_of_a_convolution_reads_its_own_channels() -> None:
    inputs = torch.randn(6, 4, 9)
    seen = observed(nn.Conv1d(4, 6, 3, groups=2), inputs)["weight"]
    channels = inputs.abs().mean((0, 2))
    assert seen.shape == (6, 2, 1)
    assert torch.allclose(seen[:3, :, 0], channels[:2].expand(3, 2))
    assert torch.allclose(seen[3:, :, 0], channels[2:].expand(3, 2))


@pytest.mark.parametrize("layer_class", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_weights_read_inputs_and_hidden_states(layer_class: type[nn.RNNBase]) -> None:
    layer = layer_class(3, 4, num_layers=2, batch_first=True)
    inputs = torch.randn(5, 6, 3)
    _, state = layer(inputs)
    hidden = (state[0] if layer_class is nn.LSTM else state).detach().abs().mean(1)
    seen = observed(layer, inputs)
    assert torch.allclose(seen["weight_ih_l0"], inputs.abs().mean((0, 1)).view(1, 3))
    assert torch.allclose(seen["weight_hh_l0"], hidden[0].view(1, 4))
    assert torch.allclose(seen["weight_ih_l1"], hidden[0].view(1, 4))
    assert torch.allclose(seen["weight_hh_l1"], hidden[1].view(1, 4))


def test_both_directions_of_a_recurrent_layer_are_told_apart() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    inputs = torch.randn(6, 5, 3)
    _, (state, _) = layer(inputs)
    hidden = state.detach().abs().mean(1)
    seen = observed(layer, inputs)
    assert torch.allclose(seen["weight_hh_l0_reverse"], hidden[1].view(1, 4))
    assert torch.allclose(seen["weight_ih_l1"], torch.cat([hidden[0], hidden[1]]).view(1, 8))
    assert torch.allclose(seen["weight_hh_l1_reverse"], hidden[3].view(1, 4))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projected_lstm_reads_its_projection() -> None:
    layer = nn.LSTM(3, 6, proj_size=2)
    seen = observed(layer, torch.randn(4, 5, 3))
    assert seen["weight_hh_l0"].shape == (1, 2)
    assert float(seen["weight_hr_l0"]) == 1.0


def test_a_unit_that_never_fires_is_seen_as_silent() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        module[0].bias[1] = -1e6
    seen = observed(module, torch.randn(50, 2))
    assert float(seen["2.weight"][0, 1]) == 0.0
    assert float(seen["2.weight"][0].max()) > 0.0
