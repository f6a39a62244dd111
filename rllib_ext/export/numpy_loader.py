"""Runs an exported policy with numpy alone; prunefront wrote it beside the policy.

    policy = load("policy.npz")     # nothing is unpickled
    action = policy(observation)    # one observation, or a batch; noise=... where it draws actions
    policy.reset()                  # before an episode, where the policy has a memory
"""
import json
import math

import numpy as np

ERF = np.vectorize(math.erf, otypes=[np.float32])
F = {"tanh": np.tanh, "exp": np.exp, "log": np.log, "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt,
     "square": np.square, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 0.5 * np.tanh(0.5 * x) + 0.5,
     "silu": lambda x: x * F["sigmoid"](x), "softplus": lambda x: np.logaddexp(x, 0),
     "gelu": lambda x: 0.5 * x * (1 + ERF(x * np.float32(math.sqrt(0.5)))),
     "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
     "elu": lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))), "leaky_relu": lambda x, a: np.where(x > 0, x, a * x)}  # noqa: E501


def conv(a, x):
    (s, r), (e, d) = a["stride"], a["dilation"]
    h, w = (n * (k - 1) + 1 for n, k in zip((e, d), a["weight"].shape[2:]))
    x = np.lib.stride_tricks.sliding_window_view(x, (h, w), (2, 3))[:, :, ::s, ::r, ::e, ::d]
    return np.einsum("bchwij,ocij->bohw", x, a["weight"], optimize=True) + a["bias"][:, None, None]


def lstm(a, x, h, c):
    i, f, g, o = np.split(x @ a["weight"].T + h @ a["recurrent"].T + a["bias"], 4, 1)
    c = F["sigmoid"](f) * c + F["sigmoid"](i) * np.tanh(g)
    return np.concatenate([F["sigmoid"](o) * np.tanh(c), c], 1)


def gru(a, x, h):
    i, j = (np.split(v @ a[w].T + a[b], 3, 1) for v, w, b in ((x, "weight", "bias"), (h, "recurrent", "recurrent_bias")))  # noqa: E501
    r, z = F["sigmoid"](i[0] + j[0]), F["sigmoid"](i[1] + j[1])
    return (1 - z) * np.tanh(i[2] + r * j[2]) + z * h


def binary(a, x, y):
    n = max(x.ndim, y.ndim)
    return F[a["kind"]](*(v.reshape(v.shape[:1] + (1,) * (n - v.ndim) + v.shape[1:]) for v in (x, y)))


def concat(a, *x):
    size = max(len(v) for v in x)
    return np.concatenate([np.broadcast_to(v, (size, *v.shape[1:])) for v in x], a["axis"] + 1)


def softmax(a, x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


OPERATIONS = {
    "dense": lambda a, x: x @ a["weight"].T + a["bias"], "conv": conv, "lstm": lstm, "gru": gru, "binary": binary,
    "unary": lambda a, x: F[a["kind"]](x, *[np.float32(a["alpha"])] * (a["kind"] in ("elu", "leaky_relu"))),
    "normalise": lambda a, x: np.clip((x - a["mean"]) / a["scale"], -a["clip"], a["clip"]).astype(np.float32),
    "clip": lambda a, x: np.clip(x, a["low"], a["high"]), "softmax": softmax,
    "reshape": lambda a, x: x.reshape(len(x), *a["shape"]),
    "permute": lambda a, x: x.transpose(0, *(n + 1 for n in a["order"])),
    "concat": concat, "take": lambda a, x: x.take(a["indices"], a["axis"] + 1),
    "pad": lambda a, x: np.pad(x, [(0, 0), *zip(a["before"], a["after"])], constant_values=a["value"]),
    "reduce": lambda a, x: getattr(x, a["kind"])(a["axis"] + 1), "tofloat": lambda a, x: x.astype(np.float32),
    "onehot": lambda a, x: (x[..., None] == np.arange(a["size"])).astype(np.float32),
    "argmax": lambda a, x: x.argmax(-1), "constant": lambda a: a["value"][None],
    "sample": lambda a, x, u: (np.cumsum(softmax(a, x), -1)[..., :-1] <= u[..., None]).sum(-1),
}  # fmt: skip


class Policy:
    """A policy as `description` says, by way of `run`: arrays with a batch axis, by name, in and out."""

    def __init__(self, description, run=None, nodes=()):
        self.description, self.nodes, self.run, self.state = description, nodes, run or self.compute, None

    def reset(self):
        self.state = None

    def compute(self, feeds):
        values = []
        for node in self.nodes:
            if node["op"] in ("input", "state"):
                values.append(feeds[node["name"]])
            else:
                values.append(OPERATIONS[node["op"]](node, *[values[i] for i in node["inputs"]]))
        size = len(next(iter(feeds.values())))
        wanted = {r["name"]: r["node"] for r in self.description["results"]}
        wanted |= {s["name"]: s["update"] for s in self.description["carried"]}
        return {n: np.broadcast_to(values[i], (size, *values[i].shape[1:])) for n, i in wanted.items()}

    def initial(self, size):
        return {s["name"]: np.repeat(np.asarray(s["initial"], np.float32).reshape(1, *s["shape"]), size, 0)
                for s in self.description["carried"]}

    def step(self, observation, state, noise=None):
        """A batch of observations and its state -> actions by name, distribution's parameters, new state."""
        feeds = dict(state)
        for given in self.description["given"]:
            part = noise[given["name"]] if given["noise"] else observation
            for key in () if given["noise"] else given["path"]:
                part = part[key]
            feeds[given["name"]] = np.asarray(part, given["dtype"]).reshape(-1, *given["shape"])
        found = self.run(feeds)
        return found, {name: found.pop(name) for name in state}

    def outputs(self, observation, noise=None):
        """What a decision gives, by name: the action's parts and the parameters of its distribution."""
        given = self.description["given"][0]
        first = observation
        for key in given["path"]:
            first = first[key]
        batch = np.asarray(first).ndim > len(given["shape"])
        self.state = self.state or self.initial(len(first) if batch else 1)
        found, self.state = self.step(observation, self.state, noise)
        return {r["name"]: np.asarray(found[r["name"]] if batch else found[r["name"]][0], r["dtype"])
                for r in self.description["results"]}

    def __call__(self, observation, noise=None):
        return nested({tuple(r["path"]): v for r, v in zip(self.description["results"], self.outputs(observation, noise).values()) if r["path"] is not None})  # noqa: E501


def nested(parts):
    if () in parts:
        return parts[()][()]
    inner = {key: nested({p[1:]: v for p, v in parts.items() if p[0] == key}) for key in dict.fromkeys(p[0] for p in parts)}  # noqa: E501
    return tuple(inner.values()) if isinstance(next(iter(inner)), int) else inner


def load(path):
    with np.load(path, allow_pickle=False) as file:
        description = json.loads(str(file["description"]))
        arrays = {name: file[name] for name in file.files}
    for number, node in enumerate(description["nodes"]):
        node |= {name[len(str(number)) + 1:]: array for name, array in arrays.items() if name.startswith(f"{number}.")}
    return Policy(description, nodes=description["nodes"])
