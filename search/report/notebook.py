"""How results display themselves in a notebook."""

from __future__ import annotations

from markupsafe import escape

from search.report import facts
from search.report.words import verdict
from search.results import Results


def summary_html(results: Results) -> str:
    """Verdict and before/after table."""
    rows = facts.before_after(results)
    head = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<h3>{escape(results.name)}</h3><p>{escape(verdict(results))}</p>{table}"
