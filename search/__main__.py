"""`python -m search` is the `prunefront` command."""

from search.cli import main

if __name__ == "__main__":
    main()
