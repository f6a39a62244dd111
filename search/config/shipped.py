"""The configurations that come along: `configs/` of a checkout, `search/configs/` of a wheel."""

from __future__ import annotations

from pathlib import Path

_PLACES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def shipped() -> dict[str, Path]:
    """Files of the configurations that come along, by name, in the order of the names."""
    place = next((place for place in _PLACES if place.is_dir()), None)
    return {path.stem: path for path in sorted(place.glob("*.yaml"))} if place else {}


def shipped_as(given: Path) -> Path | None:
    """The configuration that a bare name such as "cartpole" means; None for any other path."""
    return shipped().get(str(given))
