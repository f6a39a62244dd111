"""Hints for environments that aren't there: another id, or a package that provides them."""

from __future__ import annotations

import re

import gymnasium

from rllib_ext.base.extras import install

# Modules of Gymnasium's own environments that need one of our extras.
_EXTRAS = {"gymnasium.envs.box2d": "box2d", "gymnasium.envs.mujoco": "mujoco"}
# Atari's present ids, and those from before they had a namespace.
_ATARI = re.compile(r"^(ALE/.+|.+(NoFrameskip|Deterministic|-ram).*)$")


def missing_hint(name: str, error: Exception) -> str:
    """Returns a hint to append to an error message; empty if the error itself says all that helps.

    Args:
        name: Name of the environment, as it was given.
        error: Exception that building it raised.
    """
    _, _, env_id = name.rpartition(":")
    lacks_ale = isinstance(error, ImportError) and "ale_py" in str(error)
    if lacks_ale or (_ATARI.match(env_id) and isinstance(error, gymnasium.error.UnregisteredEnv)):
        found = f"ale_py:{env_id}"
        return f" Atari's games are ale-py's: pip install ale-py, and name it env: {found!r}."
    if env_id.startswith("MinAtar/"):
        game = env_id.removeprefix("MinAtar/").partition("-")[0].lower()
        return (
            f" Here MinAtar's games are env: 'rllib_ext.envs.minatar:MinAtar' with env_config: "
            f"{{game: {game}}}, which need {install('minatar')}."
        )
    if isinstance(error, gymnasium.error.NamespaceNotFound):
        return f" Of another package's id say which package registers it: 'its_package:{env_id}'."
    if isinstance(error, gymnasium.error.VersionNotFound):
        return _newest(env_id)
    if isinstance(error, gymnasium.error.DependencyNotInstalled):
        extra = extra_of(env_id)
        return f" It needs an extra: {install(extra)}." if extra else ""
    return ""


def _newest(env_id: str) -> str:
    """Suggests the newest version of the same environment; empty if there is none."""
    namespace, name, _ = gymnasium.envs.registration.parse_env_id(env_id)
    versions = [
        spec.version
        for spec in gymnasium.registry.values()
        if (spec.namespace, spec.name) == (namespace, name) and spec.version is not None
    ]
    if not versions:
        return ""
    return (
        f" Did you mean {gymnasium.envs.registration.get_env_id(namespace, name, max(versions))!r}?"
    )


def extra_of(env_id: str) -> str:
    """Returns the extra that one of Gymnasium's own environments needs; empty for any other."""
    try:
        entry = str(gymnasium.spec(env_id).entry_point)
    except gymnasium.error.Error:
        return ""
    return next((extra for place, extra in _EXTRAS.items() if entry.startswith(place)), "")
