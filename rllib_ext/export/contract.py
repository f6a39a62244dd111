"""The contents of `policy.json`, as plain values that are readable without Gymnasium."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from rllib_ext.evaluation.evaluator import Episodes
from rllib_ext.export.errors import ExportError
from rllib_ext.export.program import Program


def spaces_of(observation: Any, action: Any, program: Program) -> dict[str, Any]:
    """Returns the spaces, and the name of each part in an export.

    Args:
        observation: The environment's observation space.
        action: Its action space.
        program: The exported program.
    """
    numbers = program.numbers
    return {
        "observation_space": space_values(observation),
        "action_space": space_values(action),
        "inputs": [
            {
                "name": given.name,
                "path": list(given.path),
                "shape": list(program.nodes[numbers[given.name]].shape),
                "dtype": program.nodes[numbers[given.name]].dtype,
                **({"noise": given.noise} if given.noise else {}),
            }
            for given in program.given
        ],
        "outputs": [
            {
                "name": result.name,
                "path": None if result.path is None else list(result.path),
                "shape": list(program.nodes[result.node].shape),
                "dtype": result.dtype,
                "meaning": "a part of the action"
                if result.is_action
                else "of the action's distribution",
            }
            for result in program.results
        ],
        "state": [
            {"name": c.name, "shape": list(c.initial.shape), "initial": _short(c.initial)}
            for c in program.carried
        ],
    }


def space_values(space: Any) -> dict[str, Any]:
    """A space as plain values.

    Raises:
        ExportError: A kind of space that no export has.
    """
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        parts = {str(key): space_values(value) for key, value in space.spaces.items()}
        return {"kind": "Dict", "parts": parts}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "parts": [space_values(value) for value in space.spaces]}
    if isinstance(space, spaces.Box):
        return {
            "kind": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bound(space.low),
            "high": _bound(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
    raise ExportError(f"{space} has no place in an export; expected Box, Discrete and the like.")


def return_interval(episodes: Episodes) -> dict[str, Any]:
    """Mean return with a 95 % interval, percentiles of means of resampled episodes, as plain values."""
    returns = np.array(episodes.returns)
    rng = np.random.default_rng(0)
    means = returns[rng.integers(0, len(returns), (2000, len(returns)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": float(returns.mean()),
        "low": float(low),
        "high": float(high),
        "episodes": len(returns),
        "seeds": [episodes.seeds[0], episodes.seeds[-1]],
    }


def about(contract: Mapping[str, Any], *, int8: bool = False) -> tuple[str, ...]:
    """Returns the lines of the header of a policy in C.

    Args:
        contract: Contents of `policy.json`.
        int8: Whether its weights were rounded to 8 bits, and so its return is another.
    """
    returns = contract["return"]["verification"]
    size = contract["size"]
    lines = [
        f"A policy for {contract['environment']}, written by prunefront {contract['prunefront']}.",
        "",
        f"{size['weights']:,} weights (dense: {size['dense_weights']:,}), "
        f"{size['multiply_accumulates']:,} multiply-accumulates a decision.",
        f"Mean return {_of_which(contract, int8)}{returns['mean']:.6g} (95 % interval "
        f"{returns['low']:.6g} to {returns['high']:.6g}) over {returns['episodes']} episodes.",
        *(f"Inside: {note}." for note in contract["preprocessing"]),
        "What comes in, what comes out and what was verified: policy.json.",
    ]
    return tuple(lines)


def _of_which(contract: Mapping[str, Any], int8: bool) -> str:
    """Returns which policy had the return, if that isn't the exported one; empty otherwise."""
    parts = ["its most likely actions"] if contract["stochastic"] else []
    parts += ["its weights before they were rounded to 8 bits"] if int8 else []
    return f"of {' and '.join(parts)}: " if parts else ""


def metadata(contract: Mapping[str, Any]) -> dict[str, str]:
    """Plain text for a model's own metadata."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in contract.items()
        if key != "not_verified"
    }


def _bound(values: Any) -> Any:
    """A bound as one number where all are equal; None where there is none."""
    array = np.asarray(values, np.float64)
    finite = np.where(np.isfinite(array), array, np.nan)
    if array.size and (array == array.flat[0]).all():
        return float(array.flat[0]) if np.isfinite(array.flat[0]) else None
    return [None if np.isnan(value) else float(value) for value in finite.ravel()]


def _short(values: Any) -> Any:
    array = np.asarray(values)
    if array.size and (array == array.flat[0]).all():
        return float(array.flat[0])
    return array.tolist()
