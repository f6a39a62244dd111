"""A place that looks like a checkout to a reader of the pages, where their blocks are run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from command_line import BEFORE_RAY, ROOT
from page_blocks import TAKEN, Block, commands_of, missing_names, never_run

import search

# What a checkout has and a reader's doesn't share with it.
OWN = {".cache", ".git", ".hypothesis", ".venv", "build", "results"}
SECONDS = 900
# Installing from a sandbox would point the environment that runs the tests at a folder that goes.
NO_PIP = 'if [ "$1 $2" = "-m pip" ]; then echo "pip, in a sandbox" >&2; exit 1; fi'
# Results folders as pages write them: date and time are left out.
_ELLIPSIS = re.compile(r"results/([a-z_]+)-…")
_SNAPSHOT = re.compile(r"\bm\d\d-s\d{3}-i\d{4}\b")
# A long training of a page's Python, cut short.
_LONG = re.compile(r"(\"env_steps\": )[\d_]+")


class Sandbox:
    """One page's: its blocks find what earlier ones have left there.

    Args:
        folder: Empty.
        prepared: Folders that a page may take as given, by what it calls them; each is copied once it is
            named and nothing has made it.
    """

    def __init__(self, folder: Path, prepared: dict[str, Path]):
        self.folder = folder
        self._prepared = prepared
        for path in ROOT.iterdir():
            if path.name not in OWN:
                (folder / path.name).symlink_to(path)
        # Zensical builds beside the file itself, wherever a link to it lies.
        (folder / "zensical.toml").unlink()
        shutil.copy(ROOT / "zensical.toml", folder)
        (folder / "results").mkdir()
        for name in ("README.md", "example"):
            (folder / "results" / name).symlink_to(ROOT / "results" / name)
        self._make_environment()

    def _make_environment(self):
        """Commands of a checkout's .venv; `prunefront` with small budgets."""
        place = self.folder / ".venv" / "bin"
        place.mkdir(parents=True)
        here = Path(sys.executable).parent
        scripts = {
            "python": f'{NO_PIP}\nexec "{sys.executable}" "$@"',
            "prunefront": f'exec "{sys.executable}" "{ROOT}/tests/shared/small_budgets.py" "$@"',
            "zensical": f'exec "{here}/zensical" "$@"',
        }
        for name, command in scripts.items():
            (place / name).write_text(f"#!/bin/sh\n{command}\n")
            (place / name).chmod(0o755)
        (place / "activate").write_text(f'PATH="{place}:$PATH"\n')
        # Newer than what it was installed from.
        (self.folder / ".venv" / ".installed").touch()
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for name in project["optional-dependencies"]:
            (self.folder / ".venv" / f".extra-{name}").touch()

    def run(self, block: Block) -> subprocess.CompletedProcess | None:
        """Runs a block, or writes the file that its title names; None where nothing was run."""
        if block.title:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            return None
        if block.never or block.language not in ("sh", "python"):
            return None
        self._provide(f"{block.place}\n{block.text}")
        place = self.folder / self._named(block.place)
        if block.language == "python":
            return None if never_run(block.text) else self._python(block.text, place)
        commands = [c for c in commands_of(block.text) if not never_run(c)]
        if not commands:
            return None
        return self.shell(map(self._named, commands), place)

    def shell(
        self, commands: Iterable[str], place: Path | None = None
    ) -> subprocess.CompletedProcess:
        """Runs commands one after the other, until one of them fails."""
        return self._ended(["bash", "-c", "\n".join(["set -eu", *commands])], place or self.folder)

    def _python(self, text, place):
        taken = [code for name, code in TAKEN.items() if name in missing_names(text)]
        text = _LONG.sub(r"\g<1>8_000", self._named(text))
        return self._ended([sys.executable, "-c", "".join([*taken, text])], place)

    def _ended(self, words, place):
        variables = {
            **BEFORE_RAY,
            "PATH": f"{self.folder / '.venv' / 'bin'}:{BEFORE_RAY['PATH']}",
            "PYTHONPATH": f"{self.folder}:{ROOT}:{BEFORE_RAY.get('PYTHONPATH', '')}".rstrip(":"),
            # Whatever RLlib starts by itself is a cluster of its own.
            "RAY_ADDRESS": "local",
        }
        # A make that runs these tests speaks through its variables.
        variables = {k: v for k, v in variables.items() if not k.startswith("MAKE")}
        return subprocess.run(
            words, cwd=place, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
        )  # fmt: skip

    def _provide(self, text):
        """Copies what a block names and no earlier one has made."""
        for name, source in self._prepared.items():
            place = self.folder / name.replace("…", "prepared")
            made = any(place.parent.glob(place.name.replace("prepared", "*")))
            if name in text and not made:
                shutil.copytree(source, place)

    def _named(self, text):
        """What a page writes for any results folder, or policy, made the one that is here."""
        text = _ELLIPSIS.sub(lambda found: self._newest(found[1]), text)
        if _SNAPSHOT.search(text):
            folder = search.load(self.folder / self._newest("cartpole"))
            text = _SNAPSHOT.sub(folder.confirmed.pick(folder.pick), text)
        return text

    def _newest(self, name):
        found = sorted(self.folder.glob(f"results/{name}-*"), key=os.path.getmtime)
        assert found, f"a page names results/{name}-… before anything has made it"
        return shlex.quote(str(found[-1].relative_to(self.folder)))
