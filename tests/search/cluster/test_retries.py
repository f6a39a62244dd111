"""What failed, and is tried again."""

import pytest

from search.cluster.failure import is_loss, reason_of
from search.cluster.retries import MOST_DEATHS, MOST_LOSSES, RETRIES, Retries

# As Ray 2.60 words what became of processes when a node was killed, and when a process was.
NODE_DIED = (
    "Task failed because the node it was running on is dead or unavailable. Node IP: 127.0.0.4, node "
    "ID: 8d2e. This can happen if the node was preempted, had a hardware failure, or its raylet crashed."
)
ACTOR_NODE_DIED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: x\nThe actor died because "
    "its node has died. Node Id: 8d2e\n\tthe actor's node was terminated unexpectedly: health check"
)
UNAVAILABLE = (
    "The actor ada3 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket "
    "closed rpc_code: 14. The task may or may not have been executed on the actor."
)
MEMORY = "OutOfMemoryError: Task was killed due to the node running low on memory."
CRASHED = (
    "The worker died unexpectedly while executing this task. Check python-core-worker-*.log files for "
    "more information."
)
KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit "
    "detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes"
)
RAISED = "Traceback:\n  x\nRuntimeError: the node it has in its tree died"
BLIND = "a.UnseenFolderError: /x is not seen by node 127.0.0.4 (8d2e), or is another folder there."


def attempts(text, points):
    retries = Retries()
    reason = reason_of(text)
    return next(n for n, at in enumerate(points, start=1) if not retries.again("x", reason, at))


@pytest.mark.parametrize("text", [NODE_DIED, ACTOR_NODE_DIED, UNAVAILABLE, MEMORY, BLIND])
def test_what_a_cluster_takes_away_does_not_count_as_the_codes_failure(text):
    assert attempts(text, [0] * 100) == MOST_LOSSES + 1 > 20
    assert is_loss(reason_of(text)) is (text is not BLIND)


@pytest.mark.parametrize("text", [KILLED, CRASHED])
def test_a_death_that_nobody_explains_counts_where_it_repeats_itself(text):
    assert attempts(text, [7, 7, 7, 7]) == RETRIES + 1
    assert attempts(text, [7, 3, 7, 5, 3, 7]) == 6
    assert attempts(text, range(100)) == MOST_DEATHS + 1


def test_what_is_raised_counts_wherever_it_is():
    assert attempts(RAISED, range(100)) == RETRIES + 1
    assert not is_loss(reason_of(RAISED))


def test_each_counts_by_itself():
    retries = Retries()
    for name in "abc":
        assert [retries.again(name, RAISED) for _ in range(3)] == [True, True, False]


def test_a_death_before_anything_began_is_nobodys_fault():
    retries = Retries()
    assert all(retries.again("x", reason_of(KILLED), begun=False) for _ in range(MOST_LOSSES))
