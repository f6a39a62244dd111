"""The configuration a run began with, kept in the manifest to detect later edits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.store.folder import CONFIG, MANIFEST, read_manifest

# Key of the configuration in the manifest.
BEGAN_WITH = "config"
# Limits that may be raised for a search that has begun.
LIMITS = ("budget.env_steps", "budget.seconds")
# Values that may differ from the original ones: a larger budget also sets the horizon explicitly.
GROWS = (*LIMITS, "budget.horizon")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values as a flat dict by dotted path."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


def differences(
    now: Mapping[str, Any], before: Mapping[str, Any], *, but: tuple[str, ...] = ()
) -> list[str]:
    """Returns the differences between two configurations, such as "seed = 3, and it was 1".

    Args:
        now: Current configuration as nested plain values.
        before: Earlier configuration as nested plain values.
        but: Dotted paths to ignore.
    """
    new, old = flat(now), flat(before)
    paths = [p for p in (*old, *(p for p in new if p not in old)) if p not in but]
    return [
        f"{path} = {_shown(new, path)}, and it was {_shown(old, path)}"
        for path in paths
        if not _same(new.get(path, _shown), old.get(path, _shown))
    ]


def recorded(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the configuration kept in a manifest; None if an earlier version wrote it."""
    values = manifest.get(BEGAN_WITH)
    return dict(values) if isinstance(values, Mapping) else None


def refuse_edited(folder: Path, values: Mapping[str, Any]) -> None:
    """Checks that a results folder's configuration is still the one that the run began with.

    Args:
        folder: The results folder.
        values: Values of its `config.yaml`.

    Raises:
        ResultsError: A value other than those of the budget was edited.
    """
    before = recorded(read_manifest(folder))
    if before is None:
        return
    if told := differences(values, before, but=GROWS):
        raise edited(folder, told)


def edited(folder: Path, told: list[str]) -> ResultsError:
    """Returns the error for an edited configuration.

    Args:
        folder: The results folder.
        told: Differences, as returned by `differences`.
    """
    return ResultsError(
        f"{folder / CONFIG} was changed since the run began: {'; '.join(told)}. What is on disk was "
        f"made with the earlier values, which {MANIFEST} keeps; put them back. Only "
        f"{' and '.join(LIMITS)} may grow; for anything else begin a new search."
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; NaN, as may occur in `env_config`, equals NaN."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other) or (one != one and other != other)


def _shown(values: Mapping[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else "not given"
