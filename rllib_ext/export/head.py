"""From a module's outputs to the environment's action: mode or sample, unsquashed or clipped."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import tree
from ray.rllib.connectors.common.tensor_to_numpy import TensorToNumpy
from ray.rllib.connectors.module_to_env import (
    GetActions,
    ListifyDataForVectorEnv,
    ModuleToAgentUnmapping,
    NormalizeAndClipActions,
    RemoveSingleTsTimeRankFromBatch,
    UnBatchToIndividualItems,
)
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDeterministic,
    TorchDiagGaussian,
    TorchMultiCategorical,
    TorchMultiDistribution,
    TorchSquashedGaussian,
)
from ray.rllib.utils.numpy import MAX_LOG_NN_OUTPUT, MIN_LOG_NN_OUTPUT

from rllib_ext.export.builder import Builder
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import (
    ArgMax,
    Array,
    Binary,
    Clip,
    Concat,
    Path,
    Reshape,
    Sample,
    Unary,
)
from rllib_ext.export.trace import leaves, trace_function

_NOTHING = (
    GetActions,
    ListifyDataForVectorEnv,
    ModuleToAgentUnmapping,
    RemoveSingleTsTimeRankFromBatch,
    TensorToNumpy,
    UnBatchToIndividualItems,
)


def act(
    builder: Builder,
    outputs: dict[tuple[Any, ...], int],
    module: Any,
    pipeline: Any,
    *,
    stochastic: bool,
) -> None:
    """Adds the action, and the parameters of its distribution, to a program's results.

    Args:
        builder: Builder that the nodes are added to.
        outputs: Outputs as returned by `trace_module`.
        module: The RLModule; names the distribution and the action space.
        pipeline: RLlib's, from the module's outputs to actions.
        stochastic: Whether an action is drawn, with noise that is given, instead of the mode.

    Raises:
        ExportError: A distribution, a connector or a space that no export can do.
    """
    bounds = _bounds(pipeline)
    given = {path[1:]: node for path, node in outputs.items() if path[0] == Columns.ACTIONS}
    logits = outputs.get((Columns.ACTION_DIST_INPUTS,))
    if any(path[0] == Columns.ACTIONS_FOR_ENV for path in outputs):
        raise ExportError(
            f"{type(module).__name__} can't be exported: it gives {Columns.ACTIONS_FOR_ENV} itself. "
            f"Return {Columns.ACTIONS}, or the distribution's inputs alone."
        )
    if given:
        if stochastic:
            raise ExportError(
                f"{type(module).__name__} draws its actions itself, so that no sample can be taken from "
                "noise that is given. Export it without --stochastic."
            )
        actions = given
    elif logits is None:
        raise ExportError(
            f"{type(module).__name__} gives neither {Columns.ACTIONS} nor {Columns.ACTION_DIST_INPUTS}; "
            "an export needs one of them from _forward_inference."
        )
    else:
        kind = (
            module.get_exploration_action_dist_cls()
            if stochastic
            else module.get_inference_action_dist_cls()
        )
        actions = _Head(builder, stochastic).actions(kind, logits)
    spaces = dict(leaves(_base(module.action_space)))
    if set(spaces) != set(actions):
        raise ExportError(
            f"the actions of {type(module).__name__} are nested as {sorted(map(str, actions))}, its "
            f"action space as {sorted(map(str, spaces))}; an export needs them alike."
        )
    for path, space in spaces.items():
        node, dtype = _for_environment(builder, actions[path], space, bounds)
        builder.result(builder.name("action", path), node, dtype, path)
    for path, node in outputs.items():
        if path[0] == Columns.ACTION_DIST_INPUTS:
            _parameters(builder, node, module, bool(given))


def _parameters(builder: Builder, node: int, module: Any, own: bool) -> None:
    kind = module.get_inference_action_dist_cls()
    if not own and issubclass(kind, TorchDiagGaussian):
        width = builder.shape(node)[0] // 2
        builder.result("mean", builder.part(node, 0, 0, width), "float32")
        builder.result("log_std", builder.part(node, 0, width, 2 * width), "float32")
    else:
        discrete = issubclass(kind, TorchCategorical | TorchMultiCategorical)
        builder.result("logits" if discrete else "distribution", node, "float32")


def _bounds(pipeline: Any) -> str:
    """Returns what the connectors do to a Box action: "unsquash", "clip" or "" for nothing."""
    found = ""
    for connector in pipeline.connectors:
        kind = type(connector)
        if kind is NormalizeAndClipActions:
            found = "clip" if connector.clip_actions else ""
            found = "unsquash" if connector.normalize_actions else found
        elif kind not in _NOTHING:
            raise ExportError(
                f"the connector {kind.__name__} can't be exported: what it does is Python code of its "
                "own. Do its work in the environment or in the RLModule, and train again."
            )
    return found


class _Head:
    """Takes modes, or samples, of RLlib's distributions."""

    def __init__(self, builder: Builder, stochastic: bool) -> None:
        self._builder = builder
        self._stochastic = stochastic
        self._noises = 0

    def actions(self, kind: Any, logits: int) -> dict[Path, int]:
        """Nodes of the parts of an action by their paths.

        Args:
            kind: The distribution's class.
            logits: Node of its inputs, one axis.
        """
        if issubclass(kind, TorchMultiDistribution):
            settings = _partial(kind)
            nested = settings["child_distribution_cls_struct"]
            sizes = [int(n) for n in tree.flatten(settings["input_lens"])]
            ends = np.cumsum(sizes)
            parts = [
                self._builder.part(logits, 0, int(end - size), int(end))
                for size, end in zip(sizes, ends, strict=True)
            ]
            return {
                path: self._one(child, part)
                for (path, child), part in zip(leaves(nested), parts, strict=True)
            }
        return {(): self._one(kind, logits)}

    def _one(self, kind: Any, logits: int) -> int:
        for known, method in (
            (TorchCategorical, self._categorical),
            (TorchMultiCategorical, self._multi_categorical),
            (TorchDiagGaussian, self._gaussian),
            (TorchSquashedGaussian, self._squashed),
            (TorchDeterministic, self._deterministic),
        ):
            if issubclass(kind, known) and _as_written(kind, known):
                return method(kind, logits)
        if not self._stochastic:
            # Whatever it is, its mode is a function of what comes in.
            return trace_function(
                lambda values: kind.from_logits(values).to_deterministic().sample(),
                logits,
                self._builder,
                kind.__name__,
            )
        raise ExportError(
            f"the action distribution {kind.__name__} can't draw actions outside of RLlib: how it does "
            "is Python code of its own. Expected RLlib's TorchCategorical, TorchMultiCategorical, "
            "TorchDiagGaussian, TorchSquashedGaussian or TorchDeterministic. Have the RLModule's "
            f"_forward_inference return {Columns.ACTIONS} itself."
        )

    def _noise(self, kind: str, shape: tuple[int, ...]) -> int:
        name = "noise" if not self._noises else f"noise_{self._noises}"
        self._noises += 1
        return self._builder.given(name, (), shape, "float32", kind)

    def _categorical(self, kind: Any, logits: int) -> int:
        if self._stochastic:
            return self._builder.add(Sample(), logits, self._noise("uniform", ()))
        return self._builder.add(ArgMax(), logits)

    def _multi_categorical(self, kind: Any, logits: int) -> int:
        lengths = _partial(kind)["input_lens"]
        if np.ndim(lengths) != 1:
            raise ExportError(
                f"the action distribution has numbers of choices in {np.ndim(lengths)} dimensions, and "
                "RLlib can't draw from it. Expected a MultiDiscrete of one dimension: flatten actions "
                "in the environment, and train again."
            )
        sizes = [int(n) for n in lengths]
        noise = self._noise("uniform", (len(sizes),)) if self._stochastic else None
        parts, b, at = [], self._builder, 0
        for i, size in enumerate(sizes):
            part = b.part(logits, 0, at, at + size)
            at += size
            if noise is None:
                chosen = b.add(ArgMax(), part)
            else:
                drawn = b.add(Reshape(shape=()), b.part(noise, 0, i, i + 1))
                chosen = b.add(Sample(), part, drawn)
            parts.append(b.add(Reshape(shape=(1,)), chosen))
        return parts[0] if len(parts) == 1 else b.add(Concat(axis=0), *parts)

    def _halves(self, logits: int) -> tuple[int, int]:
        width = self._builder.shape(logits)[0] // 2
        return (
            self._builder.part(logits, 0, 0, width),
            self._builder.part(logits, 0, width, 2 * width),
        )

    def _drawn(self, mean: int, log_std: int) -> int:
        b = self._builder
        noise = self._noise("normal", b.shape(mean))
        spread = b.add(Binary(kind="mul"), b.add(Unary(kind="exp"), log_std), noise)
        return b.add(Binary(kind="add"), mean, spread)

    def _gaussian(self, kind: Any, logits: int) -> int:
        mean, log_std = self._halves(logits)
        return self._drawn(mean, log_std) if self._stochastic else mean

    def _squashed(self, kind: Any, logits: int) -> int:
        mean, log_std = self._halves(logits)
        if not self._stochastic:
            return mean
        low, high = (np.float32(bound) for bound in (MIN_LOG_NN_OUTPUT, MAX_LOG_NN_OUTPUT))
        b = self._builder
        limited = b.add(Clip(low=np.array(low), high=np.array(high)), log_std)
        return b.add(Unary(kind="tanh"), self._drawn(mean, limited))

    def _deterministic(self, kind: Any, logits: int) -> int:
        return logits


def _as_written(kind: Any, known: Any) -> bool:
    """Whether a class chooses actions as RLlib's own does, but for arguments that are filled in."""
    names = ("to_deterministic", "sample", "_get_torch_distribution", "__init__", "from_logits")
    own = [c for c in kind.__mro__ if c is not known and issubclass(c, known)]
    partial = [c for c in own if "_merge_kwargs" in vars(c)]
    return not any(name in vars(c) for c in own if c not in partial for name in names)


def _partial(kind: Any) -> dict[str, Any]:
    """The arguments that `get_partial_dist_cls` filled in."""
    merge = getattr(kind, "_merge_kwargs", None)
    if merge is not None:
        found: dict[str, Any] = merge()
        return found
    raise ExportError(
        f"the action distribution {kind.__name__} can't be exported: its number of choices is unknown. "
        "Make it with Distribution.get_partial_dist_cls, as RLlib's catalog does."
    )


def _base(space: Any) -> Any:
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _base(value) for key, value in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(_base(value) for value in space.spaces)
    return space


def _float_bounds(space: gymnasium.spaces.Box) -> tuple[Array, Array]:
    """Bounds in float32; where it can't hold one, the next number inside: no action is out of bounds."""
    low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    inf = np.float32(np.inf)
    return (
        np.where(low < space.low, np.nextafter(low, inf), low),
        np.where(high > space.high, np.nextafter(high, -inf), high),
    )


def _for_environment(builder: Builder, node: int, space: Any, bounds: str) -> tuple[int, str]:
    """A part of an action as the environment takes it, and in which numbers."""
    if not isinstance(space, gymnasium.spaces.Box):
        kinds = (gymnasium.spaces.Discrete, gymnasium.spaces.MultiDiscrete)
        if not isinstance(space, kinds):
            raise ExportError(
                f"actions of {space} can't be exported: expected Box, Discrete, MultiDiscrete, and Dict "
                "and Tuple of these."
            )
        return node, "int64"
    if not np.issubdtype(space.dtype, np.floating):
        raise ExportError(
            f"actions of {space} can't be exported: a Box of whole numbers. Expected MultiDiscrete."
        )
    if builder.shape(node) != tuple(space.shape):
        node = builder.add(Reshape(shape=tuple(space.shape)), node)
    bounded = bool(np.all(space.bounded_below) and np.all(space.bounded_above))
    low, high = _float_bounds(space)
    # RLlib leaves other numbers than these as the distribution gives them.
    dtype = str(space.dtype)
    unsquashed = bounds == "unsquash" and bounded and dtype in ("float32", "float64")
    if unsquashed:
        builder.notes.append("action unsquashed from [−1, 1] to its bounds, then clipped to them")
        one = builder.constant(np.ones((), np.float32))
        node = builder.add(Binary(kind="add"), node, one)
        node = builder.add(Binary(kind="mul"), node, builder.constant((high - low) / 2))
        node = builder.add(Binary(kind="add"), node, builder.constant(low))
    elif bounds == "clip":
        builder.notes.append("action clipped to its bounds")
    if unsquashed or bounds == "clip":
        node = builder.add(Clip(low=low, high=high), node)
    return node, dtype if dtype == "float64" else "float32"
