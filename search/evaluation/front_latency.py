"""Measures the latency and exported size of the front's policies and records them in their metadata."""

from __future__ import annotations

from rllib_ext.export.figures import exported_figures
from rllib_ext.policy.latency import latencies
from rllib_ext.policy.store import add_metadata
from search.front.results import Results


def note_latencies(results: Results) -> dict[str, float]:
    """Measures the front's policies and the networks they are compared with, in this process.

    Call it when no other part of the search is running, and before the figures of the results are first
    used, because they include the measurements. Policies that are not on disk are left out.

    Args:
        results: Results of the search. The metadata of each policy on disk receives "latency_us" (in
            RLlib), size and latency as exported (`rllib_ext.export.figures.FIGURES`), and the policy's
            connections if they can be drawn.

    Returns:
        Microseconds per decision in RLlib, by policy.
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
