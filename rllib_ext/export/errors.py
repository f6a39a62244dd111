"""The errors of exports, under prunefront's root."""

from rllib_ext.pruning.errors import PrunefrontError


class ExportError(PrunefrontError):
    """A policy cannot be exported in full, or an export cannot be loaded."""


class MismatchError(ExportError):
    """An exported policy doesn't do what the policy does that it was made from."""
