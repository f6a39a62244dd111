"""ONNX and torch compute what numpy computes, whatever the batch."""

import numpy as np
import onnx
import pytest
from export_programs import batch_of, by_numpy, everything

from rllib_ext.export.builder import Builder
from rllib_ext.export.onnx_form import write_onnx
from rllib_ext.export.onnx_run import onnx_run
from rllib_ext.export.operations import UNARY, Unary
from rllib_ext.export.storage import read_program, write_program
from rllib_ext.export.torch_form import write_torch
from rllib_ext.export.torch_run import torch_run

FORMS = {
    "onnx": (lambda path, program: write_onnx(path, program, {}), onnx_run),
    "torch": (write_torch, torch_run),
}


def runner(form, program, folder):
    write, run = FORMS[form]
    path = folder / ("policy.onnx" if form == "onnx" else "policy.pt2")
    write(path, program)
    return run(path, program)


def assert_alike(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape
        if np.issubdtype(values.dtype, np.floating):
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=2e-5, err_msg=name)
        else:
            assert (found[name] == values).mean() > 0.99, name


@pytest.mark.parametrize("form", FORMS)
def test_every_operation_gives_what_numpy_gives_in_every_batch(tmp_path, form):
    program = everything()
    run = runner(form, program, tmp_path)
    for size in (1, 2, 64):
        feeds = batch_of(program, size)
        assert_alike(run(feeds), by_numpy(program, feeds))


@pytest.mark.parametrize("form", FORMS)
def test_every_function_gives_what_numpy_gives(tmp_path, form):
    b = Builder()
    x = b.given("observation", (), (5,), "float32")
    for kind in UNARY:
        b.result(kind, b.add(Unary(kind=kind, alpha=0.3), x), "float32")
    values = np.abs(np.random.default_rng(0).normal(size=(40, 5)) * 3).astype(np.float32) + 1e-3
    program = b.program()
    run = runner(form, program, tmp_path)
    assert_alike(run({"observation": values}), by_numpy(program, {"observation": values}))
    signed = {"observation": np.concatenate([values, -values])}
    real = [kind for kind in UNARY if kind not in ("log", "sqrt")]
    with np.errstate(invalid="ignore"):
        expected = by_numpy(program, signed)
    found = run(signed)
    assert_alike({k: found[k] for k in real}, {k: expected[k] for k in real})


def test_onnx_names_what_comes_in_and_out(tmp_path):
    path = tmp_path / "policy.onnx"
    write_onnx(path, everything(), {"environment": "CartPole-v1", "source": "here"})
    model = onnx.load(path)
    names = [value.name for value in model.graph.input]
    assert names == [
        "observation_x", "observation_image", "observation_gear", "noise", "state_h", "state_c",
        "state_g",
    ]  # fmt: skip
    outputs = [value.name for value in model.graph.output]
    assert outputs == [
        "action_best", "action_drawn", "values", "state_h_out", "state_c_out", "state_g_out",
    ]  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {p.key: p.value for p in model.metadata_props}["source"] == "here"


def test_a_program_is_read_back_as_it_was_written(tmp_path):
    program = everything()
    write_program(tmp_path / "policy.npz", program)
    again = read_program(tmp_path / "policy.npz")
    feeds = batch_of(program, 8)
    expected, found = by_numpy(program, feeds), by_numpy(again, feeds)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert [n.shape for n in again.nodes] == [n.shape for n in program.nodes]
    assert (again.weights, again.macs) == (program.weights, program.macs)
