"""The order of minibatches."""

import numpy as np
import pytest
import torch
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.minibatch_utils import MiniBatchCyclicIterator

from rllib_ext.packed.update import MinibatchOrder


def order_of(seeds, epochs, steps, envs, minibatch):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return MinibatchOrder(generators, epochs, steps, envs, minibatch)


def rllib_s_minibatches(positions, epochs, minibatch):
    batch = SampleBatch({"position": np.array(positions)})
    iterator = MiniBatchCyclicIterator(
        MultiAgentBatch({"policy": batch}, len(positions)),
        num_epochs=epochs,
        minibatch_size=minibatch,
        shuffle_batch_per_epoch=epochs > 1,
    )
    return [part["policy"]["position"].tolist() for part in iterator]


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("minibatch", [4, 5, 12])
def test_minibatches_are_those_of_rllib(epochs, minibatch):
    steps, envs = 6, 2
    # RLlib has one episode after the other, a pack step for step of all environments.
    of_each = [[step * envs + env for step in range(steps)] for env in range(envs)]
    expected = rllib_s_minibatches(of_each[0] + of_each[1], epochs, minibatch)
    order = order_of((1,), (epochs,), steps, envs, minibatch)
    found = [order.minibatch(index)[0].tolist() for index in range(order.counts[0])]
    assert len(found) == len(expected)
    first = steps * envs // minibatch
    assert found[:first] == expected[:first]
    # What is shuffled is no longer the same, but its first epoch's end is.
    seen = [position for part in found for position in part]
    assert seen[:12] == [position for part in expected for position in part][:12]
    for epoch in range(1, epochs):
        assert sorted(seen[12 * epoch : 12 * (epoch + 1)]) == list(range(12))
        assert seen[12 * epoch : 12 * (epoch + 1)] != seen[:12]


def test_every_step_is_seen_once_an_epoch_by_members_with_epochs_of_their_own():
    order = order_of((1, 2, 3), (3, 1, 2), steps=4, envs=3, minibatch=4)
    assert order.counts == [9, 3, 6]
    for row, epochs in enumerate((3, 1, 2)):
        for epoch in range(epochs):
            parts = [order.minibatch(3 * epoch + k)[row] for k in range(3)]
            assert sorted(torch.cat(parts).tolist()) == list(range(12))


def test_minibatches_run_on_over_the_end_of_an_epoch():
    order = order_of((5,), (2,), steps=5, envs=2, minibatch=4)
    assert order.counts == [5]
    seen = torch.cat([order.minibatch(k)[0] for k in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_last_minibatch_is_filled_from_the_next_epoch():
    # 1 epoch of 10 in minibatches of 4 takes 3, the last one with 2 of the next epoch.
    order = order_of((5,), (1,), steps=5, envs=2, minibatch=4)
    assert order.counts == [3]
    last = order.minibatch(2)[0].tolist()
    assert last[:2] == [7, 9]
    assert len(last) == 4
    assert set(last[2:]) <= set(range(10))
    assert last[2] != last[3]


def test_a_member_s_order_is_its_own():
    together = order_of((1, 2), (2, 2), steps=4, envs=2, minibatch=8)
    alone = order_of((2,), (2,), steps=4, envs=2, minibatch=8)
    for index in range(2):
        assert torch.equal(together.minibatch(index)[1], alone.minibatch(index)[0])
    assert not torch.equal(together.minibatch(1)[0], together.minibatch(1)[1])
