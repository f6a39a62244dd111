"""Fenced blocks of README.md and docs/: which of them are run, and why others can't be."""

import ast
import builtins
import dataclasses
import re
import shlex
from pathlib import Path

from command_line import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(
    r"(?:^<!-- (?P<how>run in|not run): (?P<what>[^\n]*) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"\n]*)\")?\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
# First words of the commands that the tests run.
RUN = {"cc", "make", "prunefront", "python", "source", "./self_test"}
# Commands, and lines of Python, that are shown and never run; each with the reason.
NEVER = {
    r"prunefront submit\b": "it needs the address of a cluster: tests/test_submit.py has one",
    r"prunefront .* --address\b": "it needs a cluster: tests/test_nodes.py has one",
    r"make (test|test-.*|lint|bench)\b": "what runs these tests, or measures for minutes",
    r"(\.venv/bin/)?pip\b": "it downloads packages",
    r"git clone\b": "it needs the address of a repository",
    r".*\bTuner\(.*\)\.fit\(\)": "eight trainings that nothing stops",
}
# Names that a page takes from its reader, and what they stand for here.
TAKEN = {
    "ppo_config": (
        "from ray.rllib.algorithms.ppo import PPOConfig\n"
        'ppo_config = PPOConfig().environment("CartPole-v1")\n'
    ),
    "PruningConfig": "from rllib_ext import PruningConfig\n",
    "with_pruning": "from rllib_ext import with_pruning\n",
    "observation": "import numpy\nobservation = numpy.zeros(4)\n",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block.

    `never` is why it is not run, "" where it is; `place` the folder in which it is.
    """

    page: str
    line: int
    language: str
    text: str
    title: str
    never: str
    place: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, found) for found in _FENCE.finditer(text)]


def _block(page, whole, found):
    text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
    return Block(
        page=page.name,
        line=whole.count("\n", 0, found.start("language")) + 1,
        language=found["language"] or ("sh" if _is_shell(text) else "text"),
        text=text,
        title=found["title"] or "",
        never=found["what"] if found["how"] == "not run" else "",
        place=found["what"] if found["how"] == "run in" else "",
    )


def _is_shell(text):
    """Whether a block without a language holds commands and nothing else."""
    commands = commands_of(text)
    return bool(commands) and all(_first_word(command) in RUN for command in commands)


def commands_of(text: str) -> list[str]:
    """The commands of a shell block, a line each, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def _first_word(command):
    return (shlex.split(command, comments=True) or [""])[0] if _splits(command) else ""


def _splits(command):
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def never_run(line: str) -> str:
    """Why a command, or Python, that is shown anywhere is never run; "" where it is."""
    return next((why for pattern, why in NEVER.items() if re.match(pattern, line, re.DOTALL)), "")


def unknown(block: Block) -> list[str]:
    """What the tests neither run nor have a reason not to; empty where all is known."""
    if block.never or block.title or block.language in ("text", "yaml", "mermaid"):
        return []
    if block.language == "sh":
        return [
            command
            for command in commands_of(block.text)
            if _first_word(command) not in RUN and not never_run(command)
        ]
    if block.language == "python":
        return sorted(missing_names(block.text) - TAKEN.keys())
    return [f"a block in {block.language!r}"]


def missing_names(text: str) -> set[str]:
    """Names that Python reads and neither defines nor imports."""
    tree = ast.parse(text)
    read, known = set(), set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else known).add(node.id)
        elif isinstance(node, ast.alias):
            known.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
    return read - known
