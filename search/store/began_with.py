"""What a run began with, kept in the manifest: a configuration that was edited since is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_ext.pruning.errors import ResultsError
from search.store.folder import CONFIG, MANIFEST, read_manifest

# The manifest's key.
BEGAN_WITH = "config"
# What a search may be given more of.
LIMITS = ("budget.env_steps", "budget.seconds")
# What may differ from what it began with: a larger budget fixes the horizon that it had.
GROWS = (*LIMITS, "budget.horizon")


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted path."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


def differences(
    now: Mapping[str, Any], before: Mapping[str, Any], *, but: tuple[str, ...] = ()
) -> list[str]:
    """Where two configurations differ, a clause a value: "seed = 3, and it was 1".

    Args:
        now: Nested plain values.
        before: The same, of earlier.
        but: Dotted paths that are passed over.
    """
    new, old = flat(now), flat(before)
    paths = [p for p in (*old, *(p for p in new if p not in old)) if p not in but]
    return [
        f"{path} = {_shown(new, path)}, and it was {_shown(old, path)}"
        for path in paths
        if not _same(new.get(path, _shown), old.get(path, _shown))
    ]


def recorded(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The configuration that a manifest keeps; None in one of an earlier version."""
    values = manifest.get(BEGAN_WITH)
    return dict(values) if isinstance(values, Mapping) else None


def refuse_edited(folder: Path, values: Mapping[str, Any]) -> None:
    """Looks whether a results folder's configuration is still what the run began with.

    Args:
        folder: The results folder.
        values: What its `config.yaml` says.

    Raises:
        ResultsError: Something was edited but the budget.
    """
    before = recorded(read_manifest(folder))
    if before is None:
        return
    if told := differences(values, before, but=GROWS):
        raise edited(folder, told)


def edited(folder: Path, told: list[str]) -> ResultsError:
    """What is said of an edited configuration.

    Args:
        folder: The results folder.
        told: What `differences` returned.
    """
    return ResultsError(
        f"{folder / CONFIG} was changed since the run began: {'; '.join(told)}. What is on disk was "
        f"made with the earlier values, which {MANIFEST} keeps; put them back. Only "
        f"{' and '.join(LIMITS)} may grow; for anything else begin a new search."
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; a NaN, as in `env_config`, is what it was."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other) or (one != one and other != other)


def _shown(values: Mapping[str, Any], path: str) -> str:
    return repr(values[path]) if path in values else "not given"
