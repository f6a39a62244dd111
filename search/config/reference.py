"""Every key that a configuration can have, read from the classes that check it.

Imports neither Ray nor torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel

from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig

REQUIRED = "required"
# The search knows a member's horizon and refuses another one.
_SET_BY_THE_SEARCH = "pruning.horizon"
_SEARCHED = (
    "One searched hyperparameter. PATH is pruning.… (a key of pruning) or training.… (a keyword of "
    "PPOConfig.training)."
)
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a configuration.

    Attributes:
        path: As an override names it; "[]" stands for an item of a list, PATH for a hyperparameter.
        kind: What its value is, with its range where the model tells one; "" for a group of keys.
        default: As YAML, or "required"; "" for a group.
        meaning: What the docstring of its class says; "" where that says nothing.
    """

    path: str
    kind: str
    default: str
    meaning: str


def keys() -> list[Key]:
    """All keys in the order of the models, what lies below a key right behind it."""
    return list(_walk(ExperimentConfig))


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


@dataclasses.dataclass(frozen=True)
class _Field:
    """What a pydantic model and a dataclass tell alike about an attribute."""

    name: str
    hint: Any
    limits: Mapping[str, Any]
    required: bool
    value: Any


def _fields(owner: Any) -> Iterator[_Field]:
    if issubclass(owner, BaseModel):
        for name, info in owner.model_fields.items():
            limits = _limits(info.metadata)
            value = info.get_default(call_default_factory=True)
            yield _Field(name, info.annotation, limits, info.is_required(), value)
        return
    hints = typing.get_type_hints(owner)
    for field in dataclasses.fields(owner):
        required = field.default is dataclasses.MISSING
        yield _Field(field.name, hints[field.name], {}, required, field.default)


def _limits(metadata: Iterable[Any]) -> dict[str, Any]:
    names = (*_SIGNS, "min_length", "pattern")
    return {name: getattr(m, name) for m in metadata for name in names if hasattr(m, name)}


def _walk(owner: Any, before: str = "", of: str = "", without: str = "") -> Iterator[Key]:
    """The keys of a class.

    Args:
        owner: A pydantic model or a dataclass.
        before: What their paths begin with.
        of: What their meanings begin with.
        without: A name that is left out.
    """
    meanings = _meanings(owner)
    for field in _fields(owner):
        path = before + field.name
        if field.name == without or path == _SET_BY_THE_SEARCH:
            continue
        meaning = of + meanings[field.name] if field.name in meanings else ""
        if _is_group(field.hint):
            yield Key(path, "", "", meaning)
            yield from _walk(field.hint, f"{path}.")
            continue
        yield Key(path, _kind(field.hint, field.limits), _default(field), meaning)
        item = _item(field.hint)
        if _is_group(item):
            yield from _walk(item, f"{path}[].")
        elif typing.get_origin(item) is Annotated:
            yield from _walk_either(item, f"{path}.PATH")


def _walk_either(hint: Any, path: str) -> Iterator[Key]:
    """The keys of a value that is of one of several models, told apart by a key of theirs."""
    union, mark = typing.get_args(hint)
    tag = mark.discriminator
    models = {_tag(model, tag): model for model in typing.get_args(union)}
    yield Key(path, "", "", _SEARCHED)
    meanings = (f'"{name}": {_summary(model)}' for name, model in models.items())
    yield Key(f"{path}.{tag}", " | ".join(models), REQUIRED, " ".join(meanings))
    for name, model in models.items():
        yield from _walk(model, f"{path}.", of=f"Of {tag} {name}: ", without=tag)


def _tag(model: Any, tag: str) -> str:
    return str(typing.get_args(model.model_fields[tag].annotation)[0])


def _summary(owner: Any) -> str:
    return inspect.cleandoc(owner.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _meanings(owner: Any) -> dict[str, str]:
    """What the "Attributes:" section of a class's docstring says, by name."""
    section = inspect.cleandoc(owner.__doc__ or "").partition("\nAttributes:\n")[2]
    found: dict[str, list[str]] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if entry := re.match(r" {4}(\w+): (.+)", line):
            name, text = entry.groups()
            found[name] = [text]
        elif name and line.strip():
            found[name].append(line.strip())
    return {name: " ".join(lines) for name, lines in found.items()}


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and (
        issubclass(hint, BaseModel) or dataclasses.is_dataclass(hint)
    )


def _item(hint: Any) -> Any:
    """The type of a mapping's or a list's values; None where it is neither."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is dict:
        return arguments[1]
    if typing.get_origin(hint) is not tuple:
        return None
    item = arguments[0]
    # Annotations of a list's item only say how it is read and written.
    return typing.get_args(item)[0] if typing.get_origin(item) is Annotated else item


def _is_mapping(hint: Any) -> bool:
    """Whether YAML writes it as a mapping; a frozen class holds one as pairs."""
    item = _item(hint)
    pairs = typing.get_origin(item) is tuple and typing.get_args(item)[0] is str
    return pairs or typing.get_origin(hint) is dict


def _kind(hint: Any, limits: Mapping[str, Any]) -> str:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [_kind(option, limits) for option in typing.get_args(hint)]
        null = options.count("null") > 0
        return " | ".join(kind for kind in options if kind != "null") + " or null" * null
    if hint is types.NoneType:
        return "null"
    if origin is Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if _is_mapping(hint):
        return "mapping" + _length(limits)
    if origin is tuple:
        item = _item(hint)
        return f"list of {'mappings' if _is_group(item) else _kind(item, {})}" + _length(limits)
    return f"{hint.__name__}{_range(limits)}"


def _length(limits: Mapping[str, Any]) -> str:
    return f", {limits['min_length']} or more" if "min_length" in limits else ""


def _range(limits: Mapping[str, Any]) -> str:
    if "pattern" in limits:
        return f" matching {limits['pattern']}"
    low, high = (
        next((limits[name] for name in names if name in limits), None)
        for names in (("ge", "gt"), ("le", "lt"))
    )
    if low is not None and high is not None:
        left, right = "[" if "ge" in limits else "(", "]" if "le" in limits else ")"
        return f" in {left}{low:g}, {high:g}{right}"
    return "".join(f" {sign} {limits[name]:g}" for name, sign in _SIGNS.items() if name in limits)


def _default(field: _Field) -> str:
    if field.required:
        return REQUIRED
    value = dict(field.value) if _is_mapping(field.hint) else field.value
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf
    )
    # YAML marks the end of a document that is one bare value.
    return text.removesuffix("...\n").strip()
