"""A small policy as a drawing: observations, hidden units, outputs, and the weights between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from rllib_ext.export.errors import ExportError
from rllib_ext.export.storage import read_program
from rllib_ext.export.wiring import MOST_EDGES, Wiring, wiring_of
from search.front.results import EXPORT, FORMS, Results
from search.report.names import names_of

WIDTH, LEFT, RIGHT, MARGIN = 420, 132, 104, 14
# Of as many inputs all are drawn, unread ones too.
FEW = 24
Spot = tuple[float, float]
THIN, THICK = 1.0, 6.0


@dataclasses.dataclass(frozen=True)
class Network:
    """A drawing and what is said below it.

    Attributes:
        svg: Markup; "" where nothing could be drawn.
        text: A caption, or why there is no drawing.
    """

    svg: Markup
    text: str


def network_of(results: Results, row: Mapping[Any, Any]) -> Network:
    """Draws a front point's network, where it is small enough to be seen.

    Args:
        results: The search; its folder holds what was noted of the policy, or an export of it.
        row: The point's, of the front.
    """
    weights = int(row["nonzero_params"])
    if weights > MOST_EDGES:
        return Network(
            Markup(), f"Networks of up to {MOST_EDGES} weights are drawn; this one has {weights:,}."
        )
    wiring = _noted(results.metadata(str(row["policy"])))
    wiring = wiring or _exported(results.folder / EXPORT / str(row["snapshot_id"]))
    if wiring is None:
        return Network(
            Markup(),
            "Not drawn: the folder has no list of this policy's connections. A search notes them where "
            "layers are linear; prunefront export of the point lets this page draw them too.",
        )
    network = drawn(wiring, str(results.manifest.get("env", "")))
    idle = weights - len(wiring.edges)
    if idle <= 0:
        return network
    return dataclasses.replace(
        network, text=f"{network.text} Its {idle:,} other weights lie on no way to an output."
    )


def drawn(wiring: Wiring, env: str) -> Network:
    """Draws units by layer and connections by sign and size.

    Args:
        wiring: The policy's.
        env: The environment's id, for names.
    """
    names = _names(wiring, env)
    columns = _columns(wiring)
    spots, height = _spots(columns)
    largest = max(abs(weight) for _, _, weight in wiring.edges)
    # Strong ones last, on top.
    order = sorted(wiring.edges, key=lambda edge: abs(edge[2]))
    lines = [_line(edge, spots, names, largest) for edge in order]
    read = {a for a, _, _ in wiring.edges}
    dots = [_dot(unit, wiring, spots[unit], names[unit], unit in read) for unit in spots]
    text = _caption(wiring)
    svg = Markup(
        '<svg class="network" viewBox="0 0 {w} {h}" role="img" aria-label="{text}">{body}</svg>'
    ).format(w=WIDTH, h=height, text=text, body=Markup("").join([*lines, *dots]))
    return Network(
        svg,
        f"{text} Solid blue adds, dashed orange subtracts, wider is stronger; grey "
        "inputs are not read.",
    )


def _noted(metadata: Mapping[str, Any]) -> Wiring | None:
    found = metadata.get("wiring")
    if not isinstance(found, dict):
        return None
    try:
        wiring = Wiring.from_json(found)
    except ValueError:
        return None
    return wiring if wiring.edges else None


def _exported(folder: Path) -> Wiring | None:
    for form in FORMS:
        place = folder / form / "policy.npz"
        if place.is_file():
            try:
                return wiring_of(read_program(place))
            except ExportError:
                continue
    return None


def _names(wiring: Wiring, env: str) -> list[str]:
    names = [unit.name for unit in wiring.units]
    for kind in ("input", "output"):
        places = [i for i, unit in enumerate(wiring.units) if unit.kind == kind]
        told = names_of(env, [names[i] for i in places], kind)
        for place, name in zip(places, told, strict=True):
            names[place] = name
    return names


def _columns(wiring: Wiring) -> list[list[int]]:
    """Units by layer, from left to right, each layer ordered so that few connections cross."""
    last = max(unit.layer for unit in wiring.units)
    inputs = [i for i, unit in enumerate(wiring.units) if unit.kind == "input"]
    if len(inputs) > FEW:
        read = {a for a, _, _ in wiring.edges}
        inputs = [i for i in inputs if i in read]
    columns = [inputs]
    for layer in range(1, last):
        inner = [
            i for i, u in enumerate(wiring.units) if u.kind == "hidden" and u.layer == layer
        ]  # fmt: skip
        columns.append(inner)
    columns.append([i for i, unit in enumerate(wiring.units) if unit.kind == "output"])
    place = {unit: row / max(1, len(inputs) - 1) for row, unit in enumerate(inputs)}
    for column in columns[1:-1]:
        heard = {i: [place[a] for a, b, _ in wiring.edges if b == i and a in place] for i in column}
        middle = {i: sum(rows) / len(rows) if rows else 0.5 for i, rows in heard.items()}
        column.sort(key=lambda i, middle=middle: middle[i])  # type: ignore[misc]
        place |= {unit: (row + 0.5) / len(column) for row, unit in enumerate(column)}
    return [column for column in columns if column]


def _spots(columns: Sequence[Sequence[int]]) -> tuple[dict[int, Spot], int]:
    """Returns the position of each unit, and the drawing's height."""
    most = max(map(len, columns))
    step = 26 if most <= 16 else 18 if most <= 30 else 11
    height = 2 * MARGIN + max(120, step * most)
    inner = WIDTH - LEFT - RIGHT
    spots = {}
    for number, column in enumerate(columns):
        x = LEFT + inner * number / max(1, len(columns) - 1)
        for row, unit in enumerate(column):
            spots[unit] = (x, MARGIN + (height - 2 * MARGIN) * (row + 0.5) / len(column))
    return spots, height


def _line(
    edge: tuple[int, int, float],
    spots: Mapping[int, Spot],
    names: Sequence[str],
    largest: float,
) -> Markup:
    start, stop, weight = edge
    (x1, y1), (x2, y2) = spots[start], spots[stop]
    bend = (x2 - x1) / 2.2
    width = THIN + (THICK - THIN) * abs(weight) / largest
    sign = "minus" if weight < 0 else "plus"
    told = f"{names[start]} → {names[stop]}: {weight:+.3g}".replace("-", "−")
    return Markup(
        '<path class="{sign}" stroke-width="{width}" d="M{a} {b}C{c} {b} {d} {e} {f} {e}">'
        "<title>{told}</title></path>"
    ).format(
        sign=sign, width=f"{width:.1f}", told=told, a=f"{x1:.0f}", b=f"{y1:.0f}", c=f"{x1 + bend:.0f}",
        d=f"{x2 - bend:.0f}", e=f"{y2:.0f}", f=f"{x2:.0f}",
    )  # fmt: skip


def _dot(unit: int, wiring: Wiring, spot: Spot, name: str, read: bool) -> Markup:
    kind = wiring.units[unit].kind
    x, y = spot
    idle = kind == "input" and not read
    dot = Markup('<circle class="{kind}" cx="{x}" cy="{y}" r="4.5"/>').format(
        kind="idle" if idle else kind, x=f"{x:.0f}", y=f"{y:.0f}"
    )
    if kind == "hidden":
        return dot
    side = "end" if kind == "input" else "start"
    offset = -10 if kind == "input" else 10
    # What is unread is paler, and said to be.
    told = Markup("<title>{}: not read</title>").format(name) if idle else escape("")
    return dot + Markup(
        '<text x="{x}" y="{y}" text-anchor="{side}"{idle}>{told}{name}</text>'
    ).format(
        x=f"{x + offset:.0f}", y=f"{y + 4:.0f}", side=side, told=told, name=_short(name),
        idle=Markup(' class="idle"') if idle else "",
    )  # fmt: skip


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"


def _caption(wiring: Wiring) -> str:
    counts = {k: sum(u.kind == k for u in wiring.units) for k in ("input", "hidden", "output")}
    read = len({a for a, _, _ in wiring.edges if wiring.units[a].kind == "input"})
    hidden = f"{counts['hidden']} hidden unit{'s' if counts['hidden'] != 1 else ''}"
    return (
        f"{len(wiring.edges)} connections: {read} of {counts['input']} inputs are read, over {hidden}, "
        f"into {counts['output']} output{'s' if counts['output'] != 1 else ''}. Biases are not drawn."
    )
