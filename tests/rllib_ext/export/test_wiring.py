"""Connections as a drawing shows them, held against what the program computes."""

import json

import numpy as np
import pytest

from rllib_ext.export.builder import Builder
from rllib_ext.export.numpy_loader import Policy
from rllib_ext.export.operations import (
    ArgMax,
    Binary,
    Concat,
    Conv,
    Dense,
    Normalise,
    Reshape,
    Unary,
)
from rllib_ext.export.storage import described, nodes_of
from rllib_ext.export.wiring import MOST_EDGES, Wiring, wiring_of


def layer(rng, inputs, outputs, density):
    weight = rng.normal(size=(outputs, inputs)) * (rng.random((outputs, inputs)) < density)
    return Dense(weight=weight.astype(np.float32), bias=rng.normal(size=outputs).astype(np.float32))


def program_of(rng, density):
    """Two observations, a filter, two layers, and a head that also reads the observations."""
    builder = Builder()
    first = builder.given("first", ("a",), (3,), "float32")
    second = builder.given("second", ("b",), (1, 2), "float32")
    joined = builder.add(Concat(axis=0), first, builder.add(Reshape(shape=(2,)), second))
    scaled = builder.add(
        Normalise(mean=np.ones(5), scale=np.full(5, 2.0), clip=np.inf), joined
    )  # fmt: skip
    doubled = builder.add(Binary(kind="mul"), scaled, builder.constant(np.float32(2.0)))
    hidden = builder.add(Unary(kind="tanh"), builder.add(layer(rng, 5, 6, density), doubled))
    deeper = builder.add(Unary(kind="tanh"), builder.add(layer(rng, 6, 4, density), hidden))
    head = builder.add(layer(rng, 9, 3, density), builder.add(Concat(axis=0), deeper, scaled))
    builder.result("action", builder.add(ArgMax(), head), "int64", ())
    builder.result("logits", head, "float32")
    return builder.program()


def logits(program, observation):
    feeds = {"first": observation[None, :3], "second": observation[None, None, 3:]}
    return Policy(described(program), nodes=nodes_of(program)).run(feeds)["logits"][0]


@pytest.mark.parametrize("seed", range(8))
def test_a_way_from_an_input_to_an_output_is_where_one_changes_the_other(seed):
    rng = np.random.default_rng(seed)
    program = program_of(rng, density=0.3)
    wiring = wiring_of(program)
    names = [unit.name for unit in wiring.units]
    inputs = [f"first[{i}]" for i in range(3)] + [f"second[{i}]" for i in range(2)]
    outputs = [f"logits[{i}]" for i in range(3)]
    assert [u.name for u in wiring.units if u.kind == "input"] == inputs
    assert [u.name for u in wiring.units if u.kind == "output"] == outputs
    reach = np.eye(len(names), dtype=bool)
    for _ in range(4):
        for start, stop, _ in wiring.edges:
            reach[:, stop] |= reach[:, start]
    observation = rng.normal(size=5).astype(np.float32)
    for place, name in enumerate(inputs):
        moved = observation.copy()
        moved[place] += 0.1
        changed = ~np.isclose(logits(program, moved), logits(program, observation), rtol=0, atol=0)
        told = [bool(reach[names.index(name), names.index(output)]) for output in outputs]
        assert told == changed.tolist()
    for start, stop, weight in wiring.edges:
        assert weight != 0
        assert wiring.units[start].layer < wiring.units[stop].layer
    hidden = {i for i, unit in enumerate(wiring.units) if unit.kind == "hidden"}
    assert hidden == {i for a, b, _ in wiring.edges for i in (a, b)} & hidden


def test_it_survives_json_and_damage_is_an_error_that_a_reader_can_catch():
    wiring = wiring_of(program_of(np.random.default_rng(1), density=0.4))
    again = Wiring.from_json(json.loads(json.dumps(wiring.as_json())))
    assert again.units == wiring.units
    assert [e[:2] for e in again.edges] == [e[:2] for e in wiring.edges]
    for broken in (
        {},
        {"units": [], "edges": [[0, 1, 1.0]]},
        {"units": [["a"]], "edges": []},
        {"units": 3, "edges": []},
        {"units": [["a", 0, "input"], ["b", 1, "middle"]], "edges": []},
        {"units": [["a", 2, "hidden"], ["b", 2, "output"]], "edges": []},
    ):
        with pytest.raises(ValueError, match="no wiring"):
            Wiring.from_json(broken)


def test_what_no_connection_stands_for_and_what_is_too_much_is_not_drawn():
    rng = np.random.default_rng(0)
    builder = Builder()
    image = builder.given("observation", (), (1, 4, 4), "float32")
    kernel = Conv(
        weight=np.ones((1, 1, 2, 2), np.float32),
        bias=np.ones(1, np.float32),
        stride=(2, 2),
        dilation=(1, 1),
    )
    builder.result("logits", builder.flat(builder.add(kernel, image)), "float32")
    assert wiring_of(builder.program()) is None
    for outputs, drawn in ((MOST_EDGES // 10, True), (MOST_EDGES // 10 + 1, False)):
        builder = Builder()
        seen = builder.given("observation", (), (10,), "float32")
        builder.result("mean", builder.add(layer(rng, 10, outputs, 1.1), seen), "float32")
        assert (wiring_of(builder.program()) is not None) == drawn
    builder = Builder()
    seen = builder.given("observation", (), (2,), "float32")
    both = [builder.add(layer(rng, 2, 2, 1.1), seen) for _ in range(2)]
    builder.result("mean", builder.add(Binary(kind="mul"), *both), "float32")
    assert wiring_of(builder.program()) is None
