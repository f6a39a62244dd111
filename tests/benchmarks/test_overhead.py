import pytest

from benchmarks.overhead import FIFO, FIFO_SEGMENTS, OURS, verdicts


def _measured(times, memory, actors=2):
    """Times in ms: mean, median, p99; memory at half, at the last result and at the end."""
    return {
        "figures": [100, *(1e-3 * t for t in times), 0, 0],
        "cpu": 1e-3,
        "memory": [100.0, *memory],
        "actors": actors,
    }


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (
            _measured([3, 1, 15], [106.0, 107.0, 112.0]),
            (
                "mean, ours ÷ FIFO: 1.50, within 2; ÷ FIFO with a trial a segment: 1.20",
                "median, ours ÷ FIFO: 1.00, within 2",
                "p99, ours ÷ FIFO: 3.00, NOT within 2",
                "7.0 MiB from a tenth to the last result, under FIFO by 2.0: within FIFO's + 10 MiB; "
                "with a trial a segment by 6.0",
                "1.0 MiB from half to the last result, under FIFO by 0.5: within",
                "12.0 MiB from a tenth to the end, under FIFO by 5.0: within",
            ),
        ),
        (
            _measured([5, 3, 5], [101.0, 109.0, 120.0]),
            (
                "mean, ours ÷ FIFO: 2.50, NOT within 2",
                "median, ours ÷ FIFO: 3.00, NOT within 2",
                "p99, ours ÷ FIFO: 1.00, within 2",
                "9.0 MiB from a tenth to the last result, under FIFO by 2.0: within",
                "8.0 MiB from half to the last result, under FIFO by 0.5: within",
                "20.0 MiB from a tenth to the end, under FIFO by 5.0: NOT within",
            ),
        ),
        (
            _measured([3, 1, 5], [101.0, 113.0, 112.0], actors=3),
            (
                "NOT comparable",
                "2, 2 processes trained",
                "13.0 MiB from a tenth to the last result, under FIFO by 2.0: NOT within",
                "12.0 MiB from half to the last result, under FIFO by 0.5: NOT within",
            ),
        ),
    ],
)
def test_times_memory_and_processes_are_held_against_fifo(ours, told):
    found = {
        FIFO: [_measured([2, 1, 5], [101.5, 102.0, 105.0])] * 2,
        FIFO_SEGMENTS: [_measured([2.5, 1, 9], [103.0, 106.0, 107.0])] * 2,
        OURS: [ours, ours],
    }
    lines = "\n".join(verdicts(found))
    assert all(part in lines for part in told)
    assert ("NOT comparable" in lines) == (ours["actors"] != 2)
