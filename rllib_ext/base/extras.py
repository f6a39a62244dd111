"""Instructions to install optional dependencies."""

from __future__ import annotations


def install(extra: str) -> str:
    """The command that installs an extra, for the end of a message."""
    return (
        f"pip install 'prunefront[{extra}]' (in the checkout: .venv/bin/pip install -c constraints.txt "
        f"-e '.[{extra}]')"
    )
