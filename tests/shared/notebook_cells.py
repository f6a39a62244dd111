"""Runs the cells of a notebook as Jupyter does: python notebook_cells.py '["import search", "1 + 1"]'.

Prints, as JSON, what the last expression of each shows: its text by MIME type; nothing where the last
line is no expression or is None.
"""

import ast
import base64
import json
import sys


def shown(source: str, names: dict) -> dict[str, str]:
    """Runs one cell: what it shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if last is None:
        return {}
    value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    return {} if value is None else _kinds(value)


def _kinds(value):
    found = {"text/plain": repr(value)}
    if html := getattr(value, "_repr_html_", None):
        found["text/html"] = html()
    if bundle := getattr(value, "_repr_mimebundle_", None):
        data = bundle(None, None)
        found |= data[0] if isinstance(data, tuple) else data
    return {kind: _text(data) for kind, data in found.items()}


def _text(data):
    """As a notebook's file holds it."""
    return base64.b64encode(data).decode() if isinstance(data, bytes) else str(data)


if __name__ == "__main__":
    sys.path[0] = ""  # a notebook's folder, not this file's
    names: dict = {"__name__": "__main__"}
    json.dump([shown(source, names) for source in json.loads(sys.argv[1])], sys.stdout)
