import dataclasses

import pytest
from pretended_search import by_id, events

from rllib_ext.pruning.errors import ResultsError
from search.front.lineage import ancestors, lineage, plans_of


def test_a_lineage_is_what_the_starts_of_its_segments_say(searched):
    """The oracle is events.jsonl: each segment's plan, followed from parent to parent."""
    known = by_id(searched)
    starts = {(e["member"], e["segment"]): e for e in events(searched, "start")}
    longest = max(known.values(), key=lambda s: len(ancestors(s, known)))
    stages = lineage(longest, known, plans_of(searched.archive.events()))
    members, at = set(), longest
    for stage in reversed(stages):
        start = starts[at.member, at.segment]
        assert stage.hyperparameters == start["hyperparameters"]
        assert (stage.pruning, stage.training) == (
            start["plan"]["pruning"],
            start["plan"]["training"],
        )
        assert (stage.start, stage.stop) == (start["env_steps"], at.env_steps)
        members.add(at.member)
        at = known.get(start["plan"]["parent"])
    assert at is None
    assert len(stages) > 3
    # It really passed through copies of other members, not through one member's own segments alone.
    assert len(members) > 1


def test_each_stage_begins_where_the_one_before_stopped(searched):
    known, plans = by_id(searched), plans_of(searched.archive.events())
    for snapshot in known.values():
        stages = lineage(snapshot, known, plans)
        clocks = [0, *(stage.stop for stage in stages)]
        assert [stage.start for stage in stages] == clocks[:-1]
        assert clocks == sorted(set(clocks))
        assert clocks[-1] == snapshot.env_steps


def test_a_policy_that_was_never_copied_has_one_stage_a_segment(searched):
    known = by_id(searched)
    first = next(s for s in known.values() if not s.parent)
    assert ancestors(first, known) == []
    assert len(lineage(first, known, plans_of(searched.archive.events()))) == 1


def test_a_missing_ancestor_a_missing_plan_and_a_changed_clock_are_named(searched):
    known, plans = by_id(searched), plans_of(searched.archive.events())
    child = next(s for s in known.values() if s.parent)
    alone = {k: s for k, s in known.items() if k != child.parent}
    with pytest.raises(ResultsError, match=f"leads to {child.parent}"):
        lineage(child, alone, plans)
    with pytest.raises(ResultsError, match=f"{child.snapshot_id} was trained with"):
        lineage(
            child, known, {k: p for k, p in plans.items() if k != (child.member, child.segment)}
        )
    late = {**known, child.parent: dataclasses.replace(known[child.parent], env_steps=10**9)}
    with pytest.raises(ResultsError, match="don't rise"):
        lineage(child, late, plans)
    own = dataclasses.replace(child, parent=child.snapshot_id)
    with pytest.raises(ResultsError, match="don't rise"):
        lineage(own, {own.snapshot_id: own}, plans)
