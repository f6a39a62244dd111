"""Pooling, batch norms and grouped convolutions: every form gives what torch gives."""

import json

import numpy as np
import pytest
import torch
from export_programs import by_numpy
from torch import nn

from rllib_ext.export.builder import Builder
from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_run import CompiledPolicy, compiler
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.errors import ExportError
from rllib_ext.export.onnx_form import write_onnx
from rllib_ext.export.onnx_run import onnx_run
from rllib_ext.export.operations import Conv, Pool
from rllib_ext.export.storage import read_program, write_program
from rllib_ext.export.torch_form import write_torch
from rllib_ext.export.torch_run import torch_run
from rllib_ext.export.trace import trace_function

PICTURE, ROW, VECTOR = (4, 9, 8), (4, 12), (6,)
MODULES = {
    "max": (nn.MaxPool2d(2), PICTURE),
    "max, padded": (nn.MaxPool2d(3, stride=2, padding=1), PICTURE),
    "max, uneven": (nn.MaxPool2d((2, 3), stride=(3, 1)), PICTURE),
    "max of negatives, padded": (
        nn.Sequential(nn.Softplus(), nn.Conv2d(4, 4, 1), nn.Tanh(), nn.MaxPool2d(2, padding=1)),
        PICTURE,
    ),
    "mean": (nn.AvgPool2d(2), PICTURE),
    "mean, padded": (nn.AvgPool2d(3, stride=2, padding=1), PICTURE),
    "one mean": (nn.AdaptiveAvgPool2d(1), PICTURE),
    "adaptive mean": (nn.AdaptiveAvgPool2d((3, 4)), PICTURE),
    "adaptive max": (nn.AdaptiveMaxPool2d((3, 2)), PICTURE),
    "max of a row": (nn.MaxPool1d(3), ROW),
    "mean of a row": (nn.AvgPool1d(3, stride=2, padding=1), ROW),
    "adaptive mean of a row": (nn.AdaptiveAvgPool1d(4), ROW),
    "batch norm of a picture": (nn.BatchNorm2d(4), PICTURE),
    "batch norm of a row": (nn.BatchNorm1d(4), ROW),
    "batch norm of a vector": (nn.BatchNorm1d(6, eps=1e-3), VECTOR),
    "batch norm without weights": (nn.BatchNorm2d(4, affine=False), PICTURE),
    "two groups": (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), PICTURE),
    "depthwise": (nn.Conv2d(4, 8, (3, 2), dilation=(2, 1), groups=4, bias=False), PICTURE),
    "groups of a row": (nn.Conv1d(4, 4, 3, groups=2), ROW),
    "all of them": (
        nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ELU(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(24, 3),
        ),
        PICTURE,
    ),
}  # fmt: skip


def seeded(module):
    """The module as training might leave it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in (*module.named_parameters(), *module.named_buffers()):
            if values.is_floating_point():
                drawn = torch.randn(values.shape, generator=generator)
                values.copy_(drawn.abs() + 0.1 if "running_var" in name else drawn)
    return module.eval()


def program_of(module, shape):
    b = Builder()
    x = b.given("observation", (), shape, "float32")
    b.result("values", trace_function(module, x, b, "Module"), "float32")
    return b.program()


def in_c(numbers):
    def run(folder, program):
        source = write_c(program, numbers, "policy", ())
        (folder / "policy.h").write_text(source.header)
        (folder / "policy.c").write_text(source.source)
        return CompiledPolicy(program, numbers, folder / "policy.c", "policy").run

    return run


def in_onnx(folder, program):
    write_onnx(folder / "policy.onnx", program, {})
    return onnx_run(folder / "policy.onnx", program)


def in_torch(folder, program):
    write_torch(folder / "policy.pt2", program)
    return torch_run(folder / "policy.pt2", program)


def in_numpy(folder, program):
    write_program(folder / "policy.npz", program)
    again = read_program(folder / "policy.npz")
    return lambda feeds: by_numpy(again, feeds)


C = pytest.mark.skipif(compiler() is None, reason="no C compiler")
FORMS = {"numpy": in_numpy, "onnx": in_onnx, "torch": in_torch}


@pytest.mark.parametrize(
    "form",
    [
        *(pytest.param(run, id=name) for name, run in FORMS.items()),
        pytest.param(in_c(Numbers()), id="c", marks=C),
        pytest.param(in_c(Numbers("double")), id="c, double", marks=C),
    ],
)
@pytest.mark.parametrize("name", MODULES)
def test_every_form_gives_what_torch_gives(tmp_path, name, form):
    module, shape = MODULES[name]
    module = seeded(module)
    run = form(tmp_path, program_of(module, shape))
    x = torch.randn((7, *shape), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module(x).numpy()
    found = run({"observation": x.numpy()})["values"]
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.MaxPool2d(2, ceil_mode=True), "cut off"),
        (nn.MaxPool2d(2, dilation=2), "dilated pooling"),
        (nn.AvgPool2d(3, padding=1, count_include_pad=False), "divides by another number"),
        (nn.AdaptiveAvgPool2d(2), "windows of different sizes"),
    ],
)
def test_what_no_window_can_do_is_refused(module, message):
    with pytest.raises(ExportError, match=message):
        program_of(module, PICTURE)


def test_weights_and_multiply_accumulates_of_groups_are_those_of_their_own():
    program = program_of(seeded(nn.Conv2d(4, 8, 3, groups=4)), PICTURE)
    assert program.parameters == 8 * 1 * 3 * 3 + 8
    assert program.macs == 8 * 9 * 7 * 6


@pytest.mark.parametrize("change", [{"stride": [-1, 1]}, {"groups": 0}, {"size": [0, 2]}])
def test_windows_that_would_leave_the_picture_are_refused(tmp_path, change):
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.MaxPool2d(2))
    path = tmp_path / "policy.npz"
    write_program(path, program_of(seeded(module), PICTURE))
    kind = Pool if "size" in change else Conv
    tampered(path, kind.__name__.lower(), change)
    with pytest.raises(ExportError, match="not an exported policy"):
        read_program(path)


def test_an_export_from_before_groups_is_read(tmp_path):
    path = tmp_path / "policy.npz"
    program = program_of(seeded(nn.Conv2d(4, 4, 3)), PICTURE)
    write_program(path, program)
    tampered(path, "conv", {}, without="groups")
    x = np.ones((2, *PICTURE), np.float32)
    found, expected = (by_numpy(p, {"observation": x}) for p in (read_program(path), program))
    np.testing.assert_array_equal(found["values"], expected["values"])


def tampered(path, op, change, without=""):
    """Rewrites a program's file with other attributes of its operations of one kind."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    description = json.loads(str(arrays.pop("description")))
    for node in description["nodes"]:
        if node["op"] == op:
            node.update(change)
            node.pop(without, None)
    np.savez(path, description=np.array(json.dumps(description)), **arrays)
