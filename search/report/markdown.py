"""report.md: the report for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from search.front.results import Results
from search.report import facts, record
from search.report.exported import export_notes
from search.report.generalisation import NOTE, generalisation_rows
from search.report.health import health
from search.report.provisional import CAPTION, is_provisional
from search.report.take_it import take_the_pick
from search.report.verdict import RECIPE_CHECK, RIVALS, verdict


def markdown(results: Results) -> str:
    """The report in GitHub's Markdown; it shows `front.png` beside it."""
    front = results.confirmed
    shifted = generalisation_rows(results)
    parts = [
        f"# {plain(results.name)}: reward–sparsity front",
        f"**{plain(verdict(results))}**",
        *(("Take it:", _block(take, "sh")) if (take := take_the_pick(results)) else ()),
        *(f"> **Note:** {plain(note)}." for note in front.notes),
        *(f"> **Note:** {plain(sentence)}" for sentence in health(results)),
        *_picture(results),
        "## Before and after",
        table(facts.before_after(results)),
        f"Returns are from {front.figures} episodes; selection episodes chose the points. Optimism is "
        "search score − return. Retained is (R − R_random) ÷ (R_dense − R_random). P(non-dominated) "
        "is the share of bootstrap resamples, paired by seed, in which the point stays on the front.",
        *(f"{plain(note)}." for note in export_notes(results)),
        facts.reference(results),
        "## Baselines",
        table(facts.baselines(results)) or "None were run.",
        RIVALS if len(front.rivals) else "",
        *(plain(why) for why in facts.left_out(results)),
        *(("## Generalisation", table(shifted), NOTE) if shifted else ()),
        "## Hyperparameter importance, exploratory",
        table(facts.importances(results)) or "Not enough segments in which hyperparameters varied.",
        "What went with a segment's gain, given its start and progress; not a cause. Importance is the "
        f"rise in squared error over left-out members once shuffled. {facts.explained(results)}",
        "## Recipes",
        table(facts.recipes(results)),
        *_recipe_check(results),
        "## Failures",
        table(record.failures(results)) or "None.",
        "## How it was made",
        table([{"what": k, "value": v} for k, v in record.provenance(results)]),
        "Command:",
        _block(record.command(results) or "not recorded", "sh"),
        "<details><summary>Configuration</summary>",
        _block(results.config or "not recorded", "yaml"),
        "</details>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _picture(results: Results) -> list[str]:
    if is_provisional(results):
        return [
            "![Mean return against non-zero weights: the front of the search's own scores, not "
            "re-evaluated, with baselines as rules](front.png)",
            CAPTION,
        ]
    return [
        "![Mean return against non-zero weights: the front with 95 % intervals, the dense, random and "
        "constant baselines as rules](front.png)"
    ]


def _recipe_check(results: Results) -> list[str]:
    rows = facts.recipe_checks(results)
    return ["## Recipe check", table(rows), RECIPE_CHECK] if rows else []


def table(rows: Sequence[facts.Row]) -> str:
    """Rows as a Markdown table; "" without rows."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([row[name] for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """One line without markup: what a run recorded must not become HTML or a link."""
    line = " ".join(str(text).split())
    for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("[", "\\["), ("`", "\\`")):
        line = line.replace(sign, safe)
    return line


def _block(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
