"""Somebody who has a folder of their own, the command, and the pages."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from command_line import BEFORE_RAY, ROOT
from shown_in_pages import unshown

# What trains and prunes; where a policy was taken to, none of it is.
HOME = ("ray", "torch", "search", "rllib_ext", "prunefront")
SECONDS = 1_800
T = TypeVar("T")


class Newcomer:
    """Types what pages show, in a folder, and says what each step took.

    Args:
        folder: New. With `fresh` the project is cloned into it and installed by `make search`, as the
            pages say; otherwise it is empty, and this environment is what is installed.
        fresh: Whether nothing is there yet: that downloads some gigabytes.
    """

    def __init__(self, folder: Path, *, fresh: bool = False):
        self.folder = folder
        # Each step with its seconds.
        self._steps: list[tuple[str, float]] = []
        self._fresh = fresh
        if fresh:
            folder.parent.mkdir(parents=True, exist_ok=True)
            clone = ["git", "clone", "--quiet", str(ROOT), str(folder)]
            self.does("git clone", lambda: self._ended(clone, folder.parent))
            self.types("make search")
        self._python = str(folder / ".venv" / "bin" / "python") if fresh else sys.executable
        # The same words with small budgets, before the environment's own command.
        command = folder / "small" / "prunefront"
        command.parent.mkdir()
        small = ROOT / "tests" / "shared" / "small_budgets.py"
        command.write_text(f'#!/bin/sh\nexec "{self._python}" "{small}" "$@"\n')
        command.chmod(0o755)

    def writes(self, name: str, text: str) -> Path:
        """A file of their own."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def types(self, command: str, place: Path | None = None) -> str:
        """Types a command that a page shows, as it is shown but for the names; returns what it says."""
        assert unshown(command) == [], f"no page shows {unshown(command)} of: {command}"
        ended = self.does(command, lambda: self._ended(["bash", "-c", command], place))
        return ended.stdout

    def runs(self, what: str, code: str) -> str:
        """Runs Python in the folder; returns what it prints."""
        return self.does(what, lambda: self._ended([self._python, "-c", code])).stdout

    def runs_elsewhere(self, what: str, script: Path) -> str:
        """Runs a script where nothing that trains or prunes can be imported."""
        start = (
            "import runpy, sys\n"
            f"sys.modules.update(dict.fromkeys({HOME!r}))\n"
            f"runpy.run_path({script.name!r}, run_name='__main__')\n"
        )
        words = [self._python, "-c", start]
        return self.does(what, lambda: self._ended(words, script.parent, ours=False)).stdout

    def shows(self, what: str, cells: list[str]) -> list[dict]:
        """Runs the cells of a notebook in one process: what each shows, by kind."""
        runner = Path(__file__).with_name("notebook_cells.py")
        words = [self._python, str(runner), json.dumps(cells)]
        return json.loads(self.does(what, lambda: self._ended(words)).stdout)

    def does(self, what: str, step: Callable[[], T]) -> T:
        """Does a step and keeps its seconds."""
        began = time.monotonic()
        try:
            return step()
        finally:
            self._steps.append((what, time.monotonic() - began))

    def tells(self, task: str) -> None:
        """Says the steps since it last did, with their seconds: `pytest -s` shows it."""
        whole = sum(seconds for _, seconds in self._steps)
        lines = [f"{seconds:8.1f} s  {what}" for what, seconds in self._steps]
        sys.stdout.write("\n".join([f"\n{task}: {whole:.1f} s", *lines, ""]))
        self._steps.clear()

    def _ended(self, words, place=None, *, ours=True):
        """A process that did what it should, without a traceback."""
        variables = {
            name: value
            for name, value in BEFORE_RAY.items()
            # A make that runs these tests speaks through its variables.
            if not name.startswith(("MAKE", "PYTHON")) and name != "VIRTUAL_ENV"
        }
        variables |= {
            "PATH": os.pathsep.join([str(self.folder / "small"), BEFORE_RAY["PATH"]]),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Whatever RLlib starts by itself is a cluster of its own.
            "RAY_ADDRESS": "local",
        }
        if ours and not self._fresh:
            variables["PYTHONPATH"] = str(ROOT)
        ended = subprocess.run(
            words, cwd=place or self.folder, env=variables, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        said = f"{' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode == 0, said
        assert "Traceback" not in ended.stdout + ended.stderr, said
        return ended
