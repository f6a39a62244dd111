"""The filmed episode of a policy, as a page holds it."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from search.front.format import number
from search.front.results import Results
from search.store.folder import FILM, FILM_NOTE, MOVING, STILL

# More than any film of ours has; such a file is something else.
LARGEST = 600_000


@dataclasses.dataclass(frozen=True)
class Episode:
    """The pictures of an episode, or the reason why there are none.

    Attributes:
        moving: The animation as a data URI; "" without one.
        still: One picture of it as a data URI.
        width: In pixels.
        height: In pixels.
        text: Caption, or the reason for no pictures; empty if nothing is known.
    """

    moving: str = ""
    still: str = ""
    width: int = 0
    height: int = 0
    text: str = ""


def episode_of(results: Results, row: Mapping[Any, Any]) -> Episode:
    """The film of a front point, if there is one.

    Args:
        results: The search.
        row: The point's, of the front.
    """
    folder, metadata = str(row["policy"]), results.metadata(str(row["policy"]))
    if note := metadata.get(FILM_NOTE):
        return Episode(text=f"No film of an episode: {note}.")
    told = metadata.get(FILM)
    paths = [results.folder / folder / name for name in (MOVING, STILL)]
    if not isinstance(told, dict) or not all(p.is_file() for p in paths):
        return Episode()
    names = ("seed", "returned", "steps", "speed", "width", "height")
    try:
        numbers = {name: float(told[name]) for name in names}
    except (KeyError, TypeError, ValueError):
        return Episode()
    files = [path.read_bytes() for path in paths]
    if any(len(file) > LARGEST or file[8:12] != b"WEBP" for file in files):
        return Episode()
    moving, still = (f"data:image/webp;base64,{base64.b64encode(f).decode()}" for f in files)
    return Episode(
        moving, still, int(numbers["width"]), int(numbers["height"]),
        f"A typical episode, the report episode with the median return, played again: seed "
        f"{numbers['seed']:.0f}, return {number(numbers['returned'])} after {number(numbers['steps'])} "
        f"steps, shown {_pace(numbers['speed'])}.",
    )  # fmt: skip


def _pace(speed: float) -> str:
    if 0.8 <= speed <= 1.25:
        return "at its own pace"
    return f"{speed:.1f} times as fast" if speed > 1 else f"at {speed:.1f} of its pace"
