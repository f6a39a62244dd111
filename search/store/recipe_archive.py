"""The archive of a recipe check, inside the results folder of its search."""

from __future__ import annotations

from pathlib import Path

from search.store.archive import Archive
from search.store.folder import RETRAIN


def archive_of(folder: Path) -> Archive | None:
    """Returns the archive of a results folder's recipe check; None if there was no check."""
    place = folder / RETRAIN
    return Archive(place) if (place / "events.jsonl").is_file() else None


def replays_by_member(archive: Archive) -> dict[int, tuple[str, int]]:
    """Returns the front point and seed index of each replay that was ever begun, by replay number."""
    return {
        int(e["member"]): (str(e["point"]), int(e["index"]))
        for e in archive.events()
        if e.get("event") == "replay"
    }
