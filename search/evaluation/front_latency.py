"""What the front's policies take: each measured alone, kept in its metadata."""

from __future__ import annotations

from rllib_ext.export.figures import exported_figures
from rllib_ext.policy.latency import latencies
from rllib_ext.policy.store import add_metadata
from search.front.results import Results


def note_latencies(results: Results) -> dict[str, float]:
    """Measures the front's policies and the networks they are compared with, in this process.

    Call it when nothing else of the search runs, and before the figures of these results are asked for,
    which show them. What is no longer on disk is left out.

    Args:
        results: The search; each policy's metadata on disk takes its "latency_us", in RLlib, and what
            it weighs and how fast it is as exported (`rllib_ext.export.figures.FIGURES`), and its
            connections where they can be drawn.

    Returns:
        Microseconds of a decision in RLlib, by policy.
    """
    points = results.points
    named = {name: b.checkpoint for name, b in results.baseline_records.items()}
    named |= dict(zip(points["snapshot_id"], points["policy"], strict=True))
    places = {name: results.folder / path for name, path in named.items() if path}
    places = {name: place for name, place in places.items() if place.is_dir()}
    found = latencies(places)
    exported = exported_figures(places)
    for name, microseconds in found.items():
        add_metadata(places[name], {"latency_us": microseconds, **exported[name]})
    return found
