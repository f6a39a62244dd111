"""Every key that a configuration can have, as the JSON Schema of the classes that check it says.

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
        path: Dotted path, as an override names it; "[]" stands for an item of a list, PATH
            for a hyperparameter.
        kind: What its value is, with its range where the model tells one; "" for a group of keys.
        default: The default as YAML, or "required"; "" for a group.
        meaning: Description of the key; "" where it has none.
    """

    path: str
    kind: str
    default: str
    meaning: str


def keys() -> list[Key]:
    """All keys in the order of the models, what lies below a key right behind it."""
    return keys_of(schema())


def keys_of(whole: Schema) -> list[Key]:
    """All keys of what a JSON Schema describes."""
    return list(_walk(whole, whole.get("$defs", {})))


def schema() -> Schema:
    """The JSON Schema of a configuration file, such as editors complete and check one by."""
    whole = ExperimentConfig.model_json_schema()
    # The search knows a member's horizon and refuses another one.
    del whole["$defs"]["PruningConfig"]["properties"]["horizon"]
    written: Schema = _as_written(whole)
    return {"$schema": _DIALECT, **written}


def find(words: Iterable[str]) -> list[Key]:
    """The keys whose path or meaning contains all of some words, however they are capitalised.

    Raises:
        ConfigError: There are none.
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
    """Paths that resemble a word, all of them or their last name; the nearest first."""
    paths: dict[str, list[str]] = {}
    for path in dict.fromkeys(key.path for key in among):
        for name in {path, path.rpartition(".")[2]}:
            paths.setdefault(name, []).append(path)
    near = difflib.get_close_matches(word.lower(), paths, n=3)
    return list(dict.fromkeys(path for name in near for path in paths[name]))


def _as_written(node: Any) -> Any:
    """A part of a schema with descriptions in one line, and pairs as the mapping that YAML has there."""
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
    """The keys of a model.

    Args:
        node: JSON Schema of the key.
        models: Schemas of all models, by name.
        before: What its keys' paths begin with.
        of: What their meanings begin with.
        without: A name that is left out.
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
    """The keys of a value that is of one of several models, told apart by a key of theirs."""
    tag = node["discriminator"]["propertyName"]
    either = [_model(one, models) for one in node["oneOf"]]
    named = {str(model["properties"][tag]["const"]): model for model in either}
    yield Key(path, "", "", _SEARCHED)
    meanings = (f'"{name}": {model["description"]}' for name, model in named.items())
    yield Key(f"{path}.{tag}", " | ".join(named), REQUIRED, " ".join(meanings))
    for name, model in named.items():
        yield from _walk(model, models, f"{path}.", of=f"Of {tag} {name}: ", without=tag)


def _model(node: Schema, models: Schema) -> Schema:
    """The model that a part of a schema refers to; empty where it refers to none."""
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
    """A value as a configuration has it behind a key, in one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    # YAML marks the end of a document that is one bare value.
    return text.removesuffix("...\n").strip()
