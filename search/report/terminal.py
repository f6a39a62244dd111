"""The report in a few lines, for a terminal or a log."""

from __future__ import annotations

from search.front.format import marks, number, percent, share, span
from search.front.results import Results
from search.report import facts
from search.report.verdict import verdict

# More rows than that say less, not more.
MOST_ROWS = 12


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


def summary(results: Results) -> str:
    """The verdict and the front as a plain table.

    Args:
        results: A search with re-evaluated policies.

    Returns:
        Lines of at most 100 characters but for the verdict.
    """
    table = results.confirmed.table
    told = verdict(results)
    notes = [f"note: {note}" for note in results.confirmed.notes if note not in told]
    lines = [told, *notes, ""]
    if len(table):
        lines.append(
            f"{'sparsity':>10}{'weights':>9}{'return':>9}  {'95 % interval':<18}{'retained':>9}"
        )
    for row in table.tail(MOST_ROWS).to_dict("records"):
        interval = span(row["return_ci_low"], row["return_ci_high"])
        lines.append(
            f"{percent(row['sparsity']):>10}{row['nonzero_params']:>9,}"
            f"{number(row['return_mean']):>9}  {interval or 'no variance':<18}"
            f"{share(row['retained']):>9}  {marks(row)}".rstrip()
        )
    if len(table) > MOST_ROWS:
        lines.append(f"… and {len(table) - MOST_ROWS} denser points")
    for row in results.confirmed.baselines.to_dict("records"):
        interval = span(row["return_ci_low"], row["return_ci_high"])
        lines.append(f"{row['name']:>19}{number(row['return_mean']):>9}  {interval}".rstrip())
    return "\n".join(lines)
