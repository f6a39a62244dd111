"""What the front is compared with trains whatever members' own pruning is."""

import pytest
from pretended_search import Search

from rllib_ext.member.segment import DENSE
from rllib_ext.pruning.config import PruningConfig

# Settings that only some schedules have, which no dense network has.
OF_A_SCHEDULE = [
    {"schedule": "iterative", "final_sparsity": 0.9, "begin": 0.2, "rewind_to": 0.1},
    {"schedule": "constant", "final_sparsity": 0.9, "regrow": "rigl"},
]


@pytest.mark.usefixtures("without_sync")
@pytest.mark.parametrize("strategy", ["pareto_pbt", "train_then_prune"])
@pytest.mark.parametrize("pruning", OF_A_SCHEDULE, ids=["rewinds", "regrows"])
def test_a_search_trains_its_dense_policies_whatever_members_prune_by(tmp_path, pruning, strategy):
    search = Search(tmp_path, strategy=strategy, pruning=pruning, env_steps=40_000).run()
    (dense,) = (s for s in search.segments if s.member == DENSE)
    told = PruningConfig.from_dict(dense.pruning)
    assert (told.final_sparsity, told.schedule, told.starting_sparsity) == (0.0, "linear", 0.0)
    assert (told.rewind_to, told.regrow) == (None, None)
    assert search.archive.baselines()["dense"].sparsity == 0.0
    pruned = [PruningConfig.from_dict(s.pruning) for s in search.of_members]
    assert {p.schedule for p in pruned if p.final_sparsity} == {pruning["schedule"]}
