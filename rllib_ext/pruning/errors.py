"""The errors that prunefront raises on purpose, under one root.

    PrunefrontError
    ├── ConfigError       what was asked for is wrong
    │   └── TraceError    units of a network cannot be followed
    ├── CheckpointError   a checkpoint cannot be used
    ├── ScoreError        a criterion gave scores that cannot be ranked
    ├── ShrinkError       a module has no smaller one with equal outputs
    ├── ResultsError      a results folder cannot be used
    └── RunError          a run failed; what is on disk is safe
        └── UnseenFolderError   a node doesn't see the results folder

Every message says what was given, what was expected and how to mend it.
"""


class PrunefrontError(Exception):
    """Root of all errors that prunefront raises on purpose."""


class ConfigError(PrunefrontError, ValueError):
    """What was asked for is wrong: a value out of range, an unknown name, a contradiction."""


class TraceError(ConfigError):
    """Runs of a network don't show what its units reach, which all but single weights need.

    Args:
        reason: Why, as a clause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}, so its units cannot be followed. Use granularity='weight' for it."


class CheckpointError(PrunefrontError):
    """A checkpoint is missing, truncated or not of the expected kind."""


class ScoreError(PrunefrontError):
    """A criterion gave scores that cannot be ranked, such as NaN."""


class ShrinkError(PrunefrontError):
    """A masked module cannot be made smaller with equal outputs."""


class ResultsError(PrunefrontError):
    """A results folder is missing, empty, in use, or not a results folder."""


class RunError(PrunefrontError):
    """A run failed; its message says what is safe on disk."""


# What messages of it say: of an error in another process, often only the text is left.
NOT_SEEN = "is not seen by"


class UnseenFolderError(RunError):
    """A node doesn't see the results folder; the message names the node."""
