import sys

import pytest

from benchmarks.shared import peer_environment
from benchmarks.shared.peer_environment import PINNED, ROOT, PeersError, peers_python


def test_a_python_that_is_named_is_taken_as_it_is(tmp_path):
    # A venv's Python is a link: what it links to has other packages.
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert peers_python(str(link)) == link


def test_one_that_is_not_there_says_how_it_is_made(tmp_path):
    with pytest.raises(PeersError, match="no such file") as caught:
        peers_python(str(tmp_path / "none"))
    assert f"pip install --requirement {PINNED}" in str(caught.value)


def test_the_projects_own_is_filled_once_and_again_when_other_versions_are_pinned(
    tmp_path, monkeypatch
):
    (tmp_path / PINNED).parent.mkdir(parents=True)
    (tmp_path / PINNED).write_text("it==1\n")
    asked = []

    class Done:
        returncode = 0

    monkeypatch.setattr(peer_environment, "ROOT", tmp_path)
    monkeypatch.setattr(
        peer_environment.venv,
        "create",
        lambda folder, **_: folder.mkdir(parents=True, exist_ok=True),
    )
    monkeypatch.setattr(
        peer_environment.subprocess, "run", lambda command, **_: asked.append(command) or Done()
    )
    python = peers_python("")
    assert python == tmp_path / ".venv" / "peers" / "bin" / "python"
    assert asked == [
        [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(tmp_path / PINNED)]
    ]
    peers_python("")
    assert len(asked) == 1
    (tmp_path / PINNED).write_text("it==2\n")
    peers_python("")
    assert len(asked) == 2
    (tmp_path / PINNED).write_text("it==3\n")
    Done.returncode = 1
    with pytest.raises(PeersError, match="can't be installed"):
        peers_python("")
    Done.returncode = 0
    peers_python("")
    assert len(asked) == 4


def test_peers_have_the_versions_that_the_project_is_tested_with():
    lines = (ROOT / PINNED).read_text().splitlines()
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    ours = {line.partition("==")[0].lower() for line in constraints}
    [link] = [line.removeprefix("-c ") for line in lines if line.startswith("-c ")]
    assert ((ROOT / PINNED).parent / link).resolve() == ROOT / "constraints.txt"
    for line in lines:
        if line and not line.startswith(("#", "-c")):
            name, pinned, _ = line.partition("==")
            # Exactly one of the two says which version it is.
            assert bool(pinned) != (name.lower() in ours), line
