"""comparison.md: several searches in GitHub's Markdown."""

from __future__ import annotations

from search.front.comparison import Comparison
from search.report.comparison_page import (
    ATTAINED,
    group_rows,
    plain_note,
    plain_rows,
    reference,
    search_rows,
    sentences,
)
from search.report.markdown import plain, table

POINTS = "Points are front policies with their report scores and 95 % intervals over episodes."


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison for a pull request; it shows `comparison.png` beside it."""
    scale = comparison.scale
    parts = [
        f"# {len(comparison.searches)} searches of {plain(comparison.env)} compared",
        *(f"**{plain(sentence)}**" for sentence in sentences(comparison)),
        *(f"> **Note:** {plain(note)}." for note in comparison.notes),
        "![Mean return against non-zero weights: the front of each search, and what repeats attain]"
        "(comparison.png)",
        f"{POINTS} {ATTAINED}" if len(comparison.bands) else POINTS,
        plain_note(comparison),
        table(plain_rows(comparison)),
        "## Hypervolume",
        f"{plain(scale.note)}." if scale.note else table(group_rows(comparison)),
        ""
        if scale.note
        else f"{reference(comparison)} Intervals resample whole searches; with few of them they are too "
        "narrow rather than too wide.",
        "## Searches",
        table(search_rows(comparison)),
        "Repeats share all of their configuration but seed, resources and trackers. Weights at 95 % and "
        "99 % are the non-zero weights of the search's own picks, against its own dense baseline.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
