"""Networks whose paths are easily missed: mixed, behind thresholds, drawn."""

import copy
import itertools

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError, ShrinkError, TraceError
from rllib_ext.pruning.masks import apply_masks_, full_masks
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.counts import count
from rllib_ext.pruning.structure.coupling import NO_GROUP, coupled_units
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.shrink import shrink
from rllib_ext.pruning.training.pruner import Pruner


class Net(nn.Module):
    """Subclasses have a `between`: what lies between two encoders of one observation and the head."""

    columns = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 8), nn.Linear(6, 8)
        self.head = nn.Linear(self.columns, 2)

    def forward(self, x):
        z = self.stem(x).tanh()
        return self.head(self.between(self.a(z), self.b(z)))


class Softmax(Net):
    """Every output of `a` reaches every column, beside one of `b` each."""

    def between(self, a, b):
        return torch.softmax(a, -1) + b


class Normalised(Net):
    def between(self, a, b):
        return nn.functional.layer_norm(a, (8,)) + b.relu()


class Thresholded(Net):
    def between(self, a, b):
        return nn.functional.threshold(a, 3.0, 0.0) + b.tanh()


class Never(Net):
    """A threshold so far off that no probing passes it."""

    def between(self, a, b):
        return nn.functional.threshold(a, 1e6, 0.0) + b.tanh()


class Hard(Net):
    """No gradient tells that `a` is read."""

    def between(self, a, b):
        return (a > 3.0).float() + b.relu()


class Rectified(Net):
    """CReLU: each unit reaches two columns, one of them when it is negative."""

    columns = 16

    def between(self, a, b):
        return torch.cat([a.relu(), (-a).relu()], -1) + torch.cat([b, b], -1)


class Opposed(Net):
    """One encoder reaches the head when it is negative."""

    def between(self, a, b):
        return a.relu() + (-b).relu()


class Bounded(Net):
    def between(self, a, b):
        return nn.functional.hardtanh(a) + nn.functional.relu6(b)


FREE = {  # Which of the two encoders' units can go.
    Softmax: {"a": False, "b": False},
    Normalised: {"a": False, "b": False},
    Thresholded: {"a": True, "b": True},
    Never: {"a": False, "b": False},
    Hard: {"a": True, "b": True},
    Rectified: {"a": True, "b": True},
    Opposed: {"a": True, "b": True},
    Bounded: {"a": True, "b": True},
}


@pytest.fixture
def probe(probe_for):
    return probe_for((4,))


@pytest.mark.parametrize("net", FREE)
def test_units_go_only_where_everything_that_shares_their_columns_goes(net, probe):
    torch.manual_seed(0)
    coupling = coupled_units(trace(net(), probe))
    for layer, free in FREE[net].items():
        groups = coupling.units[layer]
        assert bool((groups != NO_GROUP).all()) == free
        assert bool((groups == NO_GROUP).any()) != free
    assert bool((coupling.units["stem"] != NO_GROUP).all())


@pytest.mark.parametrize("net", [n for n, free in FREE.items() if all(free.values())])
def test_the_units_of_two_layers_that_are_added_go_together(net, probe):
    torch.manual_seed(0)
    coupling = coupled_units(trace(net(), probe))
    assert torch.equal(coupling.units["a"], coupling.units["b"])
    expected = torch.cat([coupling.units["a"]] * (net.columns // 8))
    assert torch.equal(coupling.columns["head"], expected)


@pytest.mark.parametrize("net", FREE)
@pytest.mark.parametrize("sparsity", [0.3, 0.6, 0.9])
def test_what_is_pruned_by_units_computes_the_same_without_them(net, sparsity, probe):
    torch.manual_seed(0)
    module = net()
    with torch.no_grad():
        # So that thresholds are passed now and then.
        module.a.weight.mul_(8)
    config = PruningConfig(
        final_sparsity=sparsity, granularity="neuron", schedule="constant", horizon=1
    )
    pruner = Pruner(module, list, config, graph=lambda: trace(module, probe))
    pruner.before_update(1)
    removed = pruner.structure.removed(pruner.masks)
    assert removed.any()
    small = shrink(module, pruner.masks, probe)
    x = torch.randn(200, 4) * 5
    torch.testing.assert_close(small.module(x), module(x))
    assert small.after.parameters < small.before.parameters
    for layer in ("stem", "a", "b"):
        assert len(small.kept[layer]) >= 1
        assert pruner.masks[f"{layer}.weight"].any()


def test_what_nothing_is_seen_to_read_is_said(probe, caplog):
    structure = build_structure(trace(Never(), probe), "neuron", prunable_weights(Never()).policy)
    assert structure.left_alone == {
        "a": "nothing was seen to read it",
        "b": "its outputs are added to mixed outputs of others before head",
    }
    assert "a: nothing was seen to read it" in caplog.text


def test_a_network_of_nothing_but_mixed_outputs_is_refused_with_the_reason(probe_for):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.g, self.h = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.h(torch.softmax(self.e(x), -1) + self.g(x))

    net = Mixed()
    with pytest.raises(ConfigError, match=r"g: its outputs are added to mixed outputs of others"):
        build_structure(trace(net, probe_for((4,))), "neuron", prunable_weights(net).policy)


class Drawing(Net):
    """Draws which part of the features the head sees, and says what it drew."""

    def between(self, a, b):
        return a.relu() + b * torch.bernoulli(torch.full_like(b, 0.5))

    def forward(self, x):
        logits = super().forward(x)
        return {"logits": logits, "chosen": torch.distributions.Categorical(logits=logits).sample()}


def test_a_network_that_draws_is_traced_shrunk_and_counted_without_moving_the_generator(probe):
    torch.manual_seed(0)
    module = Drawing()
    before = torch.random.get_rng_state()
    coupling = coupled_units(trace(module, probe))
    assert bool((coupling.units["a"] != NO_GROUP).all())
    masks = full_masks(prunable_weights(module).policy)
    masks["stem.weight"][:3] = False
    masks["a.weight"][:, :3] = masks["b.weight"][:, :3] = False
    small = shrink(module, masks, probe)
    assert small.kept["stem"].tolist() == [3, 4, 5]
    count(module, probe)
    assert torch.equal(torch.random.get_rng_state(), before)


class Numbering(Net):
    """Counts its runs: two on the same inputs differ."""

    runs = itertools.count()

    def between(self, a, b):
        return a.relu() + b * next(self.runs)


def test_a_network_that_no_two_runs_of_are_alike_is_refused_with_that_reason(probe):
    with pytest.raises(TraceError, match=r"two runs of the network on the same inputs differ"):
        trace(Numbering(), probe)


class Taking(nn.Module):
    """Takes its batch apart and works in place, as RLlib's action masking does."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, batch):
        mask = batch["obs"].pop("mask")
        batch["obs"] = batch["obs"].pop("x").mul_(0.5)
        return self.head(self.a(batch["obs"]).relu()) + torch.log(mask)


def taking_probe(mask: float) -> Probe:
    return Probe(
        inputs=lambda module, generator: {
            "obs": {
                "x": torch.randn(4, 4, generator=generator),
                "mask": torch.tensor([1.0, mask]).expand(4, 2),
            }
        },
        forward=lambda module, batch: module(batch),
        observations=4,
    )


def test_a_network_that_changes_its_batch_is_traced_and_shrunk():
    module = Taking()
    masks = full_masks(prunable_weights(module).policy)
    masks["a.weight"][2:5] = False
    small = shrink(module, masks, taking_probe(1.0))
    assert len(small.kept["a"]) == 5


def test_actions_that_are_never_allowed_hide_no_difference():
    """Their logits are as low as can be, beside which any difference is small."""
    probe = taking_probe(0.0)

    def spoil(small, kept):
        with torch.no_grad():
            small.head.bias.add_(0.1)

    module = Taking()
    assert shrink(module, {}, probe).difference == 0.0
    lowest = Probe(
        inputs=probe.inputs,
        forward=lambda m, batch: m(batch).clamp_min(torch.finfo(torch.float32).min),
        observations=4,
    )
    assert shrink(module, {}, lowest).difference == 0.0
    for given in (probe, lowest):
        with pytest.raises(ShrinkError, match=r"differs by"):
            shrink(module, {}, given, adapt=spoil)


def test_whole_number_outputs_must_be_equal(probe_for):
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            logits = self.head(self.a(x).relu())
            return {"logits": logits, "action": logits.argmax(-1), "valid": logits > 0}

    module = Deciding()
    masks = full_masks(prunable_weights(module).policy)
    masks["a.weight"][2:5] = False
    small = shrink(module, masks, probe_for((4,)))
    assert len(small.kept["a"]) == 5

    def spoil(small, kept):
        original = small.forward
        small.forward = lambda x: {**original(x), "action": original(x)["action"] + 1}

    with pytest.raises(ShrinkError, match=r"output 'action' differs"):
        shrink(module, masks, probe_for((4,)), adapt=spoil)


def test_a_network_that_does_not_run_on_example_inputs_says_what_it_raised(probe_for):
    class Picky(Softmax):
        def forward(self, x):
            raise KeyError("history")

    with pytest.raises(TraceError, match=r"does not run on example inputs \(KeyError: 'history'\)"):
        trace(Picky(), probe_for((4,)))


def test_a_module_is_put_back_after_it_raised_under_other_values(probe_for):
    class Fragile(Softmax):
        def between(self, a, b):
            if float(a.detach().abs().max()) > 1.5:
                raise ValueError("too large")
            return super().between(a, b)

    module = Fragile()
    with torch.no_grad():
        module.a.weight.mul_(0.01)
    state = copy.deepcopy(module.state_dict())
    with pytest.raises(TraceError, match=r"other values .*ValueError: too large"):
        trace(module, probe_for((4,)))
    assert module(torch.randn(3, 4)).shape == (3, 2)
    apply_masks_(dict(module.named_parameters()), {})
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
