"""Gymnasium's own environments for a pack that has a faster version of them."""

from __future__ import annotations

import gymnasium

# The argument that asks for them.
ONE_BY_ONE = "one-by-one"


def without_native(env: str) -> str:
    """Registers an environment under another name, by which no native version of it is known.

    Args:
        env: A Gymnasium id.

    Returns:
        The id of one that does the same, at the same cost.
    """
    made = gymnasium.make(env)
    spec, kind = made.spec, type(made.unwrapped)
    made.close()
    assert spec is not None, "it was made from its specification"
    name = f"OneByOne{spec.name}-v{spec.version or 0}"
    gymnasium.register(
        name,
        # A class of its own is all that the registry of native versions goes by.
        entry_point=type(kind.__name__, (kind,), {}),
        max_episode_steps=spec.max_episode_steps,
        kwargs=spec.kwargs,
    )
    return name
