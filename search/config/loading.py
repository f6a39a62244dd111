"""Reads and checks the configuration of an experiment from YAML, overrides or plain values."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rllib_ext.base.hints import ELSEWHERE, nearest
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.settings.ranges import RANGED
from search.config.experiment import ExperimentConfig
from search.config.reference import keys
from search.config.shipped import shipped, shipped_as


class _TwiceError(yaml.MarkedYAMLError):
    """Raised for a mapping that contains a key twice, which PyYAML itself accepts silently."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads 1e-3 as a number and refuses duplicate keys.

    YAML 1.1 would read 1e-3 as a string, and PyYAML keeps the last of equal keys.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns the mapping that `SafeLoader` would construct; refuses a key that occurs twice."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise _TwiceError(
                    problem=f"the key {key.value!r} is there already, in line {lines[key.value]}; "
                    "leave one of the two out",
                    problem_mark=key.start_mark,
                )
            lines[key.value] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
# Dates stay text: no setting is a date, and parsing 2024-13-01 would raise an error.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, what: str) -> Any:
    """Parses YAML.

    Raises:
        ConfigError: The text is not YAML; the message names `what` and the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except _TwiceError as error:
        raise ConfigError(f"{what}: {_where(error)}") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{what} is not YAML: {_where(error)}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{what} is not YAML: line {line} holds the character {chr(error.character)!r}. Remove it."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{what} is not YAML: {error}") from error


def _where(error: yaml.MarkedYAMLError) -> str:
    """Describes a YAML error and its position, without PyYAML's placeholder for the file name."""
    mark = error.problem_mark or error.context_mark
    problem = f"{error.context}, {error.problem}" if error.context else str(error.problem)
    if mark is None:
        return f"{problem}."
    snippet = mark.get_snippet()
    return (
        f"{problem}.\n  line {mark.line + 1}, column {mark.column + 1}:\n{snippet or ''}".rstrip()
    )


def load_config(path: Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Reads an experiment's configuration.

    Args:
        path: Path of a YAML file, or the name of a shipped configuration.
        overrides: Overrides of the form "dotted.path=value", whose values are YAML.

    Raises:
        ConfigError: The file is missing, or the file or an override contains a mistake.
    """
    values = read_values(path)
    in_file = copy.deepcopy(values)
    for override in overrides:
        override_value(values, override)
    try:
        return _validated(values)
    except ValidationError as error:
        # Mistakes that the file alone doesn't have come from the overrides.
        wrong, wrong_in_file = _mistakes(error), _mistakes_in(in_file)
        places = {
            f"{path}:": [line for line in wrong if line in wrong_in_file],
            "the command line:": [line for line in wrong if line not in wrong_in_file],
        }
        raise ConfigError(_listed(places)) from error


def read_values(path: Path) -> dict[str, Any]:
    """Returns the plain values of a YAML file or of a shipped configuration.

    Args:
        path: Path of the file, or a bare name such as "cartpole".

    Raises:
        ConfigError: The file is missing, can't be read, or doesn't contain a mapping.
    """
    if not path.is_file():
        path = shipped_as(path) or path
    if not path.is_file():
        near = sorted(path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        there = f" There: {', '.join(str(p) for p in near)}." if near else ""
        raise ConfigError(
            f"{path} is no file. Expected a YAML configuration, or the name of one that comes along: "
            f"{', '.join(shipped())}.{there}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Expected text in UTF-8.") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no mapping. Expected keys such as name, env and budget.")
    return values


def parse_config(values: Mapping[str, Any], what: str) -> ExperimentConfig:
    """Returns the configuration that plain values describe, once it is checked.

    Raises:
        ConfigError: A value is wrong; the message begins with `what` and has one line per mistake.
    """
    try:
        return _validated(values)
    except ValidationError as error:
        raise ConfigError(_listed({f"{what}:": _mistakes(error)})) from error


def _validated(values: Mapping[str, Any]) -> ExperimentConfig:
    try:
        return ExperimentConfig.model_validate(values)
    except OverflowError as error:
        raise ConfigError(
            f"a number in the configuration is too large to reckon with: {error}. Expected numbers well "
            "within 1e308."
        ) from error


def _mistakes(error: ValidationError) -> list[str]:
    return [_describe(mistake) for mistake in error.errors()]


def _mistakes_in(values: Mapping[str, Any]) -> list[str]:
    try:
        ExperimentConfig.model_validate(values)
    except ValidationError as error:
        return _mistakes(error)
    return []


def _listed(places: Mapping[str, list[str]]) -> str:
    """Lists the mistakes under the place where each was made; places without mistakes are omitted."""
    told = {place: lines for place, lines in places.items() if lines}
    return "\n".join(text for place in told for text in (place, *(f"  {x}" for x in told[place])))


def override_value(values: dict[str, Any], override: str) -> None:
    """Sets one value in nested plain values, in place.

    Args:
        values: Values of a configuration, nested as in its YAML file.
        override: Override of the form "dotted.path=value", whose value is YAML.

    Raises:
        ConfigError: `override` has another form, or a key on its path holds a value, not a mapping.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(
            f"the command line: {override!r} is no override. Expected dotted.path=value."
        )
    node, parts = values, path.split(".")
    if path.startswith(_SPACE):
        space = _below(_below(values, "search", override), "space", override)
        node, parts = space, _space_parts(path.removeprefix(_SPACE), space)
    for key in parts[:-1]:
        node = _below(node, key, override)
    node[parts[-1]] = parse_yaml(text, f"on the command line, the value of override {override!r}")


def _below(node: dict[str, Any], key: str, override: str) -> dict[str, Any]:
    """Returns the mapping below a key; creates it if the key is missing or has no value."""
    below = node.get(key)
    if below is None:
        below = node[key] = {}
    if not isinstance(below, dict):
        raise ConfigError(
            f"the command line: override {override!r}: {key!r} is a value, so nothing lies below it."
        )
    return below


_SPACE = "search.space."


def _space_parts(rest: str, space: Mapping[str, Any]) -> list[str]:
    """Splits a path below `search.space` into a hyperparameter's path, with dots, and its keys."""
    for known in space:
        if rest.startswith(f"{known}."):
            return [str(known), *rest.removeprefix(f"{known}.").split(".")]
    return [rest]


def _describe(mistake: Any) -> str:
    path = ".".join(str(part) for part in mistake["loc"] if part not in _TAGS)
    if mistake["type"] == "extra_forbidden":
        *parents, key = [part for part in mistake["loc"] if part not in _TAGS]
        return f"unknown key {path!r}.{_hint(str(key), mistake['input'], _known_keys(parents))}"
    if mistake["type"] == "missing":
        return f"{path!r} is missing."
    if mistake["type"] == "value_error":
        text = str(mistake["ctx"]["error"])
        return text if not path or text.startswith(path) else f"{path}: {text}"
    return f"{path} = {mistake['input']!r}: {mistake['msg']}."


_TAGS = ("float", "int", "choice")


def _hint(key: str, given: Any, known: list[str]) -> str:
    """Returns a hint at what was probably meant: a key of the same level, or a similar one elsewhere.

    Args:
        key: The unknown key.
        given: Value given under the key.
        known: Known keys of the same level.
    """
    if difflib.get_close_matches(key, known, n=1, cutoff=_CLOSE):
        return nearest(key, known)
    by_name: dict[str, list[str]] = {}
    for path in _paths():
        by_name.setdefault(path.rpartition(".")[2], []).append(path)
    names = [*by_name, *(name for name, meant in ELSEWHERE.items() if meant in by_name)]
    for name in difflib.get_close_matches(key, names, n=1, cutoff=_CLOSE):
        paths = by_name.get(ELSEWHERE.get(name, name), [])
        return f" Did you mean {' or '.join(repr(_with_below(p, given)) for p in paths)}?"
    return nearest(key, known)


# Similarity from which a name counts as a misspelling: that of `trainig` and `training` is 0.93, that
# of `training` and `pruning` 0.67.
_CLOSE = 0.8


def _with_below(path: str, given: Any) -> str:
    """Returns the path, extended by the key given below it if that is the only one and is known."""
    below = f"{path}.{next(iter(given))}" if isinstance(given, dict) and len(given) == 1 else ""
    return below if below in _paths() else path


def _paths() -> list[str]:
    described = [key.path for key in keys() if "PATH" not in key.path and "[]" not in key.path]
    return [*described, *(f"ppo.training.{name}" for name in RANGED)]


def _known_keys(parents: Sequence[Any]) -> list[str]:
    searched = [*parents[:2], "PATH"] if parents[:2] == ["search", "space"] else parents
    before = "".join(f"{parent}." for parent in searched)
    below = [key.path.removeprefix(before) for key in keys() if key.path.startswith(before)]
    return [name for name in dict.fromkeys(below) if "." not in name]
