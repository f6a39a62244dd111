"""Names of observations and actions from Gymnasium's documentation, for well-known environments."""

from __future__ import annotations

import re

_LANDER = (
    ("x", "y", "speed in x", "speed in y", "angle", "turning speed", "left leg down", "right leg down"),
    ("nothing", "left engine", "main engine", "right engine"),
)  # fmt: skip
_ACROBOT = (
    ("cos angle 1", "sin angle 1", "cos angle 2", "sin angle 2", "turning speed 1", "turning speed 2"),
    ("torque −1", "torque 0", "torque +1"),
)  # fmt: skip
# By id without its version: observations, then outputs.
_KNOWN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "CartPole": (("cart position", "cart speed", "pole angle", "pole turning"), ("left", "right")),
    "Acrobot": _ACROBOT,
    "LunarLander": _LANDER,
    "MountainCar": (("position", "speed"), ("left", "nothing", "right")),
    "MountainCarContinuous": (("position", "speed"), ("force",)),
    "Pendulum": (("cos angle", "sin angle", "turning speed"), ("torque",)),
}
_PLACE = re.compile(r"(.+)\[(\d+)\]$")


def names_of(env: str, units: list[str], kind: str) -> list[str]:
    """Returns the names of units in a drawing, such as "pole angle" for "observation[2]".

    Args:
        env: The environment's id.
        units: All inputs or all outputs, as the wiring calls them.
        kind: "input" or "output".

    Returns:
        A name a unit; the wiring's own where the environment, or another number of units, is unknown.
    """
    known = _KNOWN.get(re.sub(r"-v\d+$", "", env), ((), ()))[kind == "output"]
    if len(known) == len(units):
        return list(known)
    return [_plain(name) for name in units]


def _plain(name: str) -> str:
    found = _PLACE.match(name)
    if found is None:
        return name
    what, place = found.groups()
    return f"action {place}" if what == "logits" else f"{what.replace('_', ' ')} {place}"
