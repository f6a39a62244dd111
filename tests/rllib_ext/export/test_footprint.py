"""Flash by count: tables exactly, code as a compiler for the chip makes it, within what is claimed."""

import itertools
import shutil

import numpy as np
import pytest
from export_programs import everything, sparse

from rllib_ext.export.builder import Builder
from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_text import FLOAT
from rllib_ext.export.footprint import counted_bytes
from rllib_ext.export.measure import CORTEX_M4, object_size
from rllib_ext.export.operations import ArgMax, Dense, Unary

NO_CHIP = shutil.which("arm-none-eabi-gcc") is None


def perceptron(*widths, kept=1.0, activation="tanh", seed=0):
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.given("observation", (), (widths[0],), "float32")
    for inputs, outputs in itertools.pairwise(widths):
        weight = sparse(rng, outputs, inputs, kept=kept)
        weight[:, 0] = 1.0
        x = b.add(Dense(weight=weight, bias=sparse(rng, outputs)), x)
        x = b.add(Unary(kind=activation), x)
    b.result("action", b.add(ArgMax(), x), "int64", ())
    b.result("logits", x, "float32")
    return b.program()


def test_tables_are_counted_as_they_are_laid_out():
    # 100 to 100, all kept: a dense table of floats and one of biases; what is left is code.
    small, large = perceptron(48, 100), perceptron(100, 100)
    assert counted_bytes(large) - counted_bytes(small) == 4 * 100 * 52
    assert 0 < counted_bytes(large) - 4 * (100 * 100 + 100) < 1_000
    # One in ten kept: their values, an index of a byte each, and where each row ends.
    thin = perceptron(100, 100, kept=0.1)
    kept = int(np.count_nonzero(thin.nodes[1].operation.weight))
    tables = kept * (4 + 1) + 100 * 2 + 4 * 100
    assert 0 < counted_bytes(thin) - tables < 1_000


def test_less_that_is_kept_takes_less():
    sizes = [counted_bytes(perceptron(20, 64, 64, 3, kept=kept)) for kept in (0.6, 0.3, 0.1, 0.02)]
    assert sizes == sorted(sizes, reverse=True)


def test_values_do_not_count_but_where_they_are_zero():
    one = perceptron(6, 12, 2)
    nodes = [node.operation for node in one.nodes]
    for layer in (o for o in nodes if isinstance(o, Dense)):
        layer.weight[layer.weight != 0] *= 3.25
    assert counted_bytes(one) == counted_bytes(perceptron(6, 12, 2))


@pytest.mark.skipif(NO_CHIP, reason="no arm-none-eabi-gcc")
@pytest.mark.parametrize(
    "program",
    [
        perceptron(4, 2),
        perceptron(8, 3, 2, activation="relu"),
        perceptron(8, 64, 64, 4),
        perceptron(24, 32, 32, 6, kept=0.1),
        everything(),
    ],
    ids=["linear", "tiny", "dense", "sparse", "everything"],
)
def test_the_chip_s_compiler_makes_about_as_much(tmp_path, program):
    source = write_c(program, FLOAT, "policy", ())
    (tmp_path / "policy.h").write_text(source.header)
    (tmp_path / "policy.c").write_text(source.source)
    size = object_size(tmp_path / "policy.c", *CORTEX_M4, prefix="arm-none-eabi-")
    assert counted_bytes(program) == pytest.approx(size["flash"], rel=0.3, abs=60)
