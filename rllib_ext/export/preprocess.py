"""From a raw observation to what the module is shown: RLlib's connectors as nodes of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import tree
from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
)
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.connectors.common.frame_stacking import FrameStacking
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.numpy import SMALL_NUMBER

from rllib_ext.export.builder import FLOAT, Builder
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import Concat, Normalise, OneHot, Path
from rllib_ext.export.trace import leaves
from rllib_ext.rl.preprocess.stack_frames import StackFrames

# What these do to one observation is what an export does anyhow: add the batch, make it a tensor.
_NOTHING = (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
)


def observe(builder: Builder, space: gymnasium.Space[Any], pipeline: Any) -> Any:
    """Adds the inputs for a raw observation and the connectors' preprocessing.

    Args:
        builder: Builder that the nodes are added to.
        space: The environment's.
        pipeline: RLlib's, from episodes to the module's batch, with its state.

    Returns:
        Nodes, nested as what the module is shown.

    Raises:
        ExportError: A connector, or a part of the space, that no export can do.
    """
    observed = _inputs(builder, space, ())
    for connector in pipeline.connectors:
        kind = type(connector)
        if kind in _NOTHING:
            continue
        if kind not in _KNOWN:
            raise ExportError(
                f"the connector {kind.__name__} can't be exported: what it does is Python code of its "
                f"own. Expected only {', '.join(sorted(k.__name__ for k in _KNOWN))} beside RLlib's "
                "standard ones. Do its work in the environment or in the RLModule, and train again."
            )
        space = connector.input_observation_space or space
        observed = _KNOWN[kind](builder, observed, space, connector)
    return observed


def _inputs(builder: Builder, space: Any, path: Path) -> Any:
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        return {
            key: _inputs(builder, space.spaces[key], (*path, key)) for key in sorted(space.spaces)
        }
    if isinstance(space, spaces.Tuple):
        return tuple(_inputs(builder, s, (*path, i)) for i, s in enumerate(space.spaces))
    if isinstance(space, spaces.Box):
        kind = FLOAT if np.issubdtype(space.dtype, np.floating) else "int64"
        kind = "uint8" if space.dtype == np.uint8 else kind
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        kind = "int64"
    else:
        raise ExportError(
            f"observations of {space} can't be exported: expected Box, Discrete, MultiDiscrete, "
            "MultiBinary, and Dict and Tuple of these. Turn it into one of them in the environment."
        )
    return builder.given(builder.name("observation", path), path, tuple(space.shape or ()), kind)


def _filter(builder: Builder, observed: Any, space: Any, connector: Any) -> Any:
    if connector._filters is None:
        connector._init_new_filters()
    filters = list(connector._filters.values())
    if len(filters) != 1:
        raise ExportError(
            "a filter over several agents can't be exported. Export each agent's policy by itself."
        )
    found = filters[0]
    statistics = dict(leaves(found.running_stats))
    boxes = _real_boxes(space)
    builder.notes.append(_filter_note(found, _pushes(statistics)))

    def normalised(path: Path, node: int) -> int:
        if path not in boxes:
            return node
        stat = statistics[path]
        shape = builder.shape(node)
        mean = np.zeros(shape) + (np.asarray(stat.mean, np.float64) if found.demean else 0.0)
        scale = np.zeros(shape) + (
            np.asarray(stat.std, np.float64) + SMALL_NUMBER if found.destd else 1.0
        )
        clip = float(found.clip) if found.clip else float("inf")
        return builder.add(Normalise(mean=mean, scale=scale, clip=clip), node)

    return _mapped(normalised, observed)


def _filter_note(found: Any, steps: int) -> str:
    taken = ["minus mean"] if found.demean else []
    taken += ["divided by standard deviation"] if found.destd else []
    if not taken:
        return f"observation clipped to ±{found.clip}"
    how = ", ".join(taken)
    return f"observation filter: {how} of {steps:,} training steps, clipped to ±{found.clip}"


def _pushes(statistics: dict[Path, Any]) -> int:
    return max((int(s.n) for s in statistics.values() if s is not None), default=0)


def _real_boxes(space: Any) -> set[Path]:
    """Returns the paths of the parts that a filter normalises."""
    spaces = gymnasium.spaces
    filtered = [
        (path, s) for path, s in leaves(_base(space))
        if not isinstance(s, spaces.Discrete | spaces.MultiDiscrete)
    ]  # fmt: skip
    for _, found in filtered:
        if not np.issubdtype(found.dtype, np.floating):
            raise ExportError(
                f"a filter of {found} can't be exported: RLlib's MeanStdFilter keeps the number format, "
                "and cuts what it normalised to whole numbers. Put FlattenObservations before it, which "
                "gives floats, and train again."
            )
    return {path for path, _ in filtered}


def _base(space: Any) -> Any:
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _base(value) for key, value in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(_base(value) for value in space.spaces)
    return space


def _flatten(builder: Builder, observed: Any, space: Any, connector: Any) -> Any:
    removed = set(connector._keys_to_remove)
    nested = _base(space)
    if removed:
        nested = {key: value for key, value in nested.items() if key not in removed}
        observed = {key: value for key, value in observed.items() if key not in removed}
    spaces = dict(leaves(nested))
    parts = []
    for path, node in leaves(observed):
        part = spaces[path]
        if isinstance(part, gymnasium.spaces.Discrete):
            node = builder.add(OneHot(size=int(part.n)), node)
        elif isinstance(part, gymnasium.spaces.MultiDiscrete):
            sizes = [int(n) for n in part.nvec.ravel()]
            flat = builder.flat(node)
            hot = [
                builder.flat(builder.add(OneHot(size=n), builder.part(flat, 0, i, i + 1)))
                for i, n in enumerate(sizes)
            ]
            node = builder.add(Concat(axis=0), *hot)
        parts.append(builder.flat(builder.real(node)))
    order = ", ".join(".".join(map(str, path)) for path, _ in leaves(observed) if path)
    builder.notes.append(
        "observation flattened, discrete parts one-hot"
        + (f", in the order {order}" if order else "")
    )
    return parts[0] if len(parts) == 1 else builder.add(Concat(axis=0), *parts)


def _stack(builder: Builder, observed: Any, space: Any, connector: Any) -> Any:
    frames = connector.num_frames
    builder.notes.append(
        f"the last {frames} frames stacked, the oldest first, zeros before the first"
    )

    def stacked(path: Path, node: int) -> int:
        shape = builder.shape(node)
        if isinstance(connector, FrameStacking) and (len(shape) != 3 or shape[2] != 1):
            raise ExportError(
                f"frames of shape {shape} can't be stacked; expected (height, width, 1)."
            )
        if frames == 1:
            return node
        node = builder.real(node)
        name = builder.name("frames", path)
        axis, size = len(shape) - 1, shape[-1]
        before = builder.state(name, np.zeros((*shape[:-1], size * (frames - 1)), np.float32))
        all_frames = builder.add(Concat(axis=axis), before, node)
        builder.update(name, builder.part(all_frames, axis, size, size * frames))
        return all_frames

    return _mapped(stacked, observed)


def _mapped(change: Callable[[Path, int], int], observed: Any) -> Any:
    return tree.map_structure_with_path(lambda path, node: change(tuple(path), node), observed)


_KNOWN: dict[type, Callable[[Builder, Any, Any, Any], Any]] = {
    MeanStdFilter: _filter,
    FlattenObservations: _flatten,
    FrameStacking: _stack,
    StackFrames: _stack,
}
