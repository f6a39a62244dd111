"""Imports a user's own classes and functions, which a configuration names as "package.module:Name"."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.models.catalog import Catalog
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.env.env_runner import EnvRunner

from rllib_ext.base.hints import nearest
from rllib_ext.pruning.errors import ConfigError
from search.cluster.own_packages import hint_at_hidden, refuse_hidden

# Key under which a connector's class is named beside its arguments.
CLASS = "class"
# Required base class by PPOConfig's method and argument.
_CLASSES: Mapping[tuple[str, str], type[Any]] = {
    ("learners", "learner_class"): Learner,
    ("env_runners", "env_runner_cls"): EnvRunner,
}
_CONNECTORS = frozenset(
    (
        ("env_runners", "env_to_module_connector"),
        ("env_runners", "module_to_env_connector"),
        ("learners", "learner_connector"),
    )
)
_SPACES = frozenset((("environment", "observation_space"), ("environment", "action_space")))


def with_own_code(method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of a PPOConfig method with names like "package.module:Name" imported.

    Only arguments for which RLlib expects a class, a callable, connectors or a space are imported; all
    others are unchanged. Connectors can also be given as `{class: NAME, argument: value}`, or as a list
    of these.

    Args:
        method: Name of the method, such as "learners".
        arguments: Plain values as in a YAML file.

    Raises:
        ConfigError: Something cannot be imported, or is not what RLlib expects there.
    """
    return {name: _value(method, name, value) for name, value in arguments.items()}


def imported(name: Any, what: str, expected: str) -> Any:
    """Imports the object that "package.module:Name" names, also from the working directory.

    Args:
        name: The name.
        what: Name of the setting, with which error messages begin.
        expected: Description of a valid value, for error messages.

    Raises:
        ConfigError: The value is not such a name, or cannot be imported.
    """
    module, colon, attribute = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not (module and colon and attribute):
        raise ConfigError(
            f"{what} = {name!r}; expected {expected}, named as 'package.module:Name'."
        )
    import_from_here()
    refuse_hidden(module, f"{what} = {name!r}")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except Exception as error:
        # A module is user code and may raise anything.
        raise ConfigError(
            f"{what} = {name!r}: cannot be imported ({type(error).__name__}: {error}). Expected "
            f"{expected}, as 'package.module:Name', with the package installed or in the working "
            f"directory.{hint_at_hidden()}"
        ) from error


def import_from_here() -> None:
    """Makes modules in the working directory importable, as `python` does but console scripts don't."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


@dataclasses.dataclass(frozen=True)
class Connectors:
    """A callable for RLlib that returns the connectors of several named classes and functions.

    Attributes:
        pieces: Connector classes with their arguments, and functions with an empty dictionary.
    """

    pieces: tuple[tuple[Callable[..., Any], dict[str, Any]], ...]

    def __call__(self, *given: Any, **named: Any) -> list[Any]:
        """Builds the connectors.

        Args:
            given: Positional arguments from RLlib, passed on to functions but not to classes.
            named: Keyword arguments from RLlib, passed on likewise.
        """
        found: list[Any] = []
        for make, arguments in self.pieces:
            made = make(**arguments) if _is_connector(make) else make(*given, **named)
            found += made if isinstance(made, list | tuple) else [made]
        return found


def _value(method: str, name: str, value: Any) -> Any:
    what, key = f"ppo.{method}.{name}", (method, name)
    if value is None:
        return value
    if key in _CLASSES:
        return _class(value, what, _CLASSES[key])
    if key in _CONNECTORS:
        return _connectors(value, what)
    if key in _SPACES:
        expected = "a gymnasium space"
        return _of_kind(imported(value, what, expected), what, value, gymnasium.Space, expected)
    if key == ("rl_module", "rl_module_spec"):
        return _spec(value, what)
    if method == "callbacks":
        if name != "callbacks_class":
            return (
                [_callable(v, what) for v in value] if _is_list(value) else _callable(value, what)
            )
        if _is_list(value):
            return [_class(v, what, RLlibCallback) for v in value]
        return _class(value, what, RLlibCallback)
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _class(name: Any, what: str, base: type[Any]) -> Any:
    expected = f"{'an' if base.__name__[0] in 'AEIOR' else 'a'} {base.__name__} class"
    found = imported(name, what, expected)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(
            f"{what} = {name!r} is {_kind(found)}; expected {expected}, derived from "
            f"{base.__module__}:{base.__qualname__}."
        )
    return found


def _of_kind(found: Any, what: str, name: Any, kind: type[Any], expected: str) -> Any:
    if not isinstance(found, kind):
        raise ConfigError(f"{what} = {name!r} is {_kind(found)}; expected {expected}.")
    return found


def _callable(name: Any, what: str, expected: str = "a function") -> Any:
    found = imported(name, what, expected)
    if not callable(found):
        raise ConfigError(f"{what} = {name!r} is {_kind(found)}; expected {expected}.")
    return found


def _connectors(value: Any, what: str) -> Any:
    items = value if _is_list(value) else [value]
    pieces = tuple(_connector(item, what) for item in items)
    if len(pieces) == 1 and not _is_connector(pieces[0][0]):
        # RLlib calls a function again with other arguments after a TypeError of the call itself.
        return pieces[0][0]
    return Connectors(pieces)


def _is_connector(made: Any) -> bool:
    """Whether an object is a connector class, or a partial call of one as some of RLlib's own are."""
    kind = made.func if isinstance(made, functools.partial) else made
    return isinstance(kind, type) and issubclass(kind, ConnectorV2)


def _connector(item: Any, what: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    arguments = dict(item) if isinstance(item, Mapping) else {}
    name = arguments.pop(CLASS, None) if isinstance(item, Mapping) else item
    found = _callable(name, what, "a function that returns connectors, or a ConnectorV2 class")
    if isinstance(found, type):
        _class(name, what, ConnectorV2)
    if _is_connector(found):
        _refuse_unknown(found, arguments, f"{what}: {name!r}")
        try:
            found(**arguments)
        except Exception as error:
            # A connector is user code and may raise anything.
            raise ConfigError(
                f"{what}: {name!r} cannot be built with {arguments}: {type(error).__name__}: {error}"
            ) from error
    elif arguments:
        raise ConfigError(
            f"{what} = {name!r} is a function, which RLlib calls with arguments of its own; expected no "
            f"{', '.join(arguments)} beside it."
        )
    return found, arguments


def _refuse_unknown(made: Any, arguments: Mapping[str, Any], what: str) -> None:
    """Refuses unknown arguments of a connector class, because RLlib's classes accept any keyword."""
    kind: Any = made.func if isinstance(made, functools.partial) else made
    own = [vars(base)["__init__"] for base in kind.__mro__[:-1] if "__init__" in vars(base)]
    known = {n: p.kind for init in own for n, p in inspect.signature(init).parameters.items()}
    swallowing = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = sorted(n for n, kind in known.items() if kind not in swallowing and n != "self")
    for key in arguments:
        if key not in names:
            raise ConfigError(f"{what} has no argument {key!r}.{nearest(key, names)}")


def _spec(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        bases = {"module_class": RLModule, "catalog_class": Catalog}
        known = {
            key: _class(v, f"{what}.{key}", bases[key]) if key in bases else v
            for key, v in value.items()
        }
        names = [field.name for field in dataclasses.fields(RLModuleSpec)]
        for key in known:
            if key not in names:
                raise ConfigError(f"{what}: unknown key {key!r}; expected {', '.join(names)}.")
        return RLModuleSpec(**known)
    expected = "an RLModuleSpec, or an RLModule or Catalog class"
    found = imported(value, what, expected)
    if isinstance(found, type) and issubclass(found, Catalog):
        return RLModuleSpec(catalog_class=found)
    if isinstance(found, type) and issubclass(found, RLModule):
        return RLModuleSpec(module_class=found)
    return _of_kind(found, what, value, RLModuleSpec, expected)


def _kind(found: Any) -> str:
    return (
        f"the class {found.__qualname__}"
        if isinstance(found, type)
        else f"a {type(found).__name__}"
    )
