"""Where a member of the population stands between two segments."""

from __future__ import annotations

import dataclasses

from search.config.space import Values
from search.store.archive import Snapshot

# Segments in a row that a member may fail before it is left alone.
MOST_FAILURES = 3


@dataclasses.dataclass
class Member:
    """Where a member stands between two segments.

    Attributes:
        index: From 0.
        segment: Index of its next segment.
        env_steps: The lineage's clock.
        hyperparameters: Hyperparameters of its last segment; empty before its first.
        last: The member's last snapshot, where it goes on from; None: it is to be born.
        previous: The snapshot that its last segment started from.
        trial_number: Number of that segment's trial in the study.
        failures: Segments that failed in a row; after one it cannot go on as it is.
    """

    index: int
    segment: int = 0
    env_steps: int = 0
    hyperparameters: Values = dataclasses.field(default_factory=dict)
    last: Snapshot | None = None
    previous: Snapshot | None = None
    trial_number: int = -1
    failures: int = 0

    def fail(self) -> None:
        """A segment failed."""
        self.segment += 1
        self.failures += 1

    def revive(self) -> None:
        """Makes a member that was given up eligible again, with one failure on record."""
        self.failures = 1

    @property
    def given_up(self) -> bool:
        """Whether it failed too often to be tried again."""
        return self.failures >= MOST_FAILURES


def segment_end(segment_steps: int, horizon: int, clock: int) -> int:
    """The next of the horizon's equal parts to end, far enough away to be worth a segment.

    Args:
        segment_steps: Env steps of a part.
        horizon: End of the last part, in env steps.
        clock: Env steps of the lineage where the segment starts.
    """
    end = (clock // segment_steps + 1) * segment_steps
    if end - clock < segment_steps / 4:
        end += segment_steps
    return horizon if horizon - end < segment_steps / 4 else end
