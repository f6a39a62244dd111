"""The order of minibatches."""

import torch

from rllib_ext.packed.update import MinibatchOrder


def order_of(seeds, epochs, size, minibatch):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return MinibatchOrder(generators, epochs, size, minibatch)


def test_every_step_is_seen_once_an_epoch_by_members_with_epochs_of_their_own():
    order = order_of((1, 2, 3), (3, 1, 2), size=12, minibatch=4)
    assert order.counts == [9, 3, 6]
    for row, epochs in enumerate((3, 1, 2)):
        for epoch in range(epochs):
            parts = [order.minibatch(3 * epoch + k)[row] for k in range(3)]
            assert sorted(torch.cat(parts).tolist()) == list(range(12))


def test_minibatches_run_on_over_the_end_of_an_epoch():
    order = order_of((5,), (2,), size=10, minibatch=4)
    assert order.counts == [5]
    seen = torch.cat([order.minibatch(k)[0] for k in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    # 1 epoch of 10 in minibatches of 4 takes 3, the last one with 2 of the next epoch.
    assert order_of((5,), (1,), size=10, minibatch=4).counts == [3]


def test_a_member_s_order_is_its_own():
    together = order_of((1, 2), (2, 2), size=8, minibatch=8)
    alone = order_of((2,), (2,), size=8, minibatch=8)
    for index in range(2):
        assert torch.equal(together.minibatch(index)[1], alone.minibatch(index)[0])
    assert not torch.equal(together.minibatch(0)[0], together.minibatch(0)[1])
