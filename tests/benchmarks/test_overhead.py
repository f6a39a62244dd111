import pytest

from benchmarks.overhead import FIFO, OURS, verdicts


def _measured(mean, last, end, actors=2):
    return {
        "figures": [100, mean, 0, 0, 0, 0],
        "cpu": 1e-3,
        "memory": [100.0, last, end],
        "actors": actors,
    }


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (
            _measured(3e-3, 107.0, 112.0),
            (
                "1.50, within 2",
                "7.0 MiB to the last result, under FIFO by 1.0: within",
                "12.0 MiB to the end, under FIFO by 5.0: within",
            ),
        ),
        (
            _measured(5e-3, 109.0, 120.0),
            (
                "2.50, NOT within 2",
                "9.0 MiB to the last result, under FIFO by 1.0: within",
                "20.0 MiB to the end, under FIFO by 5.0: NOT within",
            ),
        ),
        (
            _measured(3e-3, 112.0, 112.0, actors=3),
            (
                "NOT comparable",
                "2, 2 processes trained",
                "12.0 MiB to the last result, under FIFO by 1.0: NOT within",
            ),
        ),
    ],
)
def test_time_memory_and_processes_are_held_against_fifo(ours, told):
    found = {FIFO: [_measured(2e-3, 101.0, 105.0)] * 2, OURS: [ours, ours]}
    lines = "\n".join(verdicts(found))
    assert all(part in lines for part in told)
    assert ("NOT comparable" in lines) == (ours["actors"] != 2)
