"""The growth of a population: the number of members that train each segment."""

from __future__ import annotations


def sizes(members: int, founders: float, segments: int) -> tuple[int, ...]:
    """Returns the number of members that train each segment of the horizon.

    Descendants inherit what a lineage learns before it is pruned. Therefore only a few members begin,
    and the population grows by the same factor from segment to segment: n(x) = members ·
    founders^(1 − x), where x is the middle of the segment, from 0 at the start to 1 at the horizon. The
    env steps saved in this way make lineages longer.

    Args:
        members: Number of members of the full population, ≥ 1.
        founders: Share of the members that begins, in (0, 1]; with 1, all of them train every segment.
        segments: Number of segments of the horizon, ≥ 1.

    Returns:
        One size per segment, never decreasing. Each is at least 2 (unless `members` is 1), so that
        there are members to choose between.
    """
    shares = (founders ** (1.0 - (k + 0.5) / segments) for k in range(segments))
    return tuple(max(min(2, members), round(members * share)) for share in shares)
