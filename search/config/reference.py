"""Lists every key of a configuration, read from the JSON Schema of the settings classes.

Imports neither Ray nor torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig

Schema = dict[str, Any]
REQUIRED = "required"
_SEARCHED = (
    "One searched hyperparameter. PATH is pruning.… (a key of pruning) or training.… (a keyword of "
    "PPOConfig.training)."
)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMES = {"integer": "int", "number": "float", "string": "str", "boolean": "bool"}
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a configuration.

    Attributes:
        path: Dotted path, as in an override; "[]" stands for an item of a list, PATH for a
            hyperparameter.
        kind: Type of the value, with its range if the model defines one; empty for a group of keys.
        default: The default as YAML, or "required"; empty for a group.
        meaning: Description of the key; empty if it has none.
    """

    path: str
    kind: str
    default: str
    meaning: str


def keys() -> list[Key]:
    """Returns all keys in the order of the models; each group is followed by the keys below it."""
    return keys_of(schema())


def keys_of(whole: Schema) -> list[Key]:
    """Returns all keys that a JSON Schema describes."""
    return list(_walk(whole, whole.get("$defs", {})))


def schema() -> Schema:
    """Returns the JSON Schema of a configuration file, for completion and checks in editors."""
    whole = ExperimentConfig.model_json_schema()
    # The search sets the horizon of a member itself and refuses one that is given.
    del whole["$defs"]["PruningConfig"]["properties"]["horizon"]
    written: Schema = _as_written(whole)
    return {"$schema": _DIALECT, **written}


def find(words: Iterable[str]) -> list[Key]:
    """Returns the keys whose path or meaning contains all of the words, ignoring case.

    Raises:
        ConfigError: There is no such key.
    """
    words, every = list(words), keys()
    having = {word: [key for key in every if _has(key, word)] for word in words}
    for word in words:
        if not having[word]:
            near = _near(word, every)
            hint = f"Near: {', '.join(near)}." if near else "`prunefront keys` lists all."
            raise ConfigError(
                f"no key has {word!r} in its path or meaning; expected a part of one. {hint}"
            )
    found = [key for key in every if all(key in having[word] for word in words)]
    if not found:
        counts = ", ".join(f"{word!r} ({len(having[word])})" for word in words)
        raise ConfigError(
            f"no key has all of {counts} in its path or meaning; expected words of one key. Leave one "
            "out."
        )
    return found


def _has(key: Key, word: str) -> bool:
    return any(word.casefold() in text.casefold() for text in (key.path, key.meaning))


def _near(word: str, among: Iterable[Key]) -> list[str]:
    """Returns paths that resemble a word, as a whole or in their last name; the nearest first."""
    paths: dict[str, list[str]] = {}
    for path in dict.fromkeys(key.path for key in among):
        for name in {path, path.rpartition(".")[2]}:
            paths.setdefault(name, []).append(path)
    near = difflib.get_close_matches(word.lower(), paths, n=3)
    return list(dict.fromkeys(path for name in near for path in paths[name]))


def _as_written(node: Any) -> Any:
    """Returns a part of a schema with descriptions on one line and lists of pairs as mappings.

    A model may keep a mapping as pairs; a configuration file has the mapping.
    """
    if isinstance(node, list):
        return [_as_written(part) for part in node]
    if not isinstance(node, dict):
        return node
    part = {name: _as_written(value) for name, value in node.items()}
    if isinstance(part.get("description"), str):
        part["description"] = " ".join(part["description"].split())
    items = part.get("items", {}) if part.get("type") == "array" else {}
    pair: list[Any] = items.get("prefixItems", [])
    if len(pair) == 2 and pair[0] == {"type": "string"}:
        del part["items"]
        part |= {"type": "object", "additionalProperties": pair[1], "default": {}}
    return part


def _walk(
    node: Schema, models: Schema, before: str = "", of: str = "", without: str = ""
) -> Iterator[Key]:
    """Yields the keys of a model.

    Args:
        node: JSON Schema of the model.
        models: Schemas of all models, by name.
        before: Prefix of the keys' paths.
        of: Prefix of the keys' meanings.
        without: Name of a key to leave out; empty for none.
    """
    for name, value in node["properties"].items():
        if name == without:
            continue
        path = before + name
        meaning = of + value["description"] if "description" in value else ""
        if group := _model(value, models):
            yield Key(path, "", "", meaning)
            yield from _walk(group, models, f"{path}.")
            continue
        required = name in node.get("required", ())
        default = REQUIRED if required else in_yaml(value.get("default"))
        yield Key(path, _kind(value), default, meaning)
        if item := _model(value.get("items", {}), models):
            yield from _walk(item, models, f"{path}[].")
        below = value.get("additionalProperties")
        if isinstance(below, dict) and "discriminator" in below:
            yield from _walk_either(below, models, f"{path}.PATH")


def _walk_either(node: Schema, models: Schema, path: str) -> Iterator[Key]:
    """Yields the keys of a value that has one of several models, chosen by a discriminator key."""
    tag = node["discriminator"]["propertyName"]
    either = [_model(one, models) for one in node["oneOf"]]
    named = {str(model["properties"][tag]["const"]): model for model in either}
    yield Key(path, "", "", _SEARCHED)
    meanings = (f'"{name}": {model["description"]}' for name, model in named.items())
    yield Key(f"{path}.{tag}", " | ".join(named), REQUIRED, " ".join(meanings))
    for name, model in named.items():
        yield from _walk(model, models, f"{path}.", of=f"Of {tag} {name}: ", without=tag)


def _model(node: Schema, models: Schema) -> Schema:
    """Returns the model that a part of a schema refers to; empty if it refers to none."""
    found: Schema = models.get(node.get("$ref", "").rpartition("/")[2], {})
    return found


def _kind(node: Schema) -> str:
    if "anyOf" in node:
        kinds = [_kind(option) for option in node["anyOf"] if option.get("type") != "null"]
        return " | ".join(kinds) + " or null" * (len(kinds) < len(node["anyOf"]))
    if "enum" in node:
        return " | ".join(map(str, node["enum"]))
    if node["type"] == "object":
        return "mapping" + _at_least(node.get("minProperties"))
    if node["type"] == "array":
        items = "mappings" if "$ref" in node["items"] else _kind(node["items"])
        return f"list of {items}" + _at_least(node.get("minItems"))
    return _NAMES[node["type"]] + _range(node)


def _at_least(count: int | None) -> str:
    return f", {count} or more" if count else ""


def _range(node: Schema) -> str:
    if "pattern" in node:
        return f" matching {node['pattern']}"
    low, high = (
        next((node[name] for name in (end, f"exclusive{end.title()}") if name in node), None)
        for end in ("minimum", "maximum")
    )
    if low is not None and high is not None:
        left, right = "[" if "minimum" in node else "(", "]" if "maximum" in node else ")"
        return f" in {left}{low:g}, {high:g}{right}"
    return "".join(f" {sign} {node[name]:g}" for name, sign in _SIGNS.items() if name in node)


def in_yaml(value: Any) -> str:
    """Returns a value as one line of YAML, as written after a key in a configuration."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    # PyYAML ends a document that is a single scalar with "...".
    return text.removesuffix("...\n").strip()
