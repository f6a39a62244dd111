"""Reads the configuration kept in a results folder as plain values, even if it is damaged."""

from __future__ import annotations

from typing import Any

import yaml


def plain_values(text: str) -> dict[str, Any]:
    """Returns the values of a configuration; empty if it is missing or can't be read.

    Args:
        text: Text of `config.yaml`.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
