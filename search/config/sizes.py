"""How a population grows: how many members train each segment."""

from __future__ import annotations


def sizes(members: int, founders: float, segments: int) -> tuple[int, ...]:
    """How many members train each segment of the horizon.

    What a lineage learns before it is pruned, all its descendants have learned. So few members begin,
    and the population grows by the same factor from segment to segment: n(x) = members ·
    founders^(1 − x) in the middle x of a segment, from 0 at the start to 1 at the horizon. The env steps
    that are saved make lineages longer.

    Args:
        members: How many the full population has, ≥ 1.
        founders: Share of them that begins, in (0, 1]; 1: all of them train every segment.
        segments: Into how many the horizon is cut, ≥ 1.

    Returns:
        One size a segment, never falling; at least two, so that there is a choice.
    """
    shares = (founders ** (1.0 - (k + 0.5) / segments) for k in range(segments))
    return tuple(max(min(2, members), round(members * share)) for share in shares)
