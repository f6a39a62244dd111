"""The report in a few lines, for a terminal or a log."""

from __future__ import annotations

from typing import Any

from search.front.format import marks, number, percent, share, span
from search.front.results import Results
from search.front.text_table import text_table
from search.report import facts
from search.report.exported import export_notes
from search.report.health import health
from search.report.take_it import take_the_pick
from search.report.verdict import verdict

# More rows than that say less, not more.
MOST_ROWS = 12
COLUMNS = (">sparsity", ">weights", ">return", "<95 % interval", ">retained", "<")


def recipe_check(results: Results) -> str:
    """Each replayed recipe beside its checkpoint, a paragraph a point."""
    lines = []
    for row in facts.recipe_checks(results):
        lines += [
            f"{row['policy']}  {row['picked as']}".rstrip(),
            f"  this checkpoint  {row['this checkpoint']}, retained {row['retained']}, "
            f"sparsity {row['sparsity']}",
            f"  this recipe      {row['this recipe']}, retained {row['recipe retained']}, "
            f"sparsity {row['recipe sparsity']}; {row['seeds']} seeds, worst to best "
            f"{row['worst to best seed']}",
        ]
    return "\n".join(lines)


def outcome(results: Results) -> dict[str, Any]:
    """Returns the outcome of a search as plain values for scripts.

    Args:
        results: A search.

    Returns:
        "folder", its "report", the "verdict", how to "take" its pick out of Ray, and the "front": a row
        of front.csv each, the densest first.
    """
    return {
        "folder": str(results.folder),
        "report": str(results.page),
        "verdict": verdict(results),
        "take": take_the_pick(results, str(results.folder)),
        "front": results.confirmed.table.to_dict("records"),
    }


def summary(results: Results) -> str:
    """The verdict, how to take its policy, and the front as a plain table.

    Args:
        results: A search with re-evaluated policies.

    Returns:
        Lines of about 100 characters at most, but for the verdict, notes and what to type.
    """
    table = results.confirmed.table
    told = verdict(results)
    take = take_the_pick(results, str(results.folder))
    notes = [f"note: {note}" for note in results.confirmed.notes if note not in told]
    notes += [f"note: {note}" for note in export_notes(results)]
    notes += [
        f"note: {sentence[0].lower()}{sentence[1:].rstrip('.')}" for sentence in health(results)
    ]
    rows: list[tuple[str, ...]] = [
        (
            percent(row["sparsity"]),
            f"{row['nonzero_params']:,}",
            number(row["return_mean"]),
            span(row["return_ci_low"], row["return_ci_high"]) or "no variance",
            share(row["retained"]),
            marks(row),
        )
        for row in table.tail(MOST_ROWS).to_dict("records")
    ]
    rows += [
        (
            row["name"],
            "",
            number(row["return_mean"]),
            span(row["return_ci_low"], row["return_ci_high"]),
        )
        for row in results.confirmed.baselines.to_dict("records")
    ]
    lines = text_table(COLUMNS, rows)
    if len(table) > MOST_ROWS:
        lines.insert(1 + MOST_ROWS, f"… and {len(table) - MOST_ROWS} denser points")
    taken = [f"take it: {take}"] if take else []
    return "\n".join([told, *taken, *notes, "", *lines])
