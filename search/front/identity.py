"""What tells searches apart: their folders, and the environments that they are of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.front.recorded import plain_values
from search.front.results import Results


def folder_labels(folders: Sequence[Path]) -> list[str]:
    """The shortest trailing path of each folder that no other one ends with.

    Args:
        folders: Each once; "." and ".." are resolved.
    """
    parts = [folder.resolve().parts for folder in folders]
    return [str(Path(*own[-_length(own, parts) :])) for own in parts]


def _length(own: tuple[str, ...], among: Sequence[tuple[str, ...]]) -> int:
    lengths = range(1, len(own))
    alone = (n for n in lengths if sum(other[-n:] == own[-n:] for other in among) == 1)
    return next(alone, len(own))


def config_of(results: Results) -> dict[str, Any]:
    """The configuration; empty where it is missing or can't be read."""
    return plain_values(results.config)


def environments(searches: Sequence[Results]) -> list[str]:
    """The environments that searches are of, each once and in order, such as `Pong {"mode": 1}`.

    Args:
        searches: One whose configuration is missing is of any settings of its environment.
    """
    found: dict[str, set[str]] = {}
    for results in searches:
        known = found.setdefault(str(results.manifest.get("env", "not recorded")), set())
        values = config_of(results)
        if values:
            given = values.get("env_config") or {}
            known.add(json.dumps(given, sort_keys=True, ensure_ascii=False, default=str))
    return sorted(
        env if given == "{}" else f"{env} {given}"
        for env, configs in found.items()
        for given in configs or {"{}"}
    )
