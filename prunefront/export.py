"""Exported policies: `prunefront.export.load(folder)` runs one without Ray."""

from typing import TYPE_CHECKING, Any

from rllib_ext import export

if TYPE_CHECKING:
    from rllib_ext.export import export_policy, load

__all__ = ["export_policy", "load"]


def __getattr__(name: str) -> Any:
    return getattr(export, name)
