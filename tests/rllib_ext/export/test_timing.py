"""In which form policies are timed, and that all of them can be; how long it takes is not judged."""

import importlib.util

import numpy as np
import pytest
from export_programs import everything

from rllib_ext.export import timing
from rllib_ext.export.builder import Builder
from rllib_ext.export.errors import ExportError
from rllib_ext.export.measure import timed
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
