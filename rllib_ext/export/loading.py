"""An exported policy, ready to act: needs neither Ray nor RLlib, and unpickles nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_ext.export.errors import ExportError
from rllib_ext.export.forms import PROGRAM, read, run_form
from rllib_ext.export.numpy_loader import Policy
from rllib_ext.export.numpy_loader import load as load_numpy
from rllib_ext.export.storage import described

CONTRACT = "policy.json"


def contract_of(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of an export and what its `policy.json` says.

    Raises:
        ExportError: It is no export.
    """
    folder = Path(path)
    folder = folder.parent if folder.is_file() else folder
    missing = [name for name in (CONTRACT, PROGRAM) if not (folder / name).is_file()]
    if missing:
        raise ExportError(
            f"{folder} is not an exported policy: {' and '.join(missing)} missing. Expected a folder "
            "that `prunefront export` wrote."
        )
    try:
        values = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
        form = values["form"]
        form["format"], form["main"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"{folder / CONTRACT} can't be read: {error}. Export the policy again."
        ) from error
    return folder, values


def load(path: str | Path) -> Policy:
    """Loads an exported policy.

    Nothing is unpickled; C is only compiled where it is word for word what this version writes for the
    weights beside it.

    Args:
        path: The folder that `prunefront export` wrote, or a file in it.

    Returns:
        `policy(observation)` gives the environment's action, of one observation or of a batch, nested as
        the environment's spaces; `policy.reset()` forgets; `policy.outputs(observation)` also gives the
        parameters of the action's distribution.

    Raises:
        ExportError: It is no export, damaged, tampered with, or what runs it is missing here.
    """
    folder, values = contract_of(path)
    program = read(folder)
    run = run_form(folder, program, values["form"])
    if run is None:
        return load_numpy(folder / PROGRAM)
    return Policy(described(program), run)
