"""A policy in C passes its self-test on a Cortex-M4, as QEMU has one."""

import pytest
from cortex_m4 import missing_tools, run_self_test
from export_programs import batch_of, by_numpy, everything

from rllib_ext.export.c_form import write_c
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.measure import CORTEX_M4, object_size
from rllib_ext.export.quantise import with_int8_weights

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"no {', '.join(missing_tools())}")


@pytest.mark.parametrize("numbers", [Numbers(), Numbers("float", int8=True)], ids=["float", "int8"])
def test_the_self_test_passes_on_the_chip(tmp_path, numbers):
    program = everything()
    reference = with_int8_weights(program) if numbers.int8 else program
    vectors = []
    state = {c.name: c.initial[None] for c in program.carried}
    feeds = batch_of(program, 6)
    for row in range(6):
        given = {g.name: feeds[g.name][row : row + 1] for g in program.given}
        out = by_numpy(reference, {**given, **state})
        state = {name: out.pop(name) for name in state}
        vectors.append({name: value[0] for name, value in {**given, **out}.items()})
    source = write_c(program, numbers, "policy", (), vectors)
    (tmp_path / "policy.h").write_text(source.header)
    (tmp_path / "policy.c").write_text(source.source)
    run = run_self_test(tmp_path / "policy.c", tmp_path)
    assert (run.returncode, run.stdout) == (0, "6 decisions as expected\n"), run.stderr
    size = object_size(tmp_path / "policy.c", *CORTEX_M4, prefix="arm-none-eabi-")
    assert size["static_ram"] == 0
    assert 0 < size["flash"] < 20_000
