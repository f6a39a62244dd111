"""Programs to write in every form, and what numpy makes of them."""

import numpy as np

from rllib_ext.export.builder import Builder
from rllib_ext.export.numpy_loader import Policy
from rllib_ext.export.operations import (
    ArgMax,
    Binary,
    Clip,
    Concat,
    Conv,
    Dense,
    Gru,
    Lstm,
    Normalise,
    OneHot,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Sample,
    Softmax,
    Take,
    Unary,
)
from rllib_ext.export.storage import described, nodes_of


def sparse(rng, *shape, kept=1.0):
    return (rng.normal(size=shape) * (rng.random(shape) < kept)).astype(np.float32)


def everything(seed=0, kept=0.4):
    """A program with every operation, a memory and noise."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.given("observation_x", ("x",), (6,), "float32")
    image = b.given("observation_image", ("image",), (5, 6, 2), "uint8")
    gear = b.given("observation_gear", ("gear",), (), "int64")
    noise = b.given("noise", (), (), "float32", "uniform")
    scale = np.abs(rng.normal(size=6)) + 0.5
    x = b.add(Normalise(mean=1000 * rng.normal(size=6), scale=scale, clip=3.0), x)
    image = b.add(Permute(order=(2, 0, 1)), b.real(image))
    image = b.add(Binary(kind="div"), image, b.constant(np.float32(255.0)))
    image = b.add(Pad(before=(0, 1, 0), after=(0, 1, 2), value=0.0), image)
    image = b.add(
        Conv(
            weight=sparse(rng, 3, 2, 3, 2, kept=kept),
            bias=sparse(rng, 3),
            stride=(2, 1),
            dilation=(1, 2),
        ),
        image,
    )
    image = b.add(Reduce(kind="mean", axis=1), b.add(Unary(kind="relu"), image))
    hot = b.add(OneHot(size=4), gear)
    joined = b.add(Concat(axis=0), x, b.flat(image), hot)
    wide = b.add(
        Dense(weight=sparse(rng, 40, b.shape(joined)[0], kept=kept), bias=sparse(rng, 40)), joined
    )
    wide = b.add(Unary(kind="tanh"), wide)
    h, c = (b.state(f"state_{n}", rng.normal(size=5)) for n in "hc")
    cell = b.add(
        Lstm(
            weight=sparse(rng, 20, 40, kept=kept),
            recurrent=sparse(rng, 20, 5, kept=kept),
            bias=sparse(rng, 20),
        ),
        wide, h, c,
    )  # fmt: skip
    hidden = b.part(cell, 0, 0, 5)
    b.update("state_h", hidden)
    b.update("state_c", b.part(cell, 0, 5, 10))
    g = b.state("state_g", np.zeros(4))
    gated = b.add(
        Gru(
            weight=sparse(rng, 12, 5, kept=kept),
            recurrent=sparse(rng, 12, 4),
            bias=sparse(rng, 12),
            recurrent_bias=sparse(rng, 12),
        ),
        hidden, g,
    )  # fmt: skip
    b.update("state_g", gated)
    picked = b.add(Take(axis=0, indices=np.array([3, 0, 0, 2])), gated)
    square = b.add(Reshape(shape=(2, 2)), picked)
    rows = b.add(Dense(weight=sparse(rng, 3, 2), bias=sparse(rng, 3)), square)
    low, high = np.array([-0.5, -1, -2], np.float32), np.array([0.4, 1, 2], np.float32)
    bounded = b.add(Clip(low=low, high=high), rows)
    most = b.add(Reduce(kind="max", axis=0), bounded)
    summed = b.add(Reduce(kind="sum", axis=0), bounded)
    both = b.add(Binary(kind="max"), b.add(Binary(kind="sub"), most, summed), most)
    shares = b.add(Softmax(), both)
    b.result("action_best", b.add(ArgMax(), shares), "int64", ("best",))
    b.result("action_drawn", b.add(Sample(), both, noise), "int64", ("drawn",))
    b.result("values", both, "float32")
    return b.program()


def batch_of(program, size, seed=1):
    rng = np.random.default_rng(seed)
    feeds = {}
    for given_ in described(program)["given"]:
        shape = (size, *given_["shape"])
        if given_["noise"]:
            feeds[given_["name"]] = rng.random(shape).astype(np.float32)
        elif given_["dtype"] == "float32":
            feeds[given_["name"]] = (1000 * rng.normal(size=shape)).astype(np.float32)
        else:
            feeds[given_["name"]] = rng.integers(0, 4, shape).astype(given_["dtype"])
    for carried in program.carried:
        feeds[carried.name] = np.repeat(carried.initial[None], size, 0)
    return feeds


def by_numpy(program, feeds):
    return Policy(described(program), nodes=nodes_of(program)).run(feeds)
