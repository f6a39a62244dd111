import pytest

from benchmarks.overhead import FIFO, OURS, verdicts


def _measured(mean, end, actors=2):
    return {
        "figures": [100, mean, 0, 0, 0, 0],
        "cpu": 1e-3,
        "memory": [100.0, end],
        "actors": actors,
    }


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (_measured(3e-3, 112.0), ("1.50, within 2", "12.0 MiB, under FIFO by 5.0: within")),
        (_measured(5e-3, 120.0), ("2.50, NOT within 2", "20.0 MiB, under FIFO by 5.0: NOT within")),
        (_measured(3e-3, 112.0, actors=3), ("NOT comparable", "2, 2 processes trained")),
    ],
)
def test_time_memory_and_processes_are_held_against_fifo(ours, told):
    found = {FIFO: [_measured(2e-3, 105.0), _measured(2e-3, 105.0)], OURS: [ours, ours]}
    lines = "\n".join(verdicts(found))
    assert all(part in lines for part in told)
    assert ("NOT comparable" in lines) == (ours["actors"] != 2)
