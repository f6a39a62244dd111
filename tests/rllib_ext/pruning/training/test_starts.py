"""Networks that begin narrow or sparse: what is masked, that all of it is at work, and the schedule."""

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.training.pruner import Pruner

INPUTS, ACTIONS = 6, 3


class Shared(nn.Module):
    """Two hidden layers of different widths, and a value that reads the second one too."""

    def __init__(self, widths=(40, 20), activation=nn.Tanh):
        super().__init__()
        first, second = widths
        self.encoder = nn.Sequential(
            nn.Linear(INPUTS, first), activation(), nn.Linear(first, second), activation()
        )
        self.pi, self.vf = nn.Linear(second, ACTIONS), nn.Linear(second, 1)

    def forward(self, x):
        hidden = self.encoder(x)
        return torch.cat([self.pi(hidden), self.vf(hidden)], -1)


PROBE = Probe(
    inputs=lambda module, generator: torch.randn(4, INPUTS, generator=generator),
    forward=lambda module, x: module(x),
    observations=4,
)
WEIGHTS = INPUTS * 40 + 40 * 20 + 20 * ACTIONS


def begun(network, start, density=None, *, seed=0, probe=PROBE, critic=("vf",), **pruning):
    """A fresh network's Pruner, once the network has begun."""
    config = PruningConfig(**{"horizon": 1000, "start": start, "start_density": density, **pruning})
    pruner = Pruner(
        network, list, config, critic_prefixes=critic, seed=seed,
        graph=lambda: trace(network, probe), probe=probe,
    )  # fmt: skip
    pruner.begin_()
    return pruner


def fresh(kind=Shared, seed=0, **arguments):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(**arguments)


def kept(pruner):
    return sum(int(pruner.masks[name].sum()) for name in pruner.weights.policy)


def widths_of(pruner):
    return [int(pruner.masks[f"encoder.{layer}.weight"].any(1).sum()) for layer in (0, 2)]


def weights_with(first, second):
    return INPUTS * first + first * second + second * ACTIONS


@pytest.mark.parametrize("density", [1e-4, 0.02, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_narrow_keeps_the_fewest_units_that_hold_as_many_weights(density, seed):
    pruner = begun(fresh(), "narrow", density, seed=seed)
    first, second = widths_of(pruner)
    # Dense between the units that are left, and nowhere else.
    assert kept(pruner) == weights_with(first, second)
    assert int(pruner.masks["vf.weight"].sum()) == second
    wanted = density * WEIGHTS
    assert kept(pruner) >= wanted
    assert (first, second) == (1, 1) or any(
        weights_with(*fewer) < wanted
        for fewer in ((max(1, first - 1), second), (first, max(1, second - 1)))
    )
    # All layers lose the same share of their units.
    assert abs((40 - first) / 40 - (20 - second) / 20) < 1 / 20 + 1e-9 or min(first, second) == 1


@pytest.mark.parametrize("density", [0.004, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_sparse_keeps_as_many_as_asked_all_of_them_at_work(density, seed):
    network = fresh()
    pruner = begun(network, "sparse", density, seed=seed)
    wanted = WEIGHTS - round((1 - density) * WEIGHTS)
    assert 0.5 * wanted <= kept(pruner) <= wanted
    assert wanted < 10 or kept(pruner) == wanted
    live = Liveness(trace(network, PROBE)).live(pruner.masks)
    for name in pruner.weights.policy:
        assert torch.equal(live[name], pruner.masks[name])
    # The value's own weights stay, whatever they read.
    assert bool(pruner.masks["vf.weight"].all())


def test_small_layers_of_a_sparse_start_are_denser():
    masks = begun(fresh(), "sparse", 0.2).masks
    densities = [float(masks[f"{name}.weight"].float().mean()) for name in ("encoder.2", "pi")]
    assert densities[0] < 0.15 < 0.4 < densities[1]


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_every_weight_that_is_left_matters_and_nothing_else_does(start):
    """Brute force: an action or the value changes with each kept weight; the others are zero."""
    network = fresh()
    pruner = begun(network, start, 0.02)
    x = torch.randn(64, INPUTS, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        before = network(x)
        for name, mask in pruner.masks.items():
            if name not in pruner.weights.policy:
                continue
            weight = network.get_parameter(name)
            assert not bool(weight[~mask].any())
            for place in mask.nonzero().tolist():
                value = float(weight[tuple(place)])
                weight[tuple(place)] = value + 0.5
                assert float((network(x) - before).abs().max()) > 1e-7
                weight[tuple(place)] = value


def test_units_that_a_narrow_start_lacks_have_no_bias_either():
    network = fresh()
    pruner = begun(network, "narrow", 0.1)
    for layer in (0, 2):
        gone = ~pruner.masks[f"encoder.{layer}.weight"].any(1)
        bias = network.get_parameter(f"encoder.{layer}.bias")
        assert gone.any()
        assert not bool(bias[gone].any())
        assert bool(bias[~gone].all())


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_one_seed_gives_one_network_and_another_seed_another(start):
    same = [begun(fresh(), start, 0.1, seed=3).masks for _ in range(2)]
    other = begun(fresh(), start, 0.1, seed=4).masks
    assert all(torch.equal(same[0][name], same[1][name]) for name in other)
    assert any(not torch.equal(same[0][name], other[name]) for name in other)


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_without_a_density_it_begins_with_what_is_to_be_left(start):
    pruner = begun(fresh(), start, final_sparsity=0.9)
    left = WEIGHTS - round(0.9 * WEIGHTS)
    assert kept(pruner) == left if start == "sparse" else 0 <= kept(pruner) - left < 60


def test_dense_changes_nothing():
    network, untouched = fresh(), fresh()
    pruner = begun(network, "dense", 0.1)
    assert all(bool(mask.all()) for mask in pruner.masks.values())
    for name, parameter in untouched.named_parameters():
        assert torch.equal(parameter, network.get_parameter(name))


@pytest.mark.parametrize("schedule", ["linear", "cubic", "iterative", "one_shot"])
@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_the_schedule_rises_from_there_and_not_before_its_time(start, schedule):
    pruner = begun(fresh(), start, 0.3, schedule=schedule, begin=0.2, end=0.8, final_sparsity=0.9)
    first = kept(pruner)
    counts = []
    for env_steps in range(50, 1001, 50):
        pruner.before_update(env_steps)
        counts.append(kept(pruner))
    assert counts[:3] == [first] * 3
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == WEIGHTS - round(0.9 * WEIGHTS)
    if schedule == "linear":
        # Half of the way, halfway: no time is spent on sparsities that it is beyond.
        assert counts[9] == pytest.approx((counts[0] + counts[-1]) / 2, abs=3)


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_a_start_below_the_target_is_held(start):
    pruner = begun(fresh(), start, 0.05, final_sparsity=0.5)
    masks = {name: mask.clone() for name, mask in pruner.masks.items()}
    for env_steps in range(100, 1001, 100):
        assert not pruner.before_update(env_steps)
    assert all(torch.equal(mask, pruner.masks[name]) for name, mask in masks.items())


def test_a_plateau_counts_its_steps_from_the_start():
    pruner = begun(
        fresh(), "sparse", 0.4, schedule="plateau", begin=0.0, end=1.0, step=0.1,
        final_sparsity=0.9, random_return=0.0,
    )  # fmt: skip
    seen = [kept(pruner)]
    for env_steps in range(10, 400, 10):
        pruner.observe(100.0)
        pruner.before_update(env_steps)
        seen.append(kept(pruner))
    levels = sorted(set(seen), reverse=True)
    assert levels[0] == seen[0]
    assert levels[1] == pytest.approx(levels[0] - 0.1 * WEIGHTS, abs=1)


@pytest.mark.parametrize("regrow", ["set", None])
def test_a_sparse_start_regrows_where_it_is_asked_to_and_keeps_its_number(regrow):
    pruner = begun(
        fresh(), "sparse", 0.1, schedule="constant", begin=0.0, end=0.9,
        final_sparsity=0.9, regrow=regrow,
    )  # fmt: skip
    masks = {name: mask.clone() for name, mask in pruner.masks.items()}
    number = kept(pruner)
    for env_steps in range(100, 800, 100):
        pruner.before_update(env_steps)
        assert kept(pruner) == number
    moved = any(not torch.equal(mask, pruner.masks[name]) for name, mask in masks.items())
    assert moved == (regrow == "set")


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_a_state_replaces_what_was_begun_with_and_the_schedule_stands_where_it_stood(start):
    donor = begun(fresh(), start, 0.3, seed=1)
    for env_steps in (100, 300):
        donor.before_update(env_steps)
    clone = begun(fresh(seed=7), start, 0.3, seed=2)
    clone.load_state_dict(donor.state_dict())
    assert clone.standing == donor.standing
    assert all(torch.equal(mask, clone.masks[name]) for name, mask in donor.masks.items())


@pytest.mark.parametrize("name", ["convolutional", "residual", "two_encoders", "recurrent"])
def test_narrow_networks_of_other_kinds_compute_what_the_shrunk_one_computes(
    name, networks, probe_for
):
    kind = networks[name]
    probe = probe_for(kind.shape)
    network = fresh(kind)
    total = sum(w.numel() for w in network.parameters() if w.dim() > 1)
    pruner = begun(network, "narrow", 0.4, probe=probe, critic=())
    assert 0.4 * total <= kept(pruner) < 0.8 * total
    live = Liveness(trace(network, probe)).live(pruner.masks)
    assert all(torch.equal(live[n], mask) for n, mask in pruner.masks.items())


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_weights_that_were_trained_all_stay_and_the_schedule_rises_from_none(start):
    network = fresh()
    pruner = begun(network, start, 0.3, schedule="one_shot", begin=0.1, final_sparsity=0.5)
    trained = fresh(seed=1).state_dict()
    network.load_state_dict(trained)
    pruner.begin_trained_()
    pruner.enforce_()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in trained.items())
    assert pruner.standing.sparsity == 0.0
    pruner.before_update(200)
    assert kept(pruner) == WEIGHTS - round(0.5 * WEIGHTS)


def test_where_no_unit_can_be_masked_it_is_said(probe_for):
    with pytest.raises(ConfigError, match="no hidden unit that can be removed"):
        begun(nn.Linear(4, 2), "narrow", 0.5, probe=probe_for((4,)), critic=())


def test_a_network_that_cannot_be_followed_is_refused_with_the_way_out():
    class Noisy(Shared):
        calls = 0

        def forward(self, x):
            Noisy.calls += 1
            return super().forward(x) * Noisy.calls

    with pytest.raises(ConfigError, match=r"start = 'narrow'.*Set start='dense', or 'sparse'"):
        begun(fresh(Noisy), "narrow", 0.5)
