"""The `prunefront` command."""


def main() -> None:
    """Runs the command line."""
