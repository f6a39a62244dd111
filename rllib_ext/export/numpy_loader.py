"""Runs an exported policy with numpy alone; prunefront wrote this file beside the policy.

policy = load("policy.npz")     # nothing is unpickled
action = policy(observation)    # one observation or a batch; noise={name: …} where it draws actions
policy.reset()                  # before each episode, where the policy has a memory
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, Any]
ERF = np.vectorize(math.erf, otypes=[np.float32])
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "square": np.square,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 0.5 * np.tanh(0.5 * x) + 0.5,
    "silu": lambda x: x * (0.5 * np.tanh(0.5 * x) + 0.5),
    "softplus": lambda x: np.logaddexp(x, np.float32(0)),
    "gelu": lambda x: 0.5 * x * (1 + ERF(x * np.float32(math.sqrt(0.5)))),
    "elu": lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x, a: np.where(x > 0, x, a * x),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def _conv(o: Arrays, x: Any) -> Any:
    (down, across), (tall, wide) = o["stride"], o["dilation"]
    rows, columns = o["weight"].shape[2:]
    window = (tall * (rows - 1) + 1, wide * (columns - 1) + 1)
    x = np.lib.stride_tricks.sliding_window_view(x, window, (2, 3))
    x = x[:, :, ::down, ::across, ::tall, ::wide]
    groups = o.get("groups", 1)
    parts = zip(np.split(x, groups, 1), np.split(o["weight"], groups), strict=True)
    found = [np.einsum("bchwij,ocij->bohw", part, weight, optimize=True) for part, weight in parts]
    return np.concatenate(found, 1) + o["bias"][:, None, None]


def _pool(o: Arrays, x: Any) -> Any:
    down, across = o["stride"]
    windows = np.lib.stride_tricks.sliding_window_view(x, tuple(o["size"]), (2, 3))
    windows = windows[:, :, ::down, ::across]
    return windows.max((4, 5)) if o["kind"] == "max" else windows.mean((4, 5))


def _lstm(o: Arrays, x: Any, h: Any, c: Any) -> Any:
    gates = x @ o["weight"].T + h @ o["recurrent"].T + o["bias"]
    i, f, g, out = np.split(gates, 4, 1)
    sigmoid = FUNCTIONS["sigmoid"]
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.concatenate([sigmoid(out) * np.tanh(c), c], 1)


def _gru(o: Arrays, x: Any, h: Any) -> Any:
    r, z, n = np.split(x @ o["weight"].T + o["bias"], 3, 1)
    s, u, m = np.split(h @ o["recurrent"].T + o["recurrent_bias"], 3, 1)
    sigmoid = FUNCTIONS["sigmoid"]
    keep = sigmoid(z + u)
    return (1 - keep) * np.tanh(n + sigmoid(r + s) * m) + keep * h


def _binary(o: Arrays, *values: Any) -> Any:
    rank = max(v.ndim for v in values)
    shapes = [v.shape[:1] + (1,) * (rank - v.ndim) + v.shape[1:] for v in values]
    return FUNCTIONS[o["kind"]](*(v.reshape(s) for v, s in zip(values, shapes, strict=True)))


def _unary(o: Arrays, x: Any) -> Any:
    more = [np.float32(o["alpha"])] if o["kind"] in ("elu", "leaky_relu") else []
    return FUNCTIONS[o["kind"]](x, *more)


def _concat(o: Arrays, *values: Any) -> Any:
    size = max(len(v) for v in values)
    whole = [np.broadcast_to(v, (size, *v.shape[1:])) for v in values]
    return np.concatenate(whole, o["axis"] + 1)


def _normalise(o: Arrays, x: Any) -> Any:
    return np.clip((x - o["mean"]) / o["scale"], -o["clip"], o["clip"]).astype(np.float32)


def _pad(o: Arrays, x: Any) -> Any:
    widths = [(0, 0), *zip(o["before"], o["after"], strict=True)]
    return np.pad(x, widths, constant_values=o["value"])


def _softmax(o: Arrays, x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _sample(o: Arrays, x: Any, noise: Any) -> Any:
    return (np.cumsum(_softmax(o, x), -1)[..., :-1] <= noise[..., None]).sum(-1)


REDUCTIONS: dict[str, Callable[..., Any]] = {"sum": np.sum, "mean": np.mean, "max": np.max}
OPERATIONS: dict[str, Callable[..., Any]] = {
    "argmax": lambda o, x: x.argmax(-1),
    "binary": _binary,
    "clip": lambda o, x: np.clip(x, o["low"], o["high"]),
    "concat": _concat,
    "constant": lambda o: o["value"][None],
    "conv": _conv,
    "dense": lambda o, x: x @ o["weight"].T + o["bias"],
    "gru": _gru,
    "lstm": _lstm,
    "normalise": _normalise,
    "onehot": lambda o, x: (x[..., None] == np.arange(o["size"])).astype(np.float32),
    "pad": _pad,
    "pool": _pool,
    "permute": lambda o, x: x.transpose(0, *(n + 1 for n in o["order"])),
    "reduce": lambda o, x: REDUCTIONS[o["kind"]](x, o["axis"] + 1),
    "reshape": lambda o, x: x.reshape(len(x), *o["shape"]),
    "sample": _sample,
    "softmax": _softmax,
    "take": lambda o, x: x.take(o["indices"], o["axis"] + 1),
    "tofloat": lambda o, x: x.astype(np.float32),
    "unary": _unary,
}


class Policy:
    """An exported policy.

    Args:
        description: What comes in, what goes on to the next decision, what comes out.
        run: Arrays by name in and out, each with a batch axis; None: computed here, from `nodes`.
        nodes: Operations with their arrays, in order.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        run: Callable[[Arrays], Arrays] | None = None,
        nodes: Sequence[Arrays] = (),
    ) -> None:
        self.description = description
        self.nodes = nodes
        self.run = run or self._compute
        self.state: Arrays = {}

    def reset(self) -> None:
        """Forgets what the last decisions left."""
        self.state = {}

    def __call__(self, observation: Any, noise: Any = None) -> Any:
        """The environment's action for one observation, or actions for a batch.

        Args:
            observation: Nested as the environment's; or each part with a batch axis in front.
            noise: By name, where actions are drawn; `description["given"]` says what it is.
        """
        found = self.outputs(observation, noise)
        parts = [r for r in self.description["results"] if r["path"] is not None]
        return nested({tuple(r["path"]): found[r["name"]] for r in parts})

    def outputs(self, observation: Any, noise: Any = None) -> Arrays:
        """All that a decision gives, by name: also parameters of the action's distribution."""
        first = self.description["given"][0]
        sample = np.asarray(_part(observation, first["path"]))
        batch = sample.ndim > len(first["shape"])
        feeds = dict(self.state or self.initial(len(sample) if batch else 1))
        names = list(feeds)
        for given in self.description["given"]:
            if given["noise"] and given["name"] not in (noise or {}):
                raise ValueError(
                    f"this policy draws its actions: give noise={{{given['name']!r}: …}}, "
                    f"{given['noise']} numbers of shape {tuple(given['shape'])} a decision"
                )
            part = noise[given["name"]] if given["noise"] else _part(observation, given["path"])
            feeds[given["name"]] = np.asarray(part, given["dtype"]).reshape(-1, *given["shape"])
        found = dict(self.run(feeds))
        self.state = {name: found.pop(name) for name in names}
        return {
            r["name"]: np.asarray(found[r["name"]] if batch else found[r["name"]][0], r["dtype"])
            for r in self.description["results"]
        }

    def initial(self, size: int) -> Arrays:
        """The state before the first decision, for a batch of a size."""
        return {
            s["name"]: np.tile(np.array(s["initial"], "f4").reshape(1, -1), (size, 1)).reshape(
                size, *s["shape"]
            )
            for s in self.description["carried"]
        }

    def _compute(self, feeds: Arrays) -> Arrays:
        values: list[Any] = []
        for node in self.nodes:
            if node["op"] in ("input", "state"):
                values.append(feeds[node["name"]])
                continue
            # The logarithm of 0 is how modules say "never".
            with np.errstate(divide="ignore", over="ignore"):
                values.append(OPERATIONS[node["op"]](node, *(values[i] for i in node["inputs"])))
        wanted = {r["name"]: values[r["node"]] for r in self.description["results"]}
        wanted |= {s["name"]: values[s["update"]] for s in self.description["carried"]}
        size = len(next(iter(feeds.values())))
        return {name: np.broadcast_to(v, (size, *v.shape[1:])) for name, v in wanted.items()}


def _part(nest: Any, path: Sequence[Any]) -> Any:
    for key in path:
        nest = nest[key]
    return nest


def nested(parts: Mapping[tuple[Any, ...], Any]) -> Any:
    """Parts by their paths as dicts (names) and tuples (numbers); a lone part as itself."""
    if () in parts:
        return parts[()][()]
    keys = dict.fromkeys(path[0] for path in parts)
    inner = {k: nested({p[1:]: v for p, v in parts.items() if p[0] == k}) for k in keys}
    return tuple(inner.values()) if all(isinstance(k, int) for k in keys) else inner


def load(path: Any) -> Policy:
    """Reads a policy; refuses a file that holds pickled objects."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    description = json.loads(str(arrays.pop("description")))
    for name, array in arrays.items():
        number, _, attribute = name.partition(".")
        description["nodes"][int(number)][attribute] = array
    return Policy(description, nodes=description["nodes"])
