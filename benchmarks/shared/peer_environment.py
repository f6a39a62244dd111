"""Sets up the Python environment in which the peers of `benchmarks.packed` are installed."""

from __future__ import annotations

import shlex
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = Path("benchmarks") / "peers" / "requirements.txt"
# Folder of the environment unless another is named.
FOLDER = Path(".venv") / "peers"
HOW = f"python -m venv {FOLDER}\n{FOLDER / 'bin' / 'python'} -m pip install --requirement {PINNED}"


class PeersError(Exception):
    """There is no environment with peers; the message says how to make one."""


def peers_python(asked: str) -> Path:
    """Returns the path of the Python that has the peers.

    Args:
        asked: Path to it; empty for that of this project's own folder for peers, which is created and
            filled if it doesn't exist yet.

    Raises:
        PeersError: There is none, or the peers can't be installed.
    """
    if asked:
        # Not resolved, because a venv's Python is a link to one that knows nothing of the venv.
        python = Path(asked).absolute()
        if not python.is_file():
            raise PeersError(
                f"--peers {asked}: there is no such file; expected the Python of an environment with "
                f"the peers. It is made so:\n{HOW}"
            )
        return python
    python, marker = ROOT / FOLDER / "bin" / "python", ROOT / FOLDER / ".installed"
    pinned = (ROOT / PINNED).read_text()
    if marker.exists() and marker.read_text() == pinned:
        return python
    print(f"installing the peers, once:\n{HOW}\n", flush=True)
    if not python.exists():
        venv.create(ROOT / FOLDER, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(ROOT / PINNED)]
    if subprocess.run(command, check=False).returncode != 0:
        raise PeersError(
            f"the peers can't be installed: {shlex.join(command)} failed. Mend what it says, name "
            "another environment with --peers PYTHON, or leave the peers out with --no-peers."
        )
    marker.write_text(pinned)
    return python
