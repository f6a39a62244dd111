"""A small policy is drawn, from what its folder says; a large or unknown one is a sentence."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from plain_charts import plain_page

import search
from rllib_ext.export.builder import Builder
from rllib_ext.export.operations import Dense, Unary
from rllib_ext.export.storage import write_program
from rllib_ext.export.wiring import MOST_EDGES, Unit, Wiring, wiring_of
from search.front.results import EXPORT
from search.report.network import drawn, network_of

INPUTS = tuple(Unit(f"observation[{i}]", 0, "input") for i in range(4))
WIRING = Wiring(
    (
        *INPUTS,
        Unit("hidden 1", 1, "hidden"),
        Unit("logits[0]", 2, "output"),
        Unit("logits[1]", 2, "output"),
    ),
    ((2, 4, 2.0), (3, 4, -0.5), (4, 5, -1.5)),
)


def small_program():
    builder = Builder()
    seen = builder.given("observation", (), (4,), "float32")
    rows = np.zeros((3, 4), np.float32)
    rows[0, 2], rows[1, 3] = 1.5, -2.0
    first = builder.add(Dense(weight=rows, bias=np.zeros(3, np.float32)), seen)
    hidden = builder.add(Unary(kind="tanh"), first)
    head = Dense(weight=np.array([[1, 0, 0], [0, 1, 0]], np.float32), bias=np.zeros(2, np.float32))
    builder.result("logits", builder.add(head, hidden), "float32")
    return builder.program()


def test_each_connection_is_a_line_of_its_sign_and_strength_with_both_ends_named():
    network = drawn(WIRING, "CartPole-v1")
    lines = ET.fromstring(str(network.svg)).findall("path")
    told = {line.find("title").text: line for line in lines}
    assert set(told) == {
        "pole angle → hidden 1: +2", "pole turning → hidden 1: −0.5", "hidden 1 → left: −1.5",
    }  # fmt: skip
    assert told["pole angle → hidden 1: +2"].get("class") == "plus"
    assert told["hidden 1 → left: −1.5"].get("class") == "minus"
    widths = [float(line.get("stroke-width")) for line in lines]
    assert widths == sorted(widths)
    assert (
        "3 connections: 2 of 4 inputs are read, over 1 hidden unit, into 2 outputs" in network.text
    )


def test_units_lie_apart_and_inside_whatever_their_number():
    many = tuple(Unit(f"observation[{i}]", 0, "input") for i in range(60))
    end = Unit("mean[0]", 1, "output")
    for count in (60, 20):
        network = drawn(
            Wiring((*many, end), tuple((i, 60, 1.0) for i in range(count))), "My-v0"
        )  # fmt: skip
        picture = ET.fromstring(str(network.svg))
        _, _, width, height = map(float, picture.get("viewBox").split())
        spots = {(float(c.get("cx")), float(c.get("cy"))) for c in picture.findall("circle")}
        # Of many inputs only those are drawn that are read.
        assert len(spots) == count + 1
        assert all(0 < x < width and 0 < y < height for x, y in spots)


def test_names_of_an_environment_cannot_become_markup():
    units = (Unit('<b>"x"[0]', 0, "input"), Unit("mean[0]", 1, "output"))
    text = str(drawn(Wiring(units, ((0, 1, 1.0),)), "My-v0").svg)
    assert "<b>" not in text
    assert ET.fromstring(text) is not None


def test_the_page_draws_what_the_folder_notes_and_otherwise_says_why_not(simulate, tmp_path):
    folder = simulate(tmp_path / "a", members=6, segments=4).folder
    results = search.load(folder)
    rows = results.front[results.front["nonzero_params"] <= MOST_EDGES].to_dict("records")
    assert len(rows) >= 2
    path = folder / rows[0]["policy"] / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "wiring": WIRING.as_json()}))
    text = plain_page(search.load(folder))
    assert text.count('<svg class="network"') == 1
    assert "pole angle → hidden 1: +2" in text
    assert text.count("Not drawn: the folder has no list") == len(rows) - 1
    assert len(re.findall("Networks of up to 200 weights are drawn", text)) == len(
        results.front
    ) - len(rows)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_export_on_disk_is_drawn_too_and_a_damaged_one_is_none(simulate, tmp_path, damaged):
    folder = simulate(tmp_path / "a", members=6, segments=4).folder
    row = search.load(folder).front.iloc[-1].to_dict()
    place = folder / EXPORT / row["snapshot_id"] / "c"
    place.mkdir(parents=True)
    write_program(place / "policy.npz", small_program())
    if damaged:
        (place / "policy.npz").write_bytes(b"PK")
    network = network_of(search.load(folder), row)
    assert bool(network.svg) != damaged
    if not damaged:
        assert len(ET.fromstring(str(network.svg)).findall("path")) == len(
            wiring_of(small_program()).edges
        )
