"""What `prunefront evaluate` prints."""

from __future__ import annotations

from search.front.format import number, share, span
from search.front.generalisation import PolicyScore
from search.front.results import Results


def score_text(name: str, shift: str, score: PolicyScore) -> str:
    """A single policy's figures, a line each.

    Args:
        name: The policy's.
        shift: The shift's.
        score: What was measured.
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
    width = max(len(str(row["policy"])) for row in rows)
    lines = [
        f"{shift}, {rows[0]['episodes']} episodes a policy",
        f"{'':<{width}}{'weights':>9}{'as trained':>12}{'return':>10}  {'95 % interval':<18}"
        f"{'retained':>9}",
    ]
    for row in rows:
        interval = span(row["return_ci_low"], row["return_ci_high"]) or "no variance"
        lines.append(
            f"{row['policy']:<{width}}{number(row['nonzero_params']):>9}"
            f"{number(trained.get(row['policy'])):>12}{number(row['return_mean']):>10}  "
            f"{interval:<18}{share(row['retained']):>9}"
        )
    lines.append("retained: 0 is the random policy, 1 the dense one, both under this shift")
    return "\n".join(lines)
