"""The `prunefront` command, `python -m prunefront` too."""

from search.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
