"""What torch computes of a vector: every form gives the same, or it is refused in words."""

import numpy as np
import pytest
import torch
from export_programs import by_numpy
from torch.nn.functional import one_hot

from rllib_ext.export.builder import Builder
from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_run import CompiledPolicy, compiler
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.errors import ExportError
from rllib_ext.export.onnx_form import write_onnx
from rllib_ext.export.onnx_run import onnx_run
from rllib_ext.export.torch_form import write_torch
from rllib_ext.export.torch_run import torch_run
from rllib_ext.export.trace import trace_function

WEIGHTS = torch.linspace(-1, 2, 6)
FUNCTIONS = {
    "what is left of a fixed vector": lambda x: torch.rsub(x, WEIGHTS, alpha=2),
    "logarithms of shares": lambda x: torch.log_softmax(x, -1),
    "logarithms of shares that are next to nothing": lambda x: torch.log_softmax(100 * x, -1),
    "a whole number above a bound": lambda x: x.argmax(-1).clamp(min=2).float(),
    "a whole number below a bound": lambda x: x.argmax(-1).clamp(max=3),
    "a whole number between bounds": lambda x: x.argmax(-1).clamp(1, 3) + 1,
    "whole numbers of a one-hot": lambda x: (one_hot(x.argmax(-1), 6) * 2 + 1).float() * x,
}
REFUSED = {
    "a division that rounds": lambda x: torch.div(x, 0.5, rounding_mode="floor"),
    "a power of its own for each element": lambda x: x**WEIGHTS,
}


def program_of(function):
    builder = Builder()
    node = trace_function(function, builder.given("observation", (), (6,), "float32"), builder, "f")
    builder.result("values", node, "float32")
    return builder.program()


def runs(folder, program):
    """How each form is run."""
    write_onnx(folder / "f.onnx", program, {})
    write_torch(folder / "f.pt2", program)
    found = {
        "numpy": lambda feeds: by_numpy(program, feeds),
        "onnx": onnx_run(folder / "f.onnx", program),
        "torch": torch_run(folder / "f.pt2", program),
    }
    if compiler():
        source = write_c(program, Numbers(), "f", ())
        (folder / "f.h").write_text(source.header)
        (folder / "f.c").write_text(source.source)
        found["c"] = CompiledPolicy(program, Numbers(), folder / "f.c", "f").run
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_form_gives_what_torch_gives(tmp_path, name):
    x = torch.randn((50, 6), generator=torch.Generator().manual_seed(1))
    expected = FUNCTIONS[name](x).numpy()
    for form, run in runs(tmp_path, program_of(FUNCTIONS[name])).items():
        found = run({"observation": x.numpy()})["values"]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6, err_msg=form)


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_form_has_is_refused_in_words(what):
    with pytest.raises(ExportError, match=f"it uses {what}, which no form of an export has"):
        program_of(REFUSED[what])
