"""Members held to the policy that they began with."""

import numpy as np
import pytest
import torch

from rllib_ext import PruningConfig
from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.packed.distributions import Categorical
from rllib_ext.packed.pack import Pack
from rllib_ext.pruning.errors import ConfigError

ITERATION = 64
PRUNED = {"final_sparsity": 0.6, "schedule": "one_shot", "begin": 0.1, "horizon": 20 * ITERATION}
TRAINING = {"lr": 1e-2}


def initial_of(pack, seed=7):
    weights = {n: v.numpy() for n, v in pack._module(seed).state_dict().items()}
    return Initial(weights=weights, filters={})


def run(ppo, ways, iterations):
    """A pack of members of one seed that differ in nothing but how they are held."""
    pack = Pack(ppo, len(ways))
    initial = initial_of(pack)
    for place, way in enumerate(ways):
        pruning = PruningConfig(**PRUNED, **way)
        pack.start(place, training=TRAINING, pruning=pruning, seed=1, initial=initial)
    results = [pack.train() for _ in range(iterations)]
    return pack, initial, results


def divergences(pack, initial):
    """KL(what members began with ‖ members) on made-up observations."""
    teacher = pack._module(0)
    initial.put_into(teacher)
    observations = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        taught = teacher._forward({"obs": observations})["action_dist_inputs"]
        return [
            float(Categorical(m._forward({"obs": observations})["action_dist_inputs"])
                  .divergence_from(taught).mean())
            for m in pack.network.modules
        ]  # fmt: skip


def test_a_member_that_is_held_stays_nearer_to_its_teacher(packed_ppo):
    pack, initial, results = run(packed_ppo(), [{}, {"distil": 0.3}, {"distil": 10.0}], 10)
    free, held, tight = divergences(pack, initial)
    assert tight < 0.5 * free
    assert tight < held < free
    reported = [result[1]["learners"]["teaching_loss"] for result in results]
    assert all(value > 0.0 for value in reported)
    assert {result[0]["learners"]["teaching_loss"] for result in results[:3]} != {0.0}
    sparsities = [pack.pruning.pruner(i).report()["sparsity"] for i in range(3)]
    assert sparsities == pytest.approx([0.6] * 3, abs=0.01)


def test_whose_weight_has_fallen_to_0_trains_as_who_was_never_held(packed_ppo):
    until = 4 * ITERATION / PRUNED["horizon"]
    pack, _, _ = run(packed_ppo(), [{}, {"distil": 5.0, "distil_until": 1e-9}], 3)
    assert torch.equal(pack.network.weights[0], pack.network.weights[1])
    assert not pack.members[1].failure
    pack, _, results = run(packed_ppo(), [{}, {"distil": 5.0, "distil_until": until}], 6)
    assert not torch.equal(pack.network.weights[0], pack.network.weights[1])
    held = [pack.pruning.teaching(1)]
    pack.pruning.pruner(1).env_steps = 2 * ITERATION
    held.append(pack.pruning.teaching(1))
    assert held == pytest.approx([0.0, 2.5])
    assert results[-1][1]["learners"]["teaching_loss"] == 0.0


def test_members_beside_one_that_is_held_are_what_they_are_alone(packed_ppo):
    alone, _, _ = run(packed_ppo(), [{}], 4)
    beside, _, _ = run(packed_ppo(), [{"distil": 5.0}, {}], 4)
    torch.testing.assert_close(
        beside.network.weights[1], alone.network.weights[0], rtol=1e-4, atol=1e-5
    )


def test_after_a_restore_and_in_a_clone_the_teacher_is_still_the_beginning(packed_ppo):
    pack, initial, _ = run(packed_ppo(), [{"distil": 1.0}, {"distil": 1.0}], 6)
    state = pack.state(0)
    other = Pack(packed_ppo(), 1)
    pruning = PruningConfig(**PRUNED, distil=4.0)
    other.start(0, training=TRAINING, pruning=pruning, seed=9, state=state, initial=initial)
    observations = torch.randn(1, 32, 4, generator=torch.Generator().manual_seed(0))
    teacher = other._module(0)
    initial.put_into(teacher)
    with torch.no_grad():
        expected = teacher._forward({"obs": observations[0]})["action_dist_inputs"]
    found = other._teachers.inputs(observations, [0], expected.shape[-1])
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)
    assert other.train()[0]["learners"]["teaching_loss"] > 0.0


def test_without_a_teacher_or_with_another_view_of_the_world_it_is_refused(packed_ppo):
    pack = Pack(packed_ppo(), 1)
    pruning = PruningConfig(**PRUNED, distil=1.0)
    with pytest.raises(ConfigError, match=r"distil = 1\.0 .*no trained one.*init_checkpoint"):
        pack.start(0, training={}, pruning=pruning, seed=0)
    filtered = Initial(initial_of(pack).weights, {"MeanStdFilter": {"mean": np.zeros(4)}})
    with pytest.raises(ConfigError, match="don't see the same"):
        pack.start(0, training={}, pruning=pruning, seed=0, initial=filtered)
