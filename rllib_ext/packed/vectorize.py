"""Chooses how the environments of a pack are stepped, from what is asked for and what is possible."""

from __future__ import annotations

from typing import Any, Literal, get_args

from gymnasium import VectorizeMode
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.envs.native.registry import NAMES, native_of
from rllib_ext.envs.pool import pool_of
from rllib_ext.packed.environments import Environments, NativeEnvironments, SingleEnvironments
from rllib_ext.packed.pooled import PooledEnvironments
from rllib_ext.pruning.errors import ConfigError

Vectorize = Literal["native", "envpool", "sync", "async"]
# "auto": native where there is such a version, which gives the same episodes as "sync"; else EnvPool's
# where that is installed and has it; else "sync".
Asked = Literal["auto", "native", "envpool", "sync", "async"]

# An attribute of a PPOConfig, since RLlib takes no other modes than Gymnasium's for its own setting.
VECTORIZE = "vectorize"
_OWN: dict[VectorizeMode, Asked] = {
    VectorizeMode.SYNC: "sync",
    VectorizeMode.ASYNC: "async",
    VectorizeMode.VECTOR_ENTRY_POINT: "native",
}


def with_vectorize(ppo: PPOConfig, asked: Asked) -> PPOConfig:
    """A copy of a configuration whose packs step their environments so."""
    ppo = ppo.copy(copy_frozen=False)
    setattr(ppo, VECTORIZE, asked)
    return ppo


def asked_of(ppo: PPOConfig) -> str | VectorizeMode:
    """Returns the mode a configuration asks for: `with_vectorize`'s, or else RLlib's own."""
    asked: Any = getattr(ppo, VECTORIZE, None)
    return asked or ppo.gym_env_vectorize_mode


def vectorize_of(asked: str | VectorizeMode, make: EnvMaker) -> Vectorize:
    """Returns how environments are stepped.

    Args:
        asked: One of `Asked`, or of RLlib's `gym_env_vectorize_mode`: "sync", "async" or
            "vector_entry_point".
        make: Builds one environment.

    Returns:
        The mode; "native" instead of "sync" where there is such a version.

    Raises:
        ConfigError: There is no such mode, or no such version of the environment; the message says why.
    """
    mode = _mode(asked)
    if mode == "async":
        return "async"
    if mode == "envpool":
        if isinstance(why := pool_of(make), str):
            raise ConfigError(f"vectorize = 'envpool': {why}. Set 'auto' or 'sync'.")
        return "envpool"
    if native_of(make) is not None:
        return "native"
    if mode == "native":
        name = asked.value if isinstance(asked, VectorizeMode) else asked
        raise ConfigError(
            f"vectorize = {name!r}: there are native versions of Gymnasium's own {NAMES} only. Set "
            "'auto', 'sync' or 'async'."
        )
    if mode == "auto" and not isinstance(pool_of(make), str):
        return "envpool"
    return "sync"


def build_environments(
    make: EnvMaker, members: int, per_member: int, mode: Vectorize
) -> Environments:
    """Builds environments.

    Args:
        make: Builds one environment.
        members: Number of members.
        per_member: Environments of each, ≥ 1.
        mode: Mode as returned by `vectorize_of` for `make`.
    """
    if mode == "envpool":
        pool = pool_of(make)
        # Another process has another installation.
        if isinstance(pool, str):
            raise ConfigError(f"vectorize = 'envpool': {pool}")
        return PooledEnvironments(pool, members, per_member)
    # Where constants are drawn, what the mode says may have been chance.
    native = native_of(make) if mode == "native" else None
    if native is None:
        return SingleEnvironments(make, members, per_member, parallel=mode == "async")
    return NativeEnvironments(native, members, per_member)


def _mode(asked: str | VectorizeMode) -> Asked:
    if asked in get_args(Asked):
        found: Asked = asked  # type: ignore[assignment]
        return found
    try:
        return _OWN[VectorizeMode(asked)]
    except ValueError as error:
        known = ", ".join((*get_args(Asked), VectorizeMode.VECTOR_ENTRY_POINT.value))
        raise ConfigError(f"vectorize = {asked!r}; expected one of {known}.") from error
