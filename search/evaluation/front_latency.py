"""Latency of the front's policies: measured alone, kept in their metadata."""

from __future__ import annotations

from pathlib import Path

from rllib_ext.policy.latency import latencies
from rllib_ext.policy.store import add_metadata
from search.front.results import read_results


def note_latencies(folder: Path) -> dict[str, float]:
    """Measures the front's policies and the networks they are compared with, in this process.

    Call it when nothing else of the search runs. What is no longer on disk is left out.

    Args:
        folder: The results folder; each policy's metadata takes its "latency_us".

    Returns:
        Microseconds of a decision, by policy.
    """
    results = read_results(folder)
    front = results.confirmed.table
    named = {name: b.checkpoint for name, b in results.baseline_records.items()}
    named |= dict(zip(front["snapshot_id"], front["policy"], strict=True))
    places = {name: results.folder / path for name, path in named.items() if path}
    places = {name: place for name, place in places.items() if place.is_dir()}
    found = latencies(places)
    for name, microseconds in found.items():
        add_metadata(places[name], {"latency_us": microseconds})
    return found
