"""Provides the live view, a pure function from a run's state to lines that rich draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from search.front.format import number, percent
from search.population.progress import Point, Progress
from search.runs.display.lines import FIRST, duration
from search.runs.display.state import Seen

# Longer lines are hard to read, even on a wider terminal.
WIDEST = 100
# Maximum number of rows of the front, and minimum height of the terminal for showing the front.
MOST_ROWS = 7
_TALL = 10
_BAR, _REST = "━", "─"
_BLOCKS = "▏▎▍▌▋▊▉█"
_SPARKS = "▁▂▃▄▅▆▇█"
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_LABEL = 13
_MARK, SCORES = " sparsest good", "search scores"
_DIM, _STRONG, _GOOD, _BAD = "dim", "bold", "green", "red"


def view(seen: Seen, width: int, height: int) -> Group:
    """Returns the lines that a terminal shows while a run is going on.

    Args:
        seen: State of the run.
        width: Maximum length of a line, in columns.
        height: Maximum number of lines; if there are few, the front is left out first.

    Returns:
        Lines for rich.
    """
    columns = min(width, WIDEST)
    lines = [_head(seen, columns)]
    if seen.share is not None:
        lines.append(_bar(seen, columns))
    known = seen.progress or seen.found
    if known is not None and not known.heard_of:
        lines.append(Text(FIRST.strip(), _DIM))
    elif known is not None:
        lines += _facts(seen, known) if seen.progress else _so_far(seen, known)
        room = height - len(lines) - 2
        if known.front and height >= _TALL and room > 0:
            lines += _front(known, columns, min(MOST_ROWS, room))
    for line in lines:
        line.no_wrap = True
        line.truncate(columns, overflow="ellipsis")
    return Group(*lines[: max(1, height)])


def _head(seen: Seen, columns: int) -> Text:
    turning = _SPINNER[int(4 * seen.in_phase) % len(_SPINNER)]
    clock = _clock(seen.elapsed)
    title = Text(f"{turning} {seen.title}", _STRONG)
    title.truncate(max(1, columns - len(clock) - 1), overflow="ellipsis", pad=True)
    return Text.assemble(title, " ", (clock, _DIM))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def _bar(seen: Seen, columns: int) -> Text:
    share = min(1.0, max(0.0, seen.share or 0.0))
    left = seen.left
    told = f" {share:4.0%}"
    if seen.done is not None:
        told += f" · {seen.done[0]}/{seen.done[1]} {seen.parts}"
    if math.isfinite(left) and share < 1.0:
        told += f" · {duration(left)} left"
    room = max(4, columns - len(told))
    filled = round(share * room)
    return Text.assemble((_BAR * filled, _GOOD), (_REST * (room - filled), _DIM), told)


def _facts(seen: Seen, progress: Progress) -> list[Text]:
    steps = f"{progress.env_steps:,}"
    if progress.budget is not None:
        steps += f" of {progress.budget:,}"
    if math.isfinite(seen.speed):
        steps += f" · {number(round(seen.speed))} a second"
    lines = [_fact("env steps", steps), _fact("members", _members(progress))]
    if progress.failures:
        lines.append(_fact("failed", Text(f"{progress.failures} segments", _BAD)))
    return [*lines, *_so_far(seen, progress)]


def _so_far(seen: Seen, progress: Progress) -> list[Text]:
    best = (
        f"best return {number(progress.best_return)} · sparsest good "
        f"{percent(progress.sparsest_good)}"
    )
    lines = [_fact("so far", best)]
    if math.isfinite(progress.hypervolume):
        volume = Text.assemble(f"{progress.hypervolume:.3f} ", (sparkline(seen.curve, 24), _GOOD))
        lines.insert(0, _fact("hypervolume", volume))
    return lines


def _fact(label: str, text: str | Text) -> Text:
    return Text.assemble((label.ljust(_LABEL), _DIM), text)


def _members(progress: Progress) -> str:
    training = f"{progress.running - progress.dense} training"
    told = [f"dense baseline + {training}" if progress.dense else training]
    for count, state in (
        (progress.waiting, "waiting"),
        (progress.unborn, "not begun"),
        (progress.given_up, "given up"),
    ):
        if count:
            told.append(f"{count} {state}")
    return " · ".join(told)


def _front(progress: Progress, columns: int, rows: int) -> list[Text]:
    """Returns the front so far as a small table, with a bar for the share that each point keeps."""
    head = f"{'weights':>9}  {'sparsity':>9}  {'return':>9}  {'keeps':>6}  "
    notes = (f"{SCORES}, which are optimistic", SCORES, "")
    room = columns - len(head)
    lines = [Text(head + next((note for note in notes if len(note) <= room), ""), _DIM)]
    known = any(math.isfinite(point.retained) for point in progress.front)
    bar = max(0, min(24, room - len(_MARK))) if known else 0
    best = max(p.return_mean for p in progress.front)
    for point in spread(progress.front, rows):
        kept = point.retained
        keeps = f"{100 * kept:.0f} %" if math.isfinite(kept) else "–"
        row = f"{point.weights:>9,}  {percent(point.sparsity):>9}  {number(point.return_mean):>9}"
        line = Text(f"{row}  {keeps:>6}  ")
        line.append(blocks(kept, bar).ljust(bar), _GOOD)
        if point.sparsity == progress.sparsest_good:
            line.append(_MARK, _STRONG)
        elif point.return_mean == best:
            line.append(" best")
        line.rstrip()
        lines.append(line)
    return lines


def spread(front: Sequence[Point], count: int) -> list[Point]:
    """Selects points of a front, evenly over the logarithm of their weights, including both ends.

    Args:
        front: Points of the front, the densest first.
        count: Maximum number of points, ≥ 1; if it is 1, the sparsest point is selected.

    Returns:
        The selected points, the densest first.
    """
    if len(front) <= count:
        return list(front)
    decades = [math.log(max(1, p.weights)) for p in front]
    if count == 1 or decades[0] == decades[-1]:
        return [front[-1]]
    taken = set()
    for i in range(count):
        wanted = decades[0] + (decades[-1] - decades[0]) * i / (count - 1)
        taken.add(min(range(len(front)), key=lambda j: (abs(decades[j] - wanted), j)))
    return [front[j] for j in sorted(taken)]


def blocks(share: float, cells: int) -> str:
    """Draws a bar in steps of an eighth of a cell; empty if there is nothing to show.

    Args:
        share: Length of the bar as a share of all cells, clipped to [0, 1]; nothing is drawn for NaN.
        cells: Columns of a full bar.
    """
    if not math.isfinite(share):
        return ""
    eighths = round(8 * cells * min(1.0, max(0.0, share)))
    return "█" * (eighths // 8) + (_BLOCKS[eighths % 8 - 1] if eighths % 8 else "")


def sparkline(values: Sequence[float], cells: int) -> str:
    """Draws a curve in one line, scaled from 0 to its highest value.

    Args:
        values: Values at equal distances; if there are too many, the last one of each part is shown.
        cells: Maximum number of columns.
    """
    if not values or max(values) <= 0.0:
        return ""
    count = min(cells, len(values))
    shown = [values[math.ceil((i + 1) * len(values) / count) - 1] for i in range(count)]
    top = max(values)
    return "".join(_SPARKS[min(7, max(0, round(7 * v / top)))] for v in shown)
