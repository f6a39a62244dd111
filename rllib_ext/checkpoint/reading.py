"""An algorithm's checkpoint that RLlib itself wrote: what it is, and the configuration in it.

RLlib's checkpoints are pickles: reading one runs code from it. `check_layout` reads names only.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_ext.checkpoint.foreign import foreign
from rllib_ext.policy.store import MASKS
from rllib_ext.pruning.errors import CheckpointError, PrunefrontError

MARK = "rllib_checkpoint.json"
CONSTRUCTOR = "class_and_ctor_args.pkl"
# RLlib skips a missing part without a word, and would go on with fresh weights.
_LEARNER = "learner_group/learner"
_STATES = (
    "algorithm_state",
    f"{_LEARNER}/state",
    f"{_LEARNER}/rl_module/{DEFAULT_MODULE_ID}/module_state",
)
_CONNECTORS = ("env_runner/env_to_module_connector", "env_to_module_connector")
_EXPECTED = "Expected the folder that algo.save_to_path(), algo.save() or Ray Tune wrote."
# What a damaged pickle, or one whose classes are missing here, can raise.
UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    OSError,
    RuntimeError,
    AssertionError,
)


def check_layout(folder: Path) -> None:
    """Checks whether a folder can be a checkpoint of PPO's new API stack; runs no code from it.

    Raises:
        CheckpointError: The checkpoint is missing, something else, of the old API stack, of several
            agents, or incomplete.
    """
    if theirs := foreign(folder):
        raise CheckpointError(theirs)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise CheckpointError(f"{folder} {what}. {_EXPECTED}")
    if (folder / MASKS).is_file():
        raise CheckpointError(
            f"{folder} is a saved policy, which has no optimizer and no training configuration. "
            f"{_EXPECTED}"
        )
    _refuse_old_stack(folder)
    if not (folder / MARK).is_file():
        raise CheckpointError(
            f"{folder} is not a checkpoint of an RLlib algorithm: it holds no {MARK}.{_inside(folder)} "
            f"{_EXPECTED}"
        )
    missing = [name for name in (CONSTRUCTOR,) if not (folder / name).is_file()]
    _refuse_other_modules(folder)
    missing += [f"{name}.pkl" for name in _STATES if not _has_state(folder, name)]
    if not any((folder / name).is_dir() for name in _CONNECTORS):
        missing.append(_CONNECTORS[0])
    if missing:
        raise CheckpointError(
            f"{folder} is incomplete: {', '.join(missing)} missing. Copy the checkpoint again, with "
            "all its folders, or take an earlier one."
        )


def read_ppo_config(folder: Path) -> PPOConfig:
    """The configuration that a checkpoint's algorithm was built from. Runs code from the checkpoint.

    Raises:
        CheckpointError: `check_layout` refuses the folder, it can't be read, or its algorithm isn't PPO.
    """
    check_layout(folder)
    with readable(folder):
        constructor = pickle.loads((folder / CONSTRUCTOR).read_bytes())
        algorithm_class = constructor["class"]
        given = constructor["ctor_args_and_kwargs"][0][0]
        if not (isinstance(algorithm_class, type) and issubclass(algorithm_class, PPO)):
            name = getattr(algorithm_class, "__name__", algorithm_class)
            raise CheckpointError(
                f"{folder} is a checkpoint of {name}; expected one of PPO. Other algorithms are not "
                "supported."
            )
        config: Any = AlgorithmConfig.from_state(given) if isinstance(given, dict) else given
    if not isinstance(config, PPOConfig):
        raise CheckpointError(
            f"{folder} holds a {type(config).__name__}; expected a PPOConfig. Save the checkpoint again "
            f"with Ray {ray.__version__}."
        )
    config.algo_class = algorithm_class
    return config


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Turns what reading a damaged or foreign checkpoint raises into one clear error.

    Raises:
        CheckpointError: Something in the block could not be read.
    """
    try:
        yield
    except PrunefrontError:
        raise
    except UNREADABLE as error:
        raise CheckpointError(
            f"{folder} cannot be read: {type(error).__name__}: {error}. {_mend(folder, error)}"
        ) from error


def _mend(folder: Path, error: BaseException) -> str:
    if isinstance(error, ImportError | AttributeError):
        return (
            "It names code that is not here: install it, or run this in the folder that it lies in."
        )
    written = _metadata(folder).get("ray_version")
    if written and written != ray.__version__:
        return f"It was written by Ray {written}, and this is Ray {ray.__version__}: use the same."
    return "It is damaged: copy it again, or take an earlier one."


def _has_state(folder: Path, name: str) -> bool:
    return any((folder / f"{name}.{suffix}").is_file() for suffix in ("pkl", "msgpack"))


def _modules(folder: Path) -> list[str]:
    modules = folder / _LEARNER / "rl_module"
    return sorted(p.name for p in modules.iterdir() if p.is_dir()) if modules.is_dir() else []


def _refuse_other_modules(folder: Path) -> None:
    modules = _modules(folder)
    others = [name for name in modules if name != DEFAULT_MODULE_ID]
    if not others:
        return
    if len(others) < len(modules):
        raise CheckpointError(
            f"{folder} holds more modules than the policy's, {DEFAULT_MODULE_ID}: {', '.join(others)}. "
            "Expected the policy alone: neither other agents' policies (multi-agent) nor modules that "
            "only train beside it, such as a model of curiosity, are supported. Train without them."
        )
    if len(others) == 1:
        raise CheckpointError(
            f"{folder} holds a policy named {others[0]!r}; expected {DEFAULT_MODULE_ID!r}, RLlib's name "
            "of a single agent's. Train without multi_agent(policies=...); environments of several "
            "agents are not supported."
        )
    raise CheckpointError(
        f"{folder} is a multi-agent checkpoint, of {', '.join(others)}; expected one policy, named "
        f"{DEFAULT_MODULE_ID}. Train and prune each policy by itself."
    )


def _refuse_old_stack(folder: Path) -> None:
    version = str(_metadata(folder).get("checkpoint_version", "2"))
    numbered = any(p.is_file() for p in folder.glob("checkpoint-*"))
    if version.partition(".")[0] in ("0", "1") or numbered or _has_state(folder, "policy_state"):
        raise _old_stack(folder)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / MARK
    try:
        values = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON: {error}. The checkpoint is damaged: copy it again, or take an "
            "earlier one."
        ) from error
    return values if isinstance(values, dict) else {}


def _inside(folder: Path) -> str:
    """Returns the place of the latest checkpoint in one of Tune's folders; empty if there is none."""
    found = sorted(p.parent for depth in ("*", "*/*") for p in folder.glob(f"{depth}/{MARK}"))
    return f" Did you mean {found[-1]}?" if found else ""


def _old_stack(folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{folder} is a checkpoint of RLlib's old API stack; expected the new one. Train again without "
        "api_stack(enable_rl_module_and_learner=False, ...)."
    )
