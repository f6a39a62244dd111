r"""Formulas: LaTeX in \( … \) and $$ … $$ becomes MathML, which browsers draw without a script."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

# Code first, which is left alone.
_PARTS = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|^\$\$(?P<block>.+?)\$\$$|\\\((?P<inline>.+?)\\\)",
    re.MULTILINE | re.DOTALL,
)


def with_formulas(text: str) -> str:
    """Markdown with its formulas as MathML.

    Args:
        text: Markdown; formulas in fences and between backticks stay as they are.
    """
    return _PARTS.sub(_drawn, text)


def _drawn(part: re.Match[str]) -> str:
    if part["block"] is not None:
        drawn = convert(part["block"].strip(), display="block")
        return f'<div class="formula">{drawn}</div>'
    if part["inline"] is not None:
        return convert(part["inline"])
    return part[0]
