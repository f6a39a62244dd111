"""Latencies from a clock that the test holds; no real time is judged."""

import itertools
import json

import pytest
import torch
from own_modules import Branching
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.policy.latency import decision, interleaved, latencies
from rllib_ext.policy.store import METADATA, note_size, save_policy
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.rl.callback import masks_of
from rllib_ext.rl.with_pruning import build_algorithm, with_pruning


class Clock:
    def __init__(self):
        self.now, self.turns = 0.0, []

    def __call__(self):
        return self.now

    def work(self, name, seconds):
        """Takes as long as the next of some values, by turns of `calls` calls."""
        durations = itertools.cycle(seconds)

        def run():
            self.turns.append(name)
            self.now += next(durations)

        return run


def test_the_median_of_the_rounds_after_the_first_is_given_per_call():
    clock = Clock()
    # Four rounds of one call: the first, which is the slowest, warms up.
    works = {
        "a": clock.work("a", [9.0, 2e-6, 4e-6, 8e-6]),
        "b": clock.work("b", [9.0, 1e-6, 1e-6, 5.0]),
    }
    found = interleaved(works, rounds=3, calls=1, clock=clock)
    assert found == {"a": pytest.approx(4.0), "b": pytest.approx(1.0)}
    # They take turns, the order turned around every time.
    assert clock.turns == ["b", "a", "a", "b", "b", "a", "a", "b"]


def test_a_turn_of_several_calls_is_divided_by_them():
    clock = Clock()
    found = interleaved({"a": clock.work("a", [1e-6, 3e-6])}, rounds=2, calls=4, clock=clock)
    assert found == {"a": pytest.approx(2.0)}
    assert len(clock.turns) == 3 * 4


def layers_run(work):
    """Observations and weights of each linear layer that a piece of work runs."""
    found = []

    def see(layer, inputs, output):
        if isinstance(layer, torch.nn.Linear):
            found.append((inputs[0].shape[0], layer.weight.numel()))

    with torch.nn.modules.module.register_module_forward_hook(see):
        outputs = work()
    return found, outputs


@pytest.mark.ray
def test_what_is_timed_is_the_shrunk_policy_on_one_observation(small_ppo, tmp_path):
    pruning = PruningConfig(
        final_sparsity=0.6, granularity="neuron", schedule="constant", horizon=1000
    )
    plain = build_algorithm(small_ppo())
    pruned = build_algorithm(with_pruning(small_ppo(), pruning, evaluated_outside=True))
    try:
        save_policy(plain, {}, tmp_path / "dense", {})
        pruned.train()
        save_policy(pruned, masks_of(pruned), tmp_path / "pruned", {})
    finally:
        plain.stop()
        pruned.stop()
    note_size(tmp_path / "pruned")
    described = json.loads((tmp_path / "pruned" / METADATA).read_text())
    sizes = {}
    for name in ("pruned", "dense"):
        run, outputs = layers_run(decision(tmp_path / name))
        assert {rows for rows, _ in run} == {1}
        assert outputs["action_dist_inputs"].shape == (1, 2)
        sizes[name] = sum(weights for _, weights in run)
    # 4 observations, two layers of 16, 2 actions; the critic isn't run.
    assert sizes == {"dense": 4 * 16 + 16 * 16 + 16 * 2, "pruned": described["macs"]}
    assert sizes["pruned"] < 0.5 * sizes["dense"]
    threads = torch.get_num_threads()
    found = latencies({"pruned": tmp_path / "pruned", "dense": tmp_path / "dense"})
    assert set(found) == {"pruned", "dense"}
    assert min(found.values()) > 0
    assert torch.get_num_threads() == threads


@pytest.mark.ray
def test_a_policy_that_cannot_be_shrunk_keeps_its_size_and_is_timed_as_it_is(small_ppo, tmp_path):
    pruning = PruningConfig(final_sparsity=0.6, schedule="constant", horizon=1000)
    ppo = small_ppo().rl_module(rl_module_spec=RLModuleSpec(module_class=Branching))
    algorithm = build_algorithm(with_pruning(ppo, pruning, evaluated_outside=True))
    try:
        algorithm.train()
        save_policy(algorithm, masks_of(algorithm), tmp_path / "p", {})
    finally:
        algorithm.stop()
    note_size(tmp_path / "p")
    described = json.loads((tmp_path / "p" / METADATA).read_text())
    assert "Keep the masked module" in described["shrink_note"]
    assert "macs" not in described
    run, _ = layers_run(decision(tmp_path / "p"))
    # The second layer of 2 × 2 runs or not.
    assert sum(weights for _, weights in run) in (352, 356)
    assert latencies({"p": tmp_path / "p"})["p"] > 0
