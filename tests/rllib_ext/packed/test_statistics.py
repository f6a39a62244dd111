"""What is gathered for all members at once against what each gathers by itself."""

import functools

import gymnasium as gym
import pytest
import torch

from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.packed.statistics import StackedStatistics
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.training.statistics import Gatherer

KINDS = (["taylor"], ["movement", "mean_gradient"], [], ["mean_gradient"])
WINDOW = 3


def weights_of(module):
    found = prunable_weights(module, module.get_non_inference_attributes(), ())
    return {**found.policy, **found.critic}


@pytest.fixture
def network(packed_ppo):
    spec = packed_ppo().get_rl_module_spec(env=gym.make("CartPole-v1"))
    return StackedNetwork([build_module(spec, seed).double() for seed in range(len(KINDS))])


class Members:
    """Gatherers of all members: some that share a stack, and as many that don't."""

    def __init__(self, network):
        self.network = network
        self.stacked = StackedStatistics(network)
        self.together = {i: self.gatherer(i, shared=True) for i in range(len(KINDS))}
        self.alone = {i: self.gatherer(i, shared=False) for i in range(len(KINDS))}

    def gatherer(self, member, *, shared):
        module = self.network.modules[member]
        room = functools.partial(self.stacked.room, member) if shared else None
        return Gatherer(module, weights_of(module), KINDS[member], WINDOW, room)

    def observe(self, gradients, members):
        observe = self.stacked.observer({i: self.together[i] for i in members})
        if observe is not None:
            observe(gradients, None)
        for row, i in enumerate(members):
            named = self.network.modules[i].named_parameters()
            parts = [(p, self.network.part(gradients[row], n)) for n, p in named]
            self.alone[i].observe_gradients(parts)

    def assert_equal(self):
        self.stacked.settle()
        for i, kinds in enumerate(KINDS):
            for kind in kinds:
                expected = self.alone[i].values(kind)
                for name, value in self.together[i].values(kind).items():
                    torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)
            assert self.together[i].has(kinds) == self.alone[i].has(kinds)


def gradients(network, rows, generator):
    shape = rows, network.weights.shape[1]
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.usefixtures("asked")
def test_each_member_s_statistics_are_those_that_it_gathers_alone(network):
    members, generator = Members(network), torch.Generator().manual_seed(0)
    for turn in range(3 * WINDOW):
        some = [0, 1, 2, 3] if turn % 3 else [1, 3]
        members.observe(gradients(network, len(some), generator), some)
        if turn % 4:
            members.assert_equal()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_one_layer_that_is_not_finite_holds_up_neither_other_layers_nor_members(network, broken):
    members, generator = Members(network), torch.Generator().manual_seed(1)
    name = next(iter(members.together[1].weights))
    for turn in range(3 * WINDOW):
        seen = gradients(network, len(KINDS), generator)
        if turn in (0, 4):
            network.part(seen[1], name)[0, 0] = broken
        members.observe(seen, range(len(KINDS)))
        if turn != 4:
            members.assert_equal()
    counts = members.together[1].seen("mean_gradient")
    assert counts.pop(name) == 3 * WINDOW - 2
    assert set(counts.values()) == {3 * WINDOW}
    assert all(
        bool(torch.isfinite(v).all()) for v in members.together[1].values("mean_gradient").values()
    )


def test_a_member_that_begins_anew_or_goes_on_elsewhere_finds_its_room_as_it_should_be(network):
    members, generator = Members(network), torch.Generator().manual_seed(2)
    everyone = range(len(KINDS))
    for _ in range(2):
        members.observe(gradients(network, len(KINDS), generator), everyone)
    states = {i: members.alone[i].state_dict() for i in everyone}
    for i in everyone:
        members.together[i] = members.gatherer(i, shared=True)
        assert not any(members.together[i].has([kind]) for kind in KINDS[i])
        members.together[i].load_state_dict(states[i])
    members.observe(gradients(network, len(KINDS), generator), everyone)
    members.assert_equal()
    for i in everyone:
        members.together[i], members.alone[i] = (
            members.gatherer(i, shared=True),
            members.gatherer(i, shared=False),
        )
    members.observe(gradients(network, len(KINDS), generator), everyone)
    members.assert_equal()


class Active:
    """A forward pass in which weights have read something, some of them twice."""

    def __init__(self, network, names, rows, generator, broken=()):
        self.said = {
            name: [
                torch.randn(rows, 1, size, generator=generator).double() for _ in range(1 + i % 2)
            ]
            for i, (name, size) in enumerate(names.items())
        }
        for name, row in broken:
            self.said[name][0][row, 0, 0] = float("nan")
        self.activity = {n: [use.__getitem__ for use in uses] for n, uses in self.said.items()}


@pytest.mark.usefixtures("asked")
def test_activity_is_gathered_as_each_member_does_alone(network):
    asking, generator = (0, 2, 3), torch.Generator().manual_seed(3)
    weights = {i: weights_of(network.modules[i]) for i in range(len(KINDS))}
    names = {name: weight.shape[1] for name, weight in weights[0].items()}
    left_out = next(iter(names))
    weights[3].pop(left_out)

    def gatherers():
        kinds = {i: ["activation"] if i in asking else [] for i in weights}
        return {
            i: Gatherer(network.modules[i], weights[i], kinds[i], WINDOW) for i in range(len(KINDS))
        }

    together, alone, stacked = gatherers(), gatherers(), StackedStatistics(network)
    for turn in range(3 * WINDOW):
        some = [0, 1, 2, 3] if turn % 3 else [1, 2, 3]
        seen = Active(network, names, len(some), generator, [(left_out, 1)] if turn == 4 else [])
        stacked.observer({i: together[i] for i in some})(None, seen)
        for row, i in enumerate(some):
            for name in weights[i] if i in asking else ():
                for use in seen.said[name]:
                    alone[i].add_("activation", name, use[row])
        if turn == 5:
            # Another one has taken the place.
            together[2], alone[2] = gatherers()[2], gatherers()[2]
        elif turn % 2:
            stacked.settle()
            for i in asking:
                expected, found = (g[i].values("activation") for g in (alone, together))
                assert found.keys() == expected.keys()
                for name, value in found.items():
                    assert value.shape == (1, names[name])
                    torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)
                assert together[i].seen("activation") == alone[i].seen("activation")
    assert left_out not in together[3].values("activation")
    assert len(set(together[0].seen("activation").values())) > 1
