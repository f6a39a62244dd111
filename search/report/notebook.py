"""How results display themselves in a notebook."""

from __future__ import annotations

from markupsafe import escape

from search.report import facts
from search.report.words import verdict
from search.results import Results


def summary_html(results: Results) -> str:
    """Verdict and before/after table."""
    line, rows = verdict(results), facts.before_after(results)
    head = "".join(f"<th>{escape(name)}</th>" for name in facts.BEFORE_AFTER)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(row[name])}</td>" for name in facts.BEFORE_AFTER) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<h3>{escape(results.name)}</h3><p>{escape(line)}</p>{table}"
