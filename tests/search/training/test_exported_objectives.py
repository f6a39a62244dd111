"""Objectives that need an export are refused before anything trains where there can be none."""

import pytest
from pretended_search import coordinated

from rllib_ext.pruning.errors import ConfigError
from search.runs.check import describe_plan
from search.runs.preparation import TIMED_FORM, prepare, prepare_again
from search.store.folder import update_manifest
from search.training import exported_objectives
from search.training.exported_objectives import timed_form_of


@pytest.fixture
def machine(monkeypatch):
    """What can be timed on this machine."""
    forms = ["c"]
    monkeypatch.setattr(exported_objectives, "timed_form", lambda: forms[0] if forms else "")

    def refuse(form):
        if form and form not in forms:
            raise exported_objectives.ExportError(f"no {form} here")

    monkeypatch.setattr(exported_objectives, "refuse_untimed", refuse)
    return forms


def searching_for(*names, **more):
    return coordinated(search={"objectives": ["return", *names]}, **more)


def test_the_form_is_decided_when_a_search_begins_and_kept(machine, tmp_path):
    config = searching_for("sparsity", "latency")
    assert prepare(config).timed_form == "c"
    update_manifest(tmp_path, **{TIMED_FORM: "c"})
    machine[:] = ["c", "onnx"]
    assert prepare_again(config, tmp_path).timed_form == "c"
    # Times in C and in ONNX can't be compared.
    machine[:] = ["onnx"]
    assert timed_form_of(config) == "onnx"
    with pytest.raises(ConfigError, match=r"search.objectives: latency: no c here"):
        prepare_again(config, tmp_path)


def test_latency_is_refused_where_nothing_can_be_timed_and_bytes_are_not(machine):
    machine.clear()
    with pytest.raises(ConfigError, match=r"neither a C compiler here.*apt install gcc.*\[onnx\]"):
        prepare(searching_for("latency"))
    assert prepare(searching_for("bytes")).timed_form == ""
    assert prepare(searching_for("macs")).timed_form == ""


def test_what_cannot_be_exported_is_refused_by_name(monkeypatch):
    def refuse(parts, masks):
        raise exported_objectives.ExportError("Odd can't be exported: it branches.")

    monkeypatch.setattr(exported_objectives, "program_of", refuse)
    for look in (prepare, describe_plan):
        with pytest.raises(ConfigError, match=r"search.objectives: bytes .*Odd can't .*for macs"):
            look(searching_for("sparsity", "bytes"))
    assert prepare(searching_for("sparsity", "macs"))


def test_a_plan_says_in_which_form_how_often_and_how_long(machine):
    told = describe_plan(searching_for("sparsity", "bytes", "latency"))
    assert "objectives  return, sparsity, bytes, latency" in told
    assert "latency     of the policy in C, by the machine that trains it" in told
    assert "measured    about " in told
    assert "bytes " not in describe_plan(searching_for("sparsity", "macs"))
    assert "objectives" not in describe_plan(coordinated())
