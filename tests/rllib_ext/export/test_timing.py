"""In which form policies are timed, and that all of them can be; how long it takes is not judged."""

import importlib.util

import numpy as np
import pytest
import torch
from export_policies import small
from export_programs import everything

from rllib_ext.export import exporting, timing
from rllib_ext.export.builder import Builder
from rllib_ext.export.errors import ExportError
from rllib_ext.export.exporting import Options
from rllib_ext.export.measure import Timing, timed
from rllib_ext.export.opened import untrained
from rllib_ext.export.timing import can_time, drawn_inputs, refuse_untimed, timed_form, timer


def here(form):
    return pytest.param(
        form, marks=pytest.mark.skipif(not can_time(form), reason=f"no {form} here")
    )


@pytest.mark.parametrize("form", [here("c"), here("onnx")])
def test_a_program_with_every_operation_is_timed(form):
    measure = timer(everything(), form)
    for found in (measure(), measure()):
        assert 0 < found.least <= found.median <= found.p99 < np.inf


@pytest.mark.parametrize("form", [here("c"), here("onnx")])
def test_a_policy_that_always_does_the_same_is_timed(form):
    b = Builder()
    b.given("observation", (), (4,), "float32")
    b.result("action", b.constant(np.array(1)), "int64", ())
    assert timer(b.program(), form)().least > 0


def test_an_export_is_timed_in_the_threads_that_it_names(tmp_path, monkeypatch):
    seen = []

    def timed(run, program, observed):
        seen.append(torch.get_num_threads())
        return {1: Timing(1.0, 1.0, 1.0)}

    monkeypatch.setattr(exporting, "run_latency", timed)
    config = small("CartPole-v1", {})
    options = Options(formats=("torch", "numpy"), episodes=2, observations=10)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        contracts = exporting.export_policy(untrained(config), {}, config, tmp_path, options)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen[0] == contracts["torch"]["latency"]["threads"] == 1
    assert "threads" not in contracts["numpy"]["latency"]


def test_the_least_is_that_of_the_fastest_round():
    now, durations = [0.0], iter([1e-3, 1e-3, 3e-3, 2e-3, 9e-3])

    def work():
        now[0] += next(durations)

    found = timed(work, rounds=3, clock=lambda: now[0])
    assert found.least == pytest.approx(2_000.0)
    assert found.median == pytest.approx(3_000.0)


def test_c_comes_first_then_onnx_then_nothing(monkeypatch):
    found = {"gcc", "onnx", "onnxruntime"}
    monkeypatch.setattr(timing, "compiler", lambda: "gcc" if "gcc" in found else None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in found or None)
    assert timed_form() == "c"
    refuse_untimed("c")
    found.remove("gcc")
    assert timed_form() == "onnx"
    # What began with a compiler doesn't go on without one.
    with pytest.raises(ExportError, match=r"policies in C, and this machine has no C compiler"):
        refuse_untimed("c")
    refuse_untimed("onnx")
    found.remove("onnxruntime")
    assert timed_form() == ""
    with pytest.raises(ExportError, match=r"policies in ONNX, .* no onnxruntime.*\[onnx\]"):
        refuse_untimed("onnx")
    refuse_untimed("")


def test_inputs_are_drawn_as_a_program_takes_them():
    program = everything()
    drawn = drawn_inputs(program, 3)
    places = program.numbers
    assert len(drawn) == 3
    for given in program.given:
        node = program.nodes[places[given.name]]
        values = [inputs[given.name] for inputs in drawn]
        assert {(v.shape, v.dtype.name) for v in values} == {(node.shape, node.dtype)}
        assert np.isfinite(values).all()
    assert 0 <= drawn[0]["noise"] < 1
    assert not np.array_equal(drawn[0]["observation_x"], drawn[1]["observation_x"])
