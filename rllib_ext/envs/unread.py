"""Detects misspelt keys of `env_config` in environments that take a mapping.

Environments that take keywords are checked by the keywords' names. One that takes a mapping may read any
key at any time: a key that hasn't been read yet proves nothing, but if a key is missing while another,
nearly the same, is unread, that is a typing error.
"""

from __future__ import annotations

import difflib
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext
from typing_extensions import override

from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.pruning.errors import ConfigError

# Similarity of two names from which on one counts as a misspelling of the other.
_CLOSE = 0.8


def build_once(config: AlgorithmConfig) -> None:
    """Builds one environment and closes it.

    Args:
        config: Configuration as for `env_maker`.

    Raises:
        ConfigError: `env_maker` refuses the configuration; or the environment takes a mapping and asks
            for a missing key that resembles one of `env_config` for which it doesn't ask.
    """
    watched: list[_Watched] = []

    def watch(given: dict[str, Any]) -> EnvContext:
        watched.append(_Watched(given, worker_index=0))
        return watched[-1]

    env_maker(config, context=watch)().close()
    for mapping in watched:
        for key in mapping.unread:
            near = difflib.get_close_matches(str(key), mapping.missed, n=1, cutoff=_CLOSE)
            meant = [name for name in near if not _of_more_words(name, str(key))]
            if meant:
                raise ConfigError(
                    f"env_config: the environment {env_name(config)} asks for {meant[0]!r}, which isn't "
                    f"there, and not for {key!r}. Did you mean {meant[0]!r}?"
                )


def _of_more_words(one: str, other: str) -> bool:
    """Whether one name is the other with words before or after it, such as "full_action_space"."""
    longer, shorter = sorted((one.split("_"), other.split("_")), key=len, reverse=True)
    more = len(longer) - len(shorter)
    return more > 0 and shorter in (longer[more:], longer[:-more])


class _Watched(EnvContext):
    """A mapping that records which keys are asked for; reading all of it counts for each key."""

    def __init__(self, given: dict[str, Any], worker_index: int) -> None:
        super().__init__(given, worker_index)
        self._given = list(given)
        self._asked: set[Any] = set()
        self._all = False

    @property
    def unread(self) -> list[Any]:
        """Keys that were not asked for."""
        return [] if self._all else [key for key in self._given if key not in self._asked]

    @property
    def missed(self) -> list[str]:
        """Names that were asked for and are missing, sorted."""
        return sorted(str(key) for key in self._asked.difference(self._given))

    @override
    def __getitem__(self, key: Any) -> Any:
        self._asked.add(key)
        return super().__getitem__(key)

    @override
    def __contains__(self, key: Any) -> bool:
        self._asked.add(key)
        return bool(super().__contains__(key))

    @override
    def get(self, key: Any, default: Any = None) -> Any:
        self._asked.add(key)
        return super().get(key, default)

    @override
    def pop(self, key: Any, *default: Any) -> Any:
        self._asked.add(key)
        return super().pop(key, *default)

    @override
    def setdefault(self, key: Any, default: Any = None) -> Any:
        self._asked.add(key)
        return super().setdefault(key, default)

    @override
    def __iter__(self) -> Any:
        self._all = True
        return super().__iter__()

    @override
    def keys(self) -> Any:
        self._all = True
        return super().keys()

    @override
    def values(self) -> Any:
        self._all = True
        return super().values()

    @override
    def items(self) -> Any:
        self._all = True
        return super().items()

    @override
    def copy(self) -> Any:
        self._all = True
        return super().copy()
