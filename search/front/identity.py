"""Identifies searches by short folder labels and by their environments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.front.recorded import plain_values
from search.front.results import Results


def folder_labels(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest trailing path of each folder that no other folder ends with.

    Args:
        folders: Distinct folders; "." and ".." are resolved.
    """
    parts = [folder.resolve().parts for folder in folders]
    return [str(Path(*own[-_length(own, parts) :])) for own in parts]


def _length(own: tuple[str, ...], among: Sequence[tuple[str, ...]]) -> int:
    lengths = range(1, len(own))
    alone = (n for n in lengths if sum(other[-n:] == own[-n:] for other in among) == 1)
    return next(alone, len(own))


def config_of(results: Results) -> dict[str, Any]:
    """Returns the configuration of a search; empty if it is missing or can't be read."""
    return plain_values(results.config)


def environments(searches: Sequence[Results]) -> list[str]:
    """Returns the distinct environments of searches, sorted, such as `Pong {"mode": 1}`.

    Args:
        searches: Searches; one without a configuration matches any settings of its environment.
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
