"""One line out of what Ray and Tune leave of an error."""

import errno
import os

import pytest
import ray

from search.cluster.failure import is_disk_full, reason_of

DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: with_resources.<locals>.ResourceTrainable
\tpid: 4230
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes \
include: (1) the process was killed by the OOM killer due to high memory usage, (2) others.
"""
CHAINED = """ray::ResourceTrainable.train() (pid=3922)
  File "environment.py", line 50, in step
    raise RuntimeError("the simulator died")
RuntimeError: the simulator died

The above exception was the direct cause of the following exception:

ray::ResourceTrainable.train() (pid=3922)
    raise RuntimeError from error
RuntimeError
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no reason given"),
        ("\n", "no reason given"),
        ("Traceback:\n  x\nValueError: of what\n", "ValueError: of what"),
        ("a worker was killed", "a worker was killed"),
        (CHAINED, "RuntimeError: the simulator died"),
        (
            DIED,
            "its process died: Worker unexpectedly exits with a connection error code 2. End of file.",
        ),
        (
            "x\npkg.errors.SafetensorError: I/O error: No space left (os error 28)",
            "pkg.errors.SafetensorError: I/O error: No space left (os error 28)",
        ),
    ],
)
def test_the_line_that_says_what_happened_is_found(text, reason):
    assert reason_of(text) == reason


def test_rays_out_of_memory_errors_are_told_from_other_deaths():
    monitor = ray.exceptions.OutOfMemoryError(
        "Task was killed due to the node running low on memory.\nMemory on the node was 15.2GB / 16GB. "
        "To disable worker killing, set `RAY_memory_monitor_refresh_ms` to zero."
    )
    for text in (str(monitor), f"ray.exceptions.OutOfMemoryError: {monitor}"):
        assert "memory ran low" in reason_of(text)
    assert "memory" not in reason_of(DIED)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_from_other_errors(number):
    assert is_disk_full(OSError(number, os.strerror(number)))
    assert is_disk_full(f"OSError: [Errno {number}] Error writing. Detail: {os.strerror(number)}")
    assert not is_disk_full(OSError(errno.EACCES, os.strerror(errno.EACCES)))
    assert not is_disk_full("")
