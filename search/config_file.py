"""Reading an experiment: YAML and overrides in, checked values or one clear message out."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.config import ExperimentConfig, nearest

_LIMITS = ("env_steps", "seconds")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3 for a string; here it is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
# Dates stay text: nothing here is one, and 2024-13-01 would end in a traceback.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, what: str) -> Any:
    """Parses YAML.

    Raises:
        ConfigError: It is not YAML; the message names `what` and the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{what} is not YAML: {error}") from error


def load_config(path: Path, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Reads an experiment.

    Args:
        path: A YAML file.
        overrides: "dotted.path=value"; the value is YAML.

    Raises:
        ConfigError: The file is missing, or something in it, or in an override, is wrong.
    """
    if not path.is_file():
        near = sorted(path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        there = f" There: {', '.join(str(p) for p in near)}." if near else ""
        raise ConfigError(f"{path} is no file. Expected a YAML configuration.{there}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Expected text in UTF-8.") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no mapping. Expected keys such as name, env and budget.")
    for override in overrides:
        _override(values, override)
    return parse_config(values, str(path))


def load_config_of(folder: Path) -> ExperimentConfig:
    """Reads the experiment of a results folder.

    Raises:
        ResultsError: The folder isn't there, or holds no configuration.
        ConfigError: The configuration is not one of this version.
    """
    if not (folder / "config.yaml").is_file():
        what = "is not a folder" if not folder.is_dir() else "holds no config.yaml"
        raise ResultsError(
            f"{folder} {what}. Expected the results folder of a search: the --output of `prunefront "
            "search`."
        )
    return load_config(folder / "config.yaml")


def extended(config: ExperimentConfig, overrides: Iterable[str]) -> ExperimentConfig:
    """An experiment with a larger budget; everything else, the horizon too, stays what it was.

    Raises:
        ConfigError: An override changes anything but `budget.env_steps` and
            `budget.seconds`, or the budget becomes smaller
            or cannot be spent.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        if override.partition("=")[0] not in {f"budget.{name}" for name in _LIMITS}:
            raise ConfigError(
                f"{override!r}: a search that goes on stays the one it was. Only budget.env_steps and "
                "budget.seconds can be changed; for anything else begin a new search."
            )
        _override(values, override)
    if not values:
        return config
    changed = config.model_dump(mode="json")
    changed["budget"] = {**changed["budget"], "horizon": config.horizon, **values["budget"]}
    more = parse_config(changed, "the search with a larger budget")
    pairs = {name: (getattr(config.budget, name), getattr(more.budget, name)) for name in _LIMITS}
    for name, (before, after) in pairs.items():
        if after is not None and before is None:
            raise ConfigError(
                f"budget.{name} = {after:,}, but the search was given no such limit. Raise the one that "
                "it was given, or name nothing to go on with that."
            )
        if after is not None and before is not None and after < before:
            raise ConfigError(
                f"budget.{name} = {after:,} is less than the {before:,} that the search was given. "
                "Expected more, or nothing to go on with the budget that it has."
            )
    before, after = pairs["env_steps"]
    if config.search.strategy == "train_then_prune" and after != before:
        raise ConfigError(
            f"budget.env_steps = {after:,}: with search.strategy=train_then_prune the budget was shared "
            "out when the search began. Begin a new search with a larger one."
        )
    return config if all(after == before for before, after in pairs.values()) else more


def parse_config(values: Mapping[str, Any], what: str) -> ExperimentConfig:
    """Checks an experiment's plain values.

    Raises:
        ConfigError: Something is wrong; the message has a line for each mistake.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        lines = [_describe(mistake) for mistake in error.errors()]
        raise ConfigError("\n".join([f"{what}:", *(f"  {line}" for line in lines)])) from error


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(f"{override!r} is no override. Expected dotted.path=value.")
    node, parts = values, path.split(".")
    if path.startswith(_SPACE):
        space = _below(_below(values, "search", override), "space", override)
        node, parts = space, _space_parts(path.removeprefix(_SPACE), space)
    for key in parts[:-1]:
        node = _below(node, key, override)
    node[parts[-1]] = parse_yaml(text, f"the value of override {override!r}")


def _below(node: dict[str, Any], key: str, override: str) -> dict[str, Any]:
    """What lies below a key; made where there is nothing, as under a key without a value."""
    below = node.get(key)
    if below is None:
        below = node[key] = {}
    if not isinstance(below, dict):
        raise ConfigError(f"override {override!r}: {key!r} is a value, so nothing lies below it.")
    return below


_SPACE = "search.space."


def _space_parts(rest: str, space: Mapping[str, Any]) -> list[str]:
    """A hyperparameter's path has dots of its own; what follows a known one is one of its keys."""
    for known in space:
        if rest.startswith(f"{known}."):
            return [str(known), *rest.removeprefix(f"{known}.").split(".")]
    return [rest]


def _describe(mistake: Any) -> str:
    path = ".".join(str(part) for part in mistake["loc"] if part not in _TAGS)
    if mistake["type"] == "extra_forbidden":
        *parents, key = [part for part in mistake["loc"] if part not in _TAGS]
        return f"unknown key {path!r}.{nearest(str(key), _known_keys(parents))}"
    if mistake["type"] == "missing":
        return f"{path!r} is missing."
    if mistake["type"] == "value_error":
        text = str(mistake["ctx"]["error"])
        return text if not path or text.startswith(path) else f"{path}: {text}"
    return f"{path} = {mistake['input']!r}: {mistake['msg']}."


_TAGS = ("float", "int", "choice")


def _known_keys(parents: Iterable[Any]) -> list[str]:
    model: Any = ExperimentConfig
    for parent in parents:
        field = model.model_fields.get(str(parent))
        model = field.annotation if field is not None else None
        if not (inspect.isclass(model) and issubclass(model, BaseModel)):
            return ["type", "low", "high", "scale", "log", "choices"]
    return list(model.model_fields)
