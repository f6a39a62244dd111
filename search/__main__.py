"""`python -m search` is the `prunefront` command."""

import sys
from pathlib import Path

# `python -m` puts the working directory first, where files of our packages' names may lie.
sys.path.insert(0, str(Path(__file__).parents[1]))
from prunefront.__main__ import main

sys.path.pop(0)

if __name__ == "__main__":
    main()
