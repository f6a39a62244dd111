"""The configuration that a results folder keeps, as plain values: it may be damaged."""

from __future__ import annotations

from typing import Any

import yaml


def plain_values(text: str) -> dict[str, Any]:
    """The values of a configuration; empty where it is missing or can't be read.

    Args:
        text: `config.yaml`, verbatim.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
