"""Builds the environment that a configuration names, for training, evaluation and shifts."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext

# Ray has no public way to ask what a name was registered for; this is all that is private of Ray here.
from ray.tune.registry import ENV_CREATOR, _global_registry

from rllib_ext.base.named import path_of
from rllib_ext.envs.mujoco import is_mujoco, quieten_mujoco
from rllib_ext.pruning.errors import ConfigError

EnvMaker = Callable[[], gymnasium.Env[Any, Any]]
ContextMaker = Callable[[dict[str, Any]], EnvContext]
# Keywords of `gymnasium.make` that change an episode, and that the constructor doesn't get.
MAKE = ("max_episode_steps",)
# Names that users of RLlib, and its own examples, give the mapping that RLlib passes to an environment.
MAPPING_NAMES = frozenset(
    [
        "config",
        "env_config",
        "environment_config",
        "env_context",
        "env_ctx",
        "context",
        "ctx",
        "cfg",
        "conf",
        "_config",
        "_",
    ]
)
_MAPPING_TYPES = re.compile(r"\b(EnvContext|[Dd]ict|(Mutable)?Mapping)\b")
_PLAIN_TYPES = (bool, int, float, str)


def _context(given: dict[str, Any]) -> EnvContext:
    return EnvContext(given, worker_index=0)


def env_maker(config: AlgorithmConfig, context: ContextMaker = _context) -> EnvMaker:
    """Returns a function that builds one environment that an RLlib configuration names.

    A class or a function that takes keyword arguments is called with `env_config` as keywords. One that
    takes a single mapping, named as in `MAPPING_NAMES` or annotated as a mapping, is called with that.
    RLlib itself passes the mapping to all of them, so members are trained with `for_rllib`.

    Args:
        config: Its `env` is a Gymnasium id, a name registered with Tune, a class or a function.
        context: Makes the mapping of `env_config` that an environment gets; called for each environment.

    Raises:
        ConfigError: The configuration names no environment, or one that takes neither, or `env_config`
            has a key that it doesn't take. For an id the last is found when the environment is built.
    """
    env, env_config = _given(config), dict(config.env_config)
    if isinstance(env, str):
        if not _global_registry.contains(ENV_CREATOR, env):
            # RLlib may build this process's first environment, before anything is built here.
            quieten_mujoco(env)
            return functools.partial(_make, env, **env_config)
        return _with_mapping(_global_registry.get(ENV_CREATOR, env), env_config, context)
    if _takes_mapping(config):
        return _with_mapping(env, env_config, context)
    return functools.partial(env, **env_config)


def for_rllib(config: AlgorithmConfig) -> Any:
    """Returns what RLlib takes for `config.env`, to build the same environments as `env_maker`.

    Raises:
        ConfigError: The environment can't be built (see `env_maker`).
    """
    if config.env is None or isinstance(config.env, str):
        if config.num_env_runners and is_mujoco(str(config.env)):
            return _adapted(functools.partial(_make, config.env), str(config.env), False)
        return config.env
    env, takes_mapping = _given(config), _takes_mapping(config)
    if _is_adapted(config.env) or (takes_mapping and isinstance(env, type)):
        return config.env
    return _adapted(env, path_of(env), takes_mapping)


def for_any_process(config: AlgorithmConfig) -> Any:
    """Like `for_rllib`, but for any process: includes what names and ids stand for in this one only.

    Raises:
        ConfigError: The environment can't be built (see `env_maker`).
    """
    env: Any = _given(config)
    if not isinstance(env, str):
        return for_rllib(config)
    if _global_registry.contains(ENV_CREATOR, env):
        return _adapted(_global_registry.get(ENV_CREATOR, env), env, takes_mapping=True)
    spec = gymnasium.registry.get(env)
    entry = spec.entry_point if spec is not None else "gymnasium."
    if isinstance(entry, str) and entry.startswith("gymnasium."):
        return env
    return _adapted(functools.partial(_make, spec), env, takes_mapping=False)


def env_name(config: AlgorithmConfig) -> str:
    """Returns the environment's name as a configuration gives it: an id or "package.module:Name"."""
    env: Any = config.env
    if _is_adapted(env):
        return str(env.name)
    return env if isinstance(env, str) else path_of(env)


def _adapted(creator: Any, name: str, takes_mapping: bool) -> type[_Adapted]:
    # Messages and logs show the original's name.
    names = {"__module__": __name__, "__qualname__": name.rpartition(":")[2]}
    kept = {"original": staticmethod(creator), "name": name, "takes_mapping": takes_mapping}
    return type(names["__qualname__"], (_Adapted,), {**names, **kept})


def keywords_of(config: AlgorithmConfig) -> list[str]:
    """Lists keywords by which the environment can be built; none if it takes a mapping of unknown keys.

    Raises:
        ConfigError: The environment can't be built (see `env_maker`), or its id is not known.
    """
    env = _given(config)
    if not isinstance(env, str):
        if _takes_mapping(config):
            return []
        return list(_signature(env, dict(config.env_config)).keywords)
    if _global_registry.contains(ENV_CREATOR, env):
        return []
    return [*MAKE, *_signature(_entry_point(config), None).keywords]


class _Adapted(gymnasium.Env[Any, Any]):
    """A class, as RLlib expects, that builds another's environments from RLlib's mapping."""

    original: Callable[..., gymnasium.Env[Any, Any]]
    name: str
    takes_mapping: bool

    def __new__(cls, context: Mapping[str, Any] | None = None) -> Any:
        if cls.takes_mapping:
            return cls.original(context)
        return cls.original(**(context or {}))


@dataclasses.dataclass(frozen=True)
class _Signature:
    """How an environment's class or function is called.

    Attributes:
        takes_mapping: Whether with a single mapping; otherwise with keywords.
        keywords: Names of its keywords.
        open: Whether it takes other keywords too.
        required: Keywords without a default.
    """

    takes_mapping: bool
    keywords: tuple[str, ...] = ()
    open: bool = False
    required: tuple[str, ...] = ()


def _given(config: AlgorithmConfig) -> Any:
    env: Any = config.env
    if not env:
        raise ConfigError("the PPO config has no environment. Add .environment('CartPole-v1').")
    if _is_adapted(env):
        return env.original
    if not isinstance(env, str) and not callable(env):
        raise ConfigError(
            f"env = {env!r} is a {type(env).__name__}; expected a Gymnasium id, a class or a function "
            "that builds an environment."
        )
    return env


def _is_adapted(env: Any) -> bool:
    return isinstance(env, type) and issubclass(env, _Adapted)


def _takes_mapping(config: AlgorithmConfig) -> bool:
    """Whether a class or function takes a single mapping; refuses keys that it doesn't take."""
    env: Any = config.env
    if _is_adapted(env) and env.takes_mapping:
        return True
    return _signature(_given(config), dict(config.env_config)).takes_mapping


def _with_mapping(
    creator: Callable[..., Any], env_config: Mapping[str, Any], context: ContextMaker
) -> EnvMaker:
    # Each environment gets a context of its own, because it may write into it.
    return lambda: creator(context(dict(env_config)))


def _make(env: str | EnvSpec, /, **env_config: Any) -> gymnasium.Env[Any, Any]:
    if isinstance(env, str):
        quieten_mujoco(env)
    try:
        return gymnasium.make(env, **{"disable_env_checker": True, **env_config})
    except TypeError as error:
        if not isinstance(env, str) or "unexpected keyword argument" not in str(error):
            raise
        try:
            entry = gymnasium.spec(env.partition(":")[2] or env).entry_point
        except gymnasium.error.Error:
            raise error from None
        found = _signature(load_env_creator(entry) if isinstance(entry, str) else entry, None)
        _refuse_unknown(env, env_config, [*MAKE, *found.keywords])
        raise


def _entry_point(config: AlgorithmConfig) -> Any:
    """Returns the class or function that Gymnasium builds the environment with.

    Only `gymnasium.make` understands every id, such as "module:Id-v0" or one without a version; the
    environment that it builds tells which entry point was used.
    """
    try:
        env = env_maker(config)()
    except (gymnasium.error.Error, ImportError) as error:
        raise ConfigError(
            f"env = {config.env!r}: {error} Expected the id of an environment that is registered, or "
            "that importing the module before ':' registers."
        ) from error
    entry = env.unwrapped.spec.entry_point
    env.close()
    return load_env_creator(entry) if isinstance(entry, str) else entry


def _signature(creator: Any, env_config: Mapping[str, Any] | None) -> _Signature:
    """Returns how a class or function is called; with None for `env_config` nothing is refused."""
    parameters, is_open = _parameters(creator)
    by_name, given = {p.name: p for p in parameters}, env_config or {}
    first = next((p for p in parameters if p.kind is not p.KEYWORD_ONLY), None)
    if first is not None and _is_mapping(first, any(key in by_name for key in given)):
        others = [p.name for p in parameters if p is not first and p.default is p.empty]
        if others and env_config is not None:
            raise ConfigError(
                f"{_called(creator)} takes {first.name!r}, which is env_config, and needs "
                f"{', '.join(others)} too. Give those defaults, or take all of them as keywords."
            )
        return _Signature(takes_mapping=True)
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
    keywords = tuple(name for name in by_name if name not in positional)
    required = tuple(name for name in keywords if by_name[name].default is inspect.Parameter.empty)
    found = _Signature(False, keywords, is_open, required)
    if env_config is not None:
        if not is_open:
            _refuse_unknown(_called(creator), given, keywords)
        if positional:
            raise ConfigError(
                f"{_called(creator)} takes {', '.join(positional)} by position only. Expected keyword "
                "arguments, which get the keys of env_config, or one parameter 'config', to which "
                "env_config is passed as it is."
            )
        missing = [name for name in required if name not in given]
        if missing:
            raise ConfigError(
                f"{_called(creator)} needs {', '.join(missing)}. Give them as keys of env_config, or "
                "let it take one parameter 'config', to which env_config is passed as it is."
            )
    return found


def _refuse_unknown(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            taken = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ConfigError(
                f"env_config: {name} has no argument {key!r}.{hint} Expected keys of its own: {taken}. "
                "A class that reads a mapping takes it as its one parameter, named 'config'."
            )


def _parameters(creator: Any) -> tuple[list[inspect.Parameter], bool]:
    """Returns the named parameters, and whether other keywords are accepted too."""
    is_open = False
    for function, bound in _callables(creator):
        try:
            every = list(inspect.signature(function).parameters.values())[bound:]
        except (TypeError, ValueError):
            # Implemented in C, without a signature.
            return [], True
        kinds = {p.kind for p in every}
        is_open = is_open or inspect.Parameter.VAR_KEYWORD in kinds
        named = [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        # Go on to the next only if this one merely passes its arguments on.
        if named or inspect.Parameter.VAR_POSITIONAL not in kinds:
            return named, is_open
    return [], is_open


def _callables(creator: Any) -> list[tuple[Any, int]]:
    """Lists what is called and what may get its arguments, each with its number of bound ones."""
    if not isinstance(creator, type):
        return [(creator, 0)]
    own = [vars(base)["__init__"] for base in creator.__mro__[:-1] if "__init__" in vars(base)]
    return [(init, 1) for init in own]


def _is_mapping(parameter: inspect.Parameter, keys_fit: bool) -> bool:
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    told = text if isinstance(annotation, type | str) else str(annotation)
    plain = isinstance(parameter.default, _PLAIN_TYPES) or text in {
        t.__name__ for t in _PLAIN_TYPES
    }
    if parameter.name in MAPPING_NAMES:
        return not plain
    return _MAPPING_TYPES.search(told) is not None and not keys_fit


def _called(creator: Any) -> str:
    return f"the environment {getattr(creator, '__qualname__', repr(creator))}"
