"""The shipped configurations: `configs/` of a checkout, `search/configs/` of a wheel."""

from __future__ import annotations

from pathlib import Path

_PLACES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def shipped() -> dict[str, Path]:
    """Returns the files of the shipped configurations by name, sorted by name."""
    place = next((place for place in _PLACES if place.is_dir()), None)
    return {path.stem: path for path in sorted(place.glob("*.yaml"))} if place else {}


def shipped_as(given: Path) -> Path | None:
    """Returns the shipped configuration named by a bare name such as "cartpole", or None."""
    return shipped().get(str(given))
