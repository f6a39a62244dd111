"""A report that was made from more than is left is kept, before another one takes its place."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from search.front.results import Results
from search.store import tables
from search.store.losses import EARLIER

REPORT = (
    *(f"{stem}{kind}" for stem in ("snapshots", "front") for kind in (".csv", ".parquet")),
    *(f"{stem}.csv" for stem in ("baselines", "shift", "retrain")),
    *("episodes.parquet", "layers.parquet"),
    *("report.html", "report.md", "front.png", "front.svg"),
)


def keep_earlier(results: Results) -> Path | None:
    """Copies the report of a folder that has lost something, unless the new one says the same.

    Args:
        results: The folder as it is now.

    Returns:
        Where the copy lies; None where none was needed.
    """
    if not (results.losses or results.policies_gone) or not _would_change(results):
        return None
    names = itertools.chain([EARLIER], (f"{EARLIER}-{i}" for i in itertools.count(2)))
    place = next(p for name in names if not (p := results.folder / name).exists())
    aside = place.with_name(f".{place.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in REPORT:
        if (results.folder / name).is_file():
            shutil.copy2(results.folder / name, aside / name)
    aside.rename(place)
    return place


def _would_change(results: Results) -> bool:
    """Whether a table on disk differs from the one that replaces it."""
    new = results.tables()
    return any(
        path.read_text(encoding="utf-8", errors="replace") != tables.csv_text(table)
        for stem, table in new.items()
        if (path := results.folder / f"{stem}.csv").is_file()
    )
