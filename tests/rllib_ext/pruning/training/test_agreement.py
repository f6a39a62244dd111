"""Processes that train one network together: none waits for ever, whatever one knows or raises."""

import threading

import pytest
import torch
from torch import nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ScoreError
from rllib_ext.pruning.training.pruner import Pruner

PATIENCE = 20.0


class Wire:
    """A broadcast from rank 0 between threads; whoever waits for one that doesn't come, breaks."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=PATIENCE)
        self._said = torch.zeros(0)

    def of(self, rank: int):
        def broadcast(value: torch.Tensor) -> None:
            if rank == 0:
                self._said = value.clone()
            self._barrier.wait()
            assert self._said.shape == value.shape, "the ranks speak of different things"
            value.copy_(self._said)
            self._barrier.wait()

        return broadcast


def pruner_on(rank: int, wire: Wire, **changes) -> Pruner:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    values = {"final_sparsity": 0.5, "schedule": "linear", "begin": 0.0, "end": 1.0, "horizon": 10}
    config = PruningConfig(**{**values, **changes})
    return Pruner(module, list, config, synchronise=wire.of(rank))


def together(*jobs) -> list[object]:
    """What each job returned or raised, run at once."""
    found: list[object] = [None] * len(jobs)

    def run(place: int) -> None:
        try:
            found[place] = jobs[place]()
        except (ScoreError, AssertionError, threading.BrokenBarrierError) as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    return found


def see(pruner: Pruner, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pruner.observe_gradients(
        [(p, torch.randn(p.shape, generator=generator)) for p in pruner.module.parameters()]
    )


def break_(pruner: Pruner) -> None:
    with torch.no_grad():
        pruner.module[0].weight.fill_(float("nan"))


@pytest.mark.parametrize("broken", [(0,), (0, 1)])
def test_all_ranks_raise_where_the_first_cannot_rank_weights(broken) -> None:
    wire = Wire()
    ranks = [pruner_on(rank, wire) for rank in (0, 1)]
    for rank in broken:
        break_(ranks[rank])
    found = together(*(lambda p=p: p.before_update(5) for p in ranks))
    assert [type(error) for error in found] == [ScoreError, ScoreError]
    assert "0.weight" in str(found[0])


def test_the_first_ranks_masks_hold_where_another_cannot_rank_its_weights() -> None:
    wire = Wire()
    ranks = [pruner_on(rank, wire) for rank in (0, 1)]
    break_(ranks[1])
    assert together(*(lambda p=p: p.before_update(5) for p in ranks)) == [True, True]
    for name, mask in ranks[0].masks.items():
        assert torch.equal(mask, ranks[1].masks[name])
        assert not mask.all() or name == "2.weight"


@pytest.mark.parametrize("knowing", [0, 1])
@pytest.mark.parametrize("rule", [None, "rigl"])
def test_ranks_that_gathered_different_things_do_as_the_first(knowing, rule) -> None:
    wire = Wire()
    changes = {"schedule": "constant", "regrow": rule, "regrow_interval": 0.1}
    ranks = [
        pruner_on(rank, wire, **(changes if rule else {"criterion": "gradient"})) for rank in (0, 1)
    ]
    if rule:
        together(*(lambda p=p: p.before_update(1) for p in ranks))
    see(ranks[knowing], 0)
    found = together(*(lambda p=p: p.before_update(3) for p in ranks))
    assert found == [knowing == 0] * 2
    for pruner in ranks:
        assert pruner.events["regrown" if rule else "pruned"] == (knowing == 0) + 0
    for name, mask in ranks[0].masks.items():
        assert torch.equal(mask, ranks[1].masks[name])
    assert ranks[0].standing == ranks[1].standing


def test_weights_that_regrow_are_the_same_on_all_ranks() -> None:
    wire = Wire()
    ranks = [
        pruner_on(rank, wire, schedule="constant", regrow="set", regrow_interval=0.1)
        for rank in (0, 1)
    ]
    # As if they drew from different seeds.
    ranks[1]._next.seed = 99
    for clock in range(1, 6):
        together(*(lambda p=p, c=clock: p.before_update(c) for p in ranks))
    assert ranks[0].events["regrown"] == ranks[1].events["regrown"] >= 2
    for (name, one), (_, other) in zip(
        ranks[0].module.named_parameters(), ranks[1].module.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
