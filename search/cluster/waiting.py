"""Says what is waited for, each minute: nothing that a search needs from a cluster may hang silently."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], object]
SAY_SECONDS = 60.0


@contextmanager
def each_minute(say: Say, what: Callable[[], str], seconds: float = SAY_SECONDS) -> Iterator[None]:
    """Reports regularly what is waited for while the block runs.

    It says so from a thread of its own: the wait may be one inside Ray, where Python code doesn't run.

    Args:
        say: Callback for messages to the user.
        what: Returns what is currently waited for.
        seconds: Between two lines.
    """
    over = threading.Event()

    def tell() -> None:
        waited = 0.0
        while not over.wait(seconds):
            waited += seconds
            say(f"{what()} ({waited / 60:.0f} min)")

    thread = threading.Thread(target=tell, name="each-minute", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
