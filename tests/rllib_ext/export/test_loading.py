"""Loading an export runs no code from it, and needs neither Ray nor RLlib."""

import contextlib
import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from rllib_ext.export import load
from rllib_ext.export.builder import Builder
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.errors import ExportError
from rllib_ext.export.forms import FORMATS, Choice, write_form
from rllib_ext.export.loading import CONTRACT
from rllib_ext.export.operations import ArgMax, Dense, Unary


def small_program():
    rng = np.random.default_rng(0)
    builder = Builder()
    x = builder.given("observation", (), (3,), "float32")
    weight = rng.normal(size=(5, 3)).astype(np.float32)
    h = builder.add(Dense(weight=weight, bias=np.ones(5, np.float32)), x)
    h = builder.add(Unary(kind="tanh"), h)
    weight = rng.normal(size=(2, 5)).astype(np.float32)
    logits = builder.add(Dense(weight=weight, bias=np.zeros(2, np.float32)), h)
    builder.result("action", builder.add(ArgMax(), logits), "int64", ())
    builder.result("logits", logits, "float32")
    return builder.program()


def write(folder, kind, numbers=None):
    folder.mkdir(exist_ok=True)
    written = write_form(folder, small_program(), Choice(format=kind, numbers=numbers or Numbers()))
    form = {"format": kind, "main": written.main, **written.facts}
    (folder / CONTRACT).write_text(json.dumps({"form": form}))
    return folder / written.main


@pytest.mark.parametrize("kind", FORMATS)
def test_a_batch_gives_what_single_observations_give(tmp_path, kind):
    write(tmp_path, kind)
    policy = load(tmp_path)
    observations = 2 * np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    singly = [int(policy(o)) for o in observations]
    assert singly == policy(observations).tolist()
    assert {0, 1} == set(singly)
    outputs = policy.outputs(observations)["logits"]
    np.testing.assert_allclose(outputs[3], policy.outputs(observations[3])["logits"], rtol=1e-5)


@pytest.mark.parametrize("kind", FORMATS)
def test_neither_ray_nor_gymnasium_is_loaded(tmp_path, kind):
    write(tmp_path, kind)
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('ray', 'gymnasium', 'search'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from rllib_ext.export import load\n"
        "print(load(sys.argv[1])([0.1, 0.2, 0.3]))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() in ("0", "1"), run.stderr


def test_the_loader_beside_numpys_form_needs_numpy_alone(tmp_path):
    write(tmp_path, "numpy")
    code = (
        "import sys; import policy as p; print(p.load('policy.npz')([0.1, 0.2, 0.3]));"
        "assert not {'ray', 'torch', 'rllib_ext'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.stdout.strip() in ("0", "1"), run.stderr


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').close()",))


@pytest.fixture
def sprung(tmp_path):
    return tmp_path / "sprung"


def test_the_trap_works(sprung):
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_pickle_among_the_arrays_is_refused(tmp_path, sprung, kind):
    write(tmp_path / "x", kind)
    path = tmp_path / "x" / "policy.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "1.weight": np.array([Trap(sprung)], dtype=object)})
    with pytest.raises(ExportError, match="nothing of it is unpickled"):
        load(tmp_path / "x")
    assert not sprung.exists()


def test_a_pickle_instead_of_the_file_is_refused(tmp_path, sprung):
    path = write(tmp_path / "x", "numpy")
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ExportError):
        load(tmp_path / "x")
    assert not sprung.exists()


def test_c_that_was_changed_is_not_compiled(tmp_path):
    path = write(tmp_path, "c")
    load(tmp_path)
    path.write_text(path.read_text().replace("#include <math.h>", "#include <math.h>\nint x;"))
    with pytest.raises(ExportError, match="C is code"):
        load(tmp_path)


def test_a_header_that_was_changed_is_not_compiled(tmp_path):
    path = write(tmp_path, "c").with_suffix(".h")
    path.write_text(path.read_text() + "int x;\n")
    with pytest.raises(ExportError, match="C is code"):
        load(tmp_path)


def test_a_header_s_comment_is_no_place_for_code(tmp_path):
    path = write(tmp_path, "c").with_suffix(".h")
    path.write_text("/* */ int x; " + path.read_text())
    with pytest.raises(ExportError, match="C is code"):
        load(tmp_path)


def changed_archive(path, change):
    """Rewrites the files of an archive of torch.export."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path.write_bytes(into.getvalue())


def model_of(files):
    return next(name for name in files if name.endswith("models/model.json"))


def edit_model(edit):
    def change(files):
        name = model_of(files)
        values = json.loads(files[name])
        edit(values)
        files[name] = json.dumps(values).encode()

    return change


def call_something_else(values):
    values["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.os.system"


def evaluate_something(values):
    tensors = values["graph_module"]["graph"]["tensor_values"]
    for tensor in tensors.values():
        for size in tensor["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = "__import__('os').system('true')"


def check_with_code(values):
    values["guards_code"] = ["__import__('os').system('true')"]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (call_something_else, "torch.hub.os.system"),
        (evaluate_something, "__import__"),
        (check_with_code, "Python code"),
    ],
)
def test_a_torch_program_that_names_code_is_refused(tmp_path, edit, reason):
    changed_archive(write(tmp_path, "torch"), edit_model(edit))
    with pytest.raises(ExportError, match=reason):
        load(tmp_path)


def test_pickled_weights_of_torch_are_refused(tmp_path, sprung):
    def change(files):
        name = next(n for n in files if n.endswith("model_weights_config.json"))
        values = json.loads(files[name])
        next(iter(values["config"].values()))["use_pickle"] = True
        files[name] = json.dumps(values).encode()
        first = next(n for n in files if n.endswith("weight_0"))
        files[first] = pickle.dumps(Trap(sprung))

    changed_archive(write(tmp_path / "x", "torch"), change)
    with pytest.raises(ExportError, match="pickled"):
        load(tmp_path / "x")
    assert not sprung.exists()


def test_example_inputs_of_torch_are_never_read(tmp_path, sprung):
    def change(files):
        name = next(n for n in files if n.endswith("sample_inputs/model.pt"))
        files[name] = pickle.dumps(Trap(sprung))

    changed_archive(write(tmp_path / "x", "torch"), change)
    load(tmp_path / "x")([0.1, 0.2, 0.3])
    assert not sprung.exists()


def test_further_files_in_a_torch_program_are_refused(tmp_path):
    def change(files):
        prefix = next(iter(files)).partition("/")[0]
        files[f"{prefix}/data/aotinductor/model/x.so"] = b""

    changed_archive(write(tmp_path, "torch"), change)
    with pytest.raises(ExportError, match="no use for"):
        load(tmp_path)


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"policy\.json"):
        load(tmp_path)


EVIL = """
#include <stdio.h>
__attribute__((constructor)) static void spring(void) { fclose(fopen("%s", "w")); }
"""


@pytest.mark.parametrize("where", ["comment", "self-test"])
def test_c_that_hides_where_nobody_looks_never_runs(tmp_path, sprung, where):
    source = write(tmp_path / "x", "c")
    code = EVIL % sprung
    if where == "comment":
        header = source.with_suffix(".h")
        hidden = header.read_text().replace("/*\n", f"/*\n */ {code} /*\n", 1)
        header.write_text(hidden)
    else:
        source.write_text(source.read_text() + f"\n#ifdef POLICY_TEST\n#endif\n{code}")
    with contextlib.suppress(ExportError):
        load(tmp_path / "x")([0.1, 0.2, 0.3])
    assert not sprung.exists()


def edit_program(path, edit):
    with np.load(path) as file:
        arrays = dict(file)
    description = json.loads(str(arrays["description"]))
    edit(description, arrays)
    np.savez(path, **{**arrays, "description": np.array(json.dumps(description))})


def rename_input(description, arrays):
    description["given"][0]["name"] = "x[9]; } void evil(void) { float y"
    description["nodes"][0]["name"] = description["given"][0]["name"]


def unknown_function(description, arrays):
    description["nodes"][2]["kind"] = "system"


def larger_result(description, arrays):
    description["nodes"][1]["shape"] = [50]


def shorter_bias(description, arrays):
    arrays["1.bias"] = arrays["1.bias"][:1]


def later_node(description, arrays):
    description["nodes"][1]["inputs"] = [3]


def text_for_a_number(description, arrays):
    description["results"][0]["node"] = "0; evil()"


@pytest.mark.parametrize(
    "edit",
    [rename_input, unknown_function, larger_result, shorter_bias, later_node, text_for_a_number],
)
@pytest.mark.parametrize("kind", ["c", "onnx"])
def test_a_program_that_does_not_hold_together_is_refused(tmp_path, kind, edit):
    write(tmp_path, kind)
    edit_program(tmp_path / "policy.npz", edit)
    with pytest.raises(ExportError, match="not an exported policy"):
        load(tmp_path)
