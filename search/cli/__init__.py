"""The `prunefront` command, a file a verb."""

from search.cli.main import main

__all__ = ["main"]
