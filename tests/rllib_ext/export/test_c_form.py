"""C computes what numpy computes, in all of its forms, under strict compilers."""

import shutil
import subprocess

import numpy as np
import pytest
from export_programs import batch_of, by_numpy, everything, sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ext.export import c_run
from rllib_ext.export.builder import Builder
from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_matrix import product
from rllib_ext.export.c_run import CompiledPolicy, compiled
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.errors import ExportError
from rllib_ext.export.operations import UNARY, Concat, Conv, Dense, Unary
from rllib_ext.export.quantise import quantised, with_int8_weights

ALL = [Numbers(), Numbers("double"), Numbers("float", int8=True)]
IDS = ["float", "double", "int8"]
COMPILERS = [
    pytest.param(cc, marks=pytest.mark.skipif(shutil.which(cc) is None, reason=f"no {cc}"))
    for cc in ("gcc", "clang")
]


def files(folder, source, name="policy"):
    (folder / f"{name}.h").write_text(source.header)
    (folder / f"{name}.c").write_text(source.source)
    return folder / f"{name}.c"


def compare(program, numbers, folder, feeds, rtol=2e-5):
    source = write_c(program, numbers, "policy", ())
    found = CompiledPolicy(program, numbers, files(folder, source), "policy").run(feeds)
    expected = by_numpy(with_int8_weights(program) if numbers.int8 else program, feeds)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if np.issubdtype(values.dtype, np.floating):
            scale = np.abs(values).max()
            np.testing.assert_allclose(found[name] / scale, values / scale, atol=rtol, err_msg=name)
        else:
            assert (found[name] == values).mean() > 0.99, name


@pytest.mark.parametrize("numbers", ALL, ids=IDS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 1.0])
def test_every_operation_gives_what_numpy_gives(tmp_path, numbers, kept):
    program = everything(kept=kept)
    compare(program, numbers, tmp_path, batch_of(program, 50))


def test_a_state_becomes_what_another_was(tmp_path):
    b = Builder()
    x = b.given("observation", (), (2,), "float32")
    last, before = (b.state(f"state_{name}", np.zeros(2)) for name in ("last", "before"))
    b.update("state_last", x)
    b.update("state_before", last)
    b.result("values", b.add(Concat(axis=0), x, last, before), "float32", ())
    program = b.program()
    feeds = batch_of(program, 5)
    feeds["state_last"] += 3
    feeds["state_before"] += 7
    compare(program, Numbers(), tmp_path, feeds)


@pytest.mark.parametrize("kind", UNARY)
@pytest.mark.parametrize("numbers", ALL[:2], ids=IDS[:2])
def test_every_function_gives_what_numpy_gives(tmp_path, kind, numbers):
    b = Builder()
    x = b.given("observation", (), (1,), "float32")
    b.result("values", b.add(Unary(kind=kind, alpha=0.3), x), "float32", ())
    values = np.linspace(-12, 12, 4001, dtype=np.float32)[:, None]
    if kind in ("log", "sqrt"):
        values = np.abs(values) + np.float32(1e-3)
    compare(b.program(), numbers, tmp_path, {"observation": values}, rtol=1e-6)


@pytest.mark.parametrize("kind", [k for k in UNARY if k not in ("tanh", "sigmoid", "silu")])
def test_nan_stays_nan_but_in_a_fast_tanh(tmp_path, kind):
    b = Builder()
    x = b.given("observation", (), (1,), "float32")
    b.result("values", b.add(Unary(kind=kind, alpha=0.3), x), "float32", ())
    source = files(tmp_path, write_c(b.program(), Numbers(), "policy", ()))
    feeds = {"observation": np.full((1, 1), np.nan, np.float32)}
    found = CompiledPolicy(b.program(), Numbers(), source, "policy").run(feeds)
    assert np.isnan(found["values"]).all()


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("numbers", ALL, ids=IDS)
def test_the_self_test_passes_where_strict_compilers_have_nothing_to_say(tmp_path, numbers, cc):
    program = everything()
    reference = with_int8_weights(program) if numbers.int8 else program
    vectors, feeds = [], batch_of(program, 12)
    state = {c.name: c.initial[None] for c in program.carried}
    for row in range(12):
        given_ = {g.name: feeds[g.name][row : row + 1] for g in program.given}
        out = by_numpy(reference, {**given_, **state})
        state = {name: out.pop(name) for name in state}
        vectors.append({n: v[0] for n, v in {**given_, **out}.items()})
    source = files(tmp_path, write_c(program, numbers, "policy", ["About."], vectors))
    compiled([source], tmp_path / "test", "-O1", "-DPOLICY_TEST", cc=cc)
    run = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "12 decisions as expected\n")
    # And it can fail.
    vectors[7]["values"] = vectors[7]["values"] + 0.5
    source = files(tmp_path, write_c(program, numbers, "policy", (), vectors))
    compiled([source], tmp_path / "test", "-O1", "-DPOLICY_TEST", cc=cc)
    run = subprocess.run([tmp_path / "test"], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "decision 7: values" in run.stdout


def test_a_compiler_that_takes_too_long_is_ended_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(c_run, "_TIMEOUT_S", 0.2)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    (source := tmp_path / "policy.c").touch()
    with pytest.raises(ExportError, match=r"policy\.c takes more than 0\.2 seconds.*--format"):
        compiled([source], tmp_path / "out", cc=str(slow))


CPP = """#include "policy.h"

int main() {
    static policy_state state;
    static policy_input in;
    static policy_output out;
    policy_reset(&state);
    policy_act(&state, &in, &out);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
@pytest.mark.parametrize("numbers", ALL, ids=IDS)
def test_a_program_in_cpp_calls_it(tmp_path, numbers):
    source = files(tmp_path, write_c(everything(), numbers, "policy", ["About."]))
    compiled([source], tmp_path / "policy.o", "-c")
    (tmp_path / "main.cpp").write_text(CPP)
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    for parts in (["main.cpp", "policy.o"], ["main.cpp", "-x", "c++", "policy.c"]):
        command = ["g++", *strict, *parts, "-lm", "-o", "main"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        subprocess.run([tmp_path / "main"], check=True)


@given(
    st.integers(1, 12), st.integers(1, 40), st.floats(0.0, 1.0), st.integers(0, 2**16),
    st.sampled_from(ALL), st.booleans(),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_the_shorter_form_of_a_matrix_is_taken(rows, columns, kept, seed, numbers, biased):
    rng = np.random.default_rng(seed)
    matrix = sparse(rng, rows, columns, kept=kept)
    bias = sparse(rng, rows, kept=float(biased))
    found = product(numbers, "t", matrix, bias, "x", "y")
    weights = np.count_nonzero(matrix)
    if numbers.int8:
        assert found.kind in ("sparse", "dense")
    elif weights <= 64:
        assert found.kind == "written out"
        assert found.code.count("* x[") == weights
    if found.kind == "sparse":
        assert weights < rows * columns


@pytest.mark.parametrize("numbers", ALL, ids=IDS)
@pytest.mark.parametrize(("kept", "kind"), [(0.1, "sparse"), (1.0, "dense"), (0.02, "written out")])
def test_each_form_of_a_matrix_gives_what_numpy_gives(tmp_path, numbers, kept, kind):
    rng = np.random.default_rng(5)
    b = Builder()
    x = b.given("observation", (), (43,), "float32")
    y = b.add(Dense(weight=sparse(rng, 37, 43, kept=kept), bias=sparse(rng, 37)), x)
    b.result("values", y, "float32", ())
    program = b.program()
    kinds = write_c(program, numbers, "policy", ()).kinds
    assert kinds == ("sparse" if numbers.int8 and kind == "written out" else kind,)
    compare(program, numbers, tmp_path, batch_of(program, 9))


@pytest.mark.parametrize("numbers", ALL, ids=IDS)
def test_layers_of_which_nothing_is_left_give_their_biases(tmp_path, numbers):
    b = Builder()
    x = b.given("observation", (), (1, 8, 8), "float32")
    kernel, matrix = np.zeros((3, 1, 2, 2), np.float32), np.zeros((40, 147), np.float32)
    bias = np.arange(3, dtype=np.float32)
    picture = b.add(Conv(weight=kernel, bias=bias, stride=(1, 1), dilation=(1, 1)), x)
    last = np.arange(40, dtype=np.float32)
    b.result("picture", picture, "float32")
    b.result("values", b.add(Dense(weight=matrix, bias=last), b.flat(picture)), "float32", ())
    compare(b.program(), numbers, tmp_path, batch_of(b.program(), 2))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**16))
def test_eight_bits_are_within_half_a_step_of_each_row(rows, columns, seed):
    matrix = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    whole, scale = quantised(matrix)
    assert np.abs(whole).max() <= 127
    apart = np.abs(whole * scale[:, None] - matrix)
    assert (apart <= 0.5001 * scale[:, None]).all()
    again, same = quantised((whole * scale[:, None]).astype(np.float32))
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_allclose(same, scale, rtol=1e-6)


def test_a_name_that_is_none_in_c_is_refused():
    with pytest.raises(ExportError, match="no name in C"):
        write_c(everything(), Numbers(), "my policy", ())
