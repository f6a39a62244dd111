"""Sparsities that count weights at work: against brute force, and through a network's whole life."""

import itertools
import pickle

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.masks import full_masks, prune
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.graph import Probe, trace
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.training.at_work import AtWork
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.pruning.training.regrow import random_growth

HORIZON = 1000


class Deep(nn.Module):
    """Two hidden layers, two heads and a critic of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 7), nn.Linear(7, 5)
        self.pi = nn.Linear(5, 2)
        self.vf = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x):
        hidden = self.second(self.first(x).tanh()).tanh()
        return torch.cat([self.pi(hidden), self.vf(x)], -1)


PROBE = Probe(
    inputs=lambda module, generator: torch.randn(4, 4, generator=generator),
    forward=lambda module, x: module(x),
    observations=4,
)


def live_count(network, masks, names):
    live = Liveness(trace(network, PROBE)).live(masks)
    return sum(int(live[name].sum()) for name in names)


def pruning(**values):
    return PruningConfig(
        **{"horizon": HORIZON, "schedule": "one_shot", "begin": 0.1, "end": 0.9, **values}
    )


@pytest.mark.parametrize("scope", ["global", "layerwise", "erk"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_wanted_is_left_by_the_highest_scores_that_connect(scope, seed):
    torch.manual_seed(seed)
    network = Deep()
    weights = prunable_weights(network, ["vf"]).policy
    masks = full_masks(weights)
    liveness = Liveness(trace(network, PROBE))
    scores = {name: w.detach().abs() for name, w in weights.items()}
    at_work = AtWork(liveness, full_masks(dict(prunable_weights(network).policy)))
    total = sum(w.numel() for w in weights.values())

    def pruned(number):
        return prune(scores, masks, scope=scope, count=number)

    by_number = [pruned(number) for number in range(total + 1)]
    counts = [at_work.count(each) for each in by_number]
    exact = 0
    for wanted in range(total + 1):
        found = at_work.pruned(pruned, scores, (0, total - wanted), wanted)
        left = at_work.count(found)
        exact += left == wanted
        assert 0 < left <= max(wanted, 3)
        # No cut of the ranking leaves more without leaving too many.
        assert left >= max((count for count in counts if count <= wanted), default=0)
        # All of it is kept by the strictest cut that leaves as many.
        enough = max(n for n in range(total + 1) if counts[n] >= left)
        live = liveness.live({**full_masks(dict(network.named_parameters())), **found})
        assert scope != "global" or all(
            bool((live[name] <= by_number[enough][name]).all()) for name in found
        )
    assert exact >= total - 6


class Training:
    """A network, a real Adam and a Pruner that knows which weights are at work."""

    def __init__(self, config, seed=0, count="live", network=Deep):
        torch.manual_seed(seed)
        self.module = network()
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.03)
        self.generator = torch.Generator().manual_seed(seed)
        self.pruner = Pruner(
            self.module,
            lambda: [self.optimizer],
            config.replace(count=count),
            critic_prefixes=["vf"],
            seed=seed,
            graph=lambda: trace(self.module, PROBE),
            probe=PROBE,
        )
        self.env_steps = 0

    def update(self, env_steps, steps=1):
        self.env_steps += env_steps
        self.pruner.before_update(self.env_steps)
        for _ in range(steps):
            inputs = torch.randn(8, 4, generator=self.generator)
            self.optimizer.zero_grad()
            (self.module(inputs) - inputs.sum(-1, keepdim=True)).pow(2).mean().backward()
            gradients = [(p, p.grad) for p in self.module.parameters()]
            self.pruner.observe_gradients(gradients)
            self.pruner.mask_gradients_(gradients)
            self.optimizer.step()
            self.pruner.enforce_()
        self.pruner.after_update()

    def kept(self, *prefixes):
        masks = self.pruner.masks
        return sum(int(mask.sum()) for n, mask in masks.items() if n.startswith(prefixes))

    def save(self):
        return pickle.dumps(
            (
                self.module.state_dict(),
                self.optimizer.state_dict(),
                self.pruner.state_dict(),
                self.env_steps,
            )
        )

    def load(self, saved):
        module, optimizer, pruner, self.env_steps = pickle.loads(saved)
        self.module.load_state_dict(module)
        self.optimizer.load_state_dict(optimizer)
        self.pruner.load_state_dict(pruner)


POLICY = ("first", "second", "pi")
TOTAL = 4 * 7 + 7 * 5 + 5 * 2


@pytest.mark.parametrize("sparsity", [0.3, 0.7, 0.85, 0.93])
@pytest.mark.parametrize("criterion", ["magnitude", "random", "gradient", "lamp", "synflow"])
def test_as_many_are_left_as_were_asked_for_and_all_are_at_work(sparsity, criterion):
    short = 0
    for seed in range(5):
        training = Training(pruning(final_sparsity=sparsity, criterion=criterion), seed)
        training.update(50)
        training.update(200)
        wanted = TOTAL - round(sparsity * TOTAL)
        masks = training.pruner.masks
        assert training.kept(*POLICY) == live_count(training.module, masks, _policy(masks))
        assert 0 < training.kept(*POLICY) <= max(wanted, 3)
        short += wanted - training.kept(*POLICY)
        report = training.pruner.report()
        assert report["nonzero_params"] == training.kept(*POLICY)
        assert training.kept("vf") == 25
    # Where five weights are left, two of them may only go together.
    assert short <= (5 if criterion == "lamp" else 2)


def _policy(masks):
    return [name for name in masks if name.startswith(POLICY)]


def test_counting_what_is_kept_leaves_dead_weights():
    training = Training(pruning(final_sparsity=0.85), count="kept")
    training.update(200)
    masks = training.pruner.masks
    assert training.kept(*POLICY) == TOTAL - round(0.85 * TOTAL)
    assert live_count(training.module, masks, _policy(masks)) < training.kept(*POLICY)


def test_a_network_is_never_cut_through():
    for seed in range(10):
        training = Training(pruning(final_sparsity=0.999), seed)
        training.update(200)
        assert training.kept(*POLICY) >= 3
        outputs = training.module(torch.randn(64, 4))[:, :2]
        assert bool((outputs.std(0) > 0).any())


def test_a_threshold_above_all_scores_leaves_a_path():
    training = Training(pruning(final_sparsity=None, threshold=1e9))
    training.update(200)
    assert 3 <= training.kept(*POLICY) <= 6


def test_removing_weights_changes_the_network_no_more_than_the_removed_scores_say():
    """What dead weights added is in biases: the network is the one whose low scores were zeroed."""
    for seed in range(5):
        training = Training(pruning(final_sparsity=0.85), seed)
        training.update(50)
        inputs = torch.randn(32, 4)
        nominal = {}
        choose = training.pruner._next.pruned

        def also_here(*arguments, choose=choose, nominal=nominal):
            nominal.update(choose(*arguments))
            return dict(nominal)

        training.pruner._next.pruned = also_here
        before = {n: p.detach().clone() for n, p in training.module.named_parameters()}
        training.update(200, steps=0)
        after = training.module(inputs)
        other = Deep()
        other.load_state_dict(before)
        with torch.no_grad():
            for name, mask in nominal.items():
                other.get_parameter(name).mul_(mask)
        torch.testing.assert_close(after, other(inputs), rtol=0, atol=1e-6)
        assert any(bool((training.pruner.masks[n] != m).any()) for n, m in nominal.items())


@pytest.mark.parametrize("regrow", ["set", "rigl"])
def test_what_grows_back_connects(regrow):
    for seed in range(4):
        training = Training(
            pruning(final_sparsity=0.8, schedule="constant", begin=0.0, regrow=regrow), seed
        )
        counts = set()
        grown = 0
        for _ in range(40):
            before = {n: m.clone() for n, m in training.pruner.masks.items()}
            training.update(20)
            masks = training.pruner.masks
            assert training.kept(*POLICY) == live_count(training.module, masks, _policy(masks))
            grown += sum(int((m & ~before[n]).sum()) for n, m in masks.items())
            counts.add(training.kept(*POLICY))
        assert grown > 5
        assert max(counts) <= TOTAL - round(0.8 * TOTAL)
        assert min(counts) >= 3


class SharedEncoder(Deep):
    """The critic reads what the policy reads."""

    def __init__(self):
        super().__init__()
        self.vf = nn.Linear(5, 1)

    def forward(self, x):
        hidden = self.second(self.first(x).tanh()).tanh()
        return torch.cat([self.pi(hidden), self.vf(hidden)], -1)


@pytest.mark.parametrize("regrow", ["set", "rigl"])
def test_a_critic_without_a_target_stays_dense_while_the_policys_weights_are_exchanged(regrow):
    config = pruning(final_sparsity=0.85, schedule="constant", begin=0.0, regrow=regrow)
    for seed in range(3):
        training = Training(config, seed, network=SharedEncoder)
        grown = 0
        for _ in range(15):
            training.update(20)
            grown += training.pruner.event == "regrown"
            assert training.kept("vf") == 5
        assert grown


def test_growth_reaches_only_places_that_connect():
    torch.manual_seed(0)
    network = Deep()
    weights = dict(prunable_weights(network, ["vf"]).policy)
    liveness = Liveness(trace(network, PROBE))
    masks = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in weights.items()}
    for name, place in (("first.weight", (0, 1)), ("second.weight", (2, 0)), ("pi.weight", (1, 2))):
        masks[name][place] = True
    at_work = AtWork(liveness, masks)
    for seed in range(10):
        found = at_work.exchanged(weights, masks, random_growth(weights, seed), 0.5)
        live = liveness.live(found)
        assert all(torch.equal(found[n], live[n]) for n in found)
        assert sum(int(m.sum()) for m in found.values()) <= 3


class Life(RuleBasedStateMachine):
    """Whatever happens to a network, all that is kept is at work, and masked weights are zero."""

    @initialize(seed=st.integers(0, 5), final=st.sampled_from([0.5, 0.8, 0.95]))
    def begin(self, seed, final):
        self.config = pruning(
            final_sparsity=final, schedule="linear", random_return=0.0, critic_final_sparsity=0.4
        )
        self.training = Training(self.config, seed)
        self.saved = self.training.save()
        self.numbers = itertools.count(10)

    @rule(env_steps=st.integers(1, 150))
    def update(self, env_steps):
        self.training.update(env_steps)

    @rule()
    def save(self):
        self.saved = self.training.save()

    @rule(
        schedule=st.sampled_from(["linear", "plateau", "constant", "cubic"]),
        final=st.floats(0.2, 0.97),
    )
    def clone(self, schedule, final):
        regrow = "set" if schedule == "constant" else None
        config = self.config.replace(
            schedule=schedule, final_sparsity=final, regrow=regrow, patience=0, step=0.2
        )
        self.training = Training(config, next(self.numbers))
        self.training.load(self.saved)

    @rule(value=st.sampled_from([1.0, 100.0]))
    def evaluate(self, value):
        self.training.pruner.observe(value)

    @invariant()
    def all_is_at_work(self):
        if not hasattr(self, "training"):
            return
        masks = self.training.pruner.masks
        live = Liveness(trace(self.training.module, PROBE)).live(masks)
        for name, mask in masks.items():
            assert torch.equal(live[name], mask), name
            weight = self.training.module.get_parameter(name)
            assert bool((weight[~mask] == 0).all())
        assert self.training.kept(*POLICY) >= 3


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
