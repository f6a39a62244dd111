"""Lets a pack step Gymnasium's own environments although it has a faster version of them."""

from __future__ import annotations

import gymnasium

# Command-line argument that selects them.
ONE_BY_ONE = "one-by-one"


def without_native(env: str) -> str:
    """Registers an environment under another name, for which no native version is known.

    Args:
        env: A Gymnasium id.

    Returns:
        The id of an environment that does the same, at the same cost.
    """
    made = gymnasium.make(env)
    spec, kind = made.spec, type(made.unwrapped)
    made.close()
    assert spec is not None, "it was made from its specification"
    name = f"OneByOne{spec.name}-v{spec.version or 0}"
    gymnasium.register(
        name,
        # The registry of native versions identifies environments by their class alone.
        entry_point=type(kind.__name__, (kind,), {}),
        max_episode_steps=spec.max_episode_steps,
        kwargs=spec.kwargs,
    )
    return name
