"""The text that `prunefront evaluate` prints."""

from __future__ import annotations

from search.front.format import number, share, span
from search.front.generalisation import PolicyScore
from search.front.results import Results
from search.front.text_table import text_table

COLUMNS = ("<", ">weights", ">as trained", ">return", "<95 % interval", ">retained")


def score_text(name: str, shift: str, score: PolicyScore) -> str:
    """Returns a single policy's figures, one per line.

    Args:
        name: The policy's.
        shift: The shift's.
        score: Measured figures.
    """
    row = score.figures
    interval = span(row["return_ci_low"], row["return_ci_high"]) or row["return_note"]
    kept = span(row["retained_ci_low"], row["retained_ci_high"], share)
    lines = [
        f"{name}, shift: {shift}",
        f"  return    {number(row['return_mean'])} over {row['episodes']} episodes",
        f"  95 %      {interval}",
        f"  retained  {share(row['retained'])}" + (f" ({kept})" if kept else ""),
        f"            {score.against}",
    ]
    return "\n".join(lines)


def generalisation_text(results: Results, shift: str) -> str:
    """The front under one shift beside its figures as trained.

    Args:
        results: The search.
        shift: The shift's name.
    """
    trained = {
        **results.baselines.set_index("name")["return_mean"].to_dict(),
        **results.confirmed.table.set_index("snapshot_id")["return_mean"].to_dict(),
    }
    table = results.shifts
    rows = table[table["shift"] == shift].to_dict("records")
    if not rows:
        return f"{shift}: no policy returned what is a number in all of its episodes"
    cells = [
        (
            row["policy"],
            number(row["nonzero_params"]),
            number(trained.get(row["policy"])),
            number(row["return_mean"]),
            span(row["return_ci_low"], row["return_ci_high"]) or "no variance",
            share(row["retained"]),
        )
        for row in rows
    ]
    return "\n".join(
        [
            f"{shift}, {rows[0]['episodes']} episodes a policy",
            *text_table(COLUMNS, cells),
            "retained: 0 is the random policy, 1 the dense one, both under this shift",
        ]
    )
