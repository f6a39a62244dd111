"""What the report's policies weigh as exported, held against an export of the same policy."""

import math

import pytest
import torch
from export_policies import small
from own_modules import Branching
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.export import export_policy, figures, timing
from rllib_ext.export.errors import ExportError
from rllib_ext.export.exporting import Options
from rllib_ext.export.figures import FIGURES, WIRING, exported_figures
from rllib_ext.export.forms import Choice, write_form
from rllib_ext.export.measure import object_size
from rllib_ext.export.opened import untrained
from rllib_ext.export.source import program_of
from rllib_ext.export.timing import can_time


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two policies on disk, and one that can't be exported."""
    place = tmp_path_factory.mktemp("policies")
    spec = RLModuleSpec(module_class=Branching, model_config={"fcnet_hiddens": [8]})
    ppos = {
        "small": small("CartPole-v1", {"fcnet_hiddens": [4]}),
        "large": small("CartPole-v1", {"fcnet_hiddens": [64, 64]}),
        "branching": small("CartPole-v1", {}).rl_module(rl_module_spec=spec),
    }
    for name, ppo in ppos.items():
        untrained(ppo).save({}, place / name, {})
    return {name: place / name for name in ppos}


@pytest.mark.skipif(not can_time("c"), reason="no C compiler")
def test_flash_is_that_of_the_export_and_a_refusal_is_a_sentence(saved, tmp_path):
    found = exported_figures(saved)
    assert all(list(each) == [*FIGURES, WIRING] for each in found.values())
    parts = untrained(small("CartPole-v1", {"fcnet_hiddens": [64, 64]}))
    written = write_form(tmp_path, program_of(parts, {}), Choice(format="c"))
    flash = object_size(tmp_path / written.main)["flash"]
    assert found["large"]["c_flash_bytes"] == pytest.approx(flash, rel=0.01)
    assert found["small"]["c_flash_bytes"] < flash / 5
    for name in ("small", "large"):
        assert found[name]["c_latency_us"] > 0
        assert found[name]["onnx_latency_us"] is found[name]["export_note"] is None
    assert "Branching can't be exported" in found["branching"]["export_note"]
    assert found["branching"]["c_latency_us"] is found["branching"]["c_flash_bytes"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_policy_that_diverged_is_said_to_have(tmp_path, value):
    config = small("CartPole-v1", {})
    parts = untrained(config)
    with torch.no_grad():
        parts.module.pi.net.mlp[0].weight[0, 0] = value
    options = Options(formats=("numpy",), episodes=2, observations=10, measure=False)
    with pytest.raises(ExportError, match="its training has diverged"):
        export_policy(parts, {}, config, tmp_path, options)
    parts.save({}, tmp_path / "policy", {})
    found = exported_figures({"diverged": tmp_path / "policy"})["diverged"]
    assert "its training has diverged" in found.pop("export_note")
    assert set(found.values()) == {None}


@pytest.mark.skipif(not can_time("onnx"), reason="no onnxruntime")
def test_without_a_compiler_it_is_onnx_and_says_so(saved, monkeypatch):
    monkeypatch.setattr(timing, "compiler", lambda: None)
    found = exported_figures({"small": saved["small"]})["small"]
    assert found["onnx_latency_us"] > 0
    assert found["onnx_file_bytes"] > 100
    assert found["c_flash_bytes"] is found["c_latency_us"] is None
    assert found["export_note"] == "measured in ONNX: there is no C compiler on this machine"


def test_where_nothing_can_run_it_nothing_is_measured_and_that_is_said(saved, monkeypatch):
    monkeypatch.setattr(figures, "timed_form", lambda: "")
    found = exported_figures({"small": saved["small"]})["small"]
    assert "neither a C compiler" in found.pop("export_note")
    # It can be drawn all the same.
    assert found.pop("wiring")["edges"]
    assert set(found.values()) == {None}


def test_what_a_compiler_would_take_long_for_is_left_to_the_export(saved, monkeypatch):
    monkeypatch.setattr(figures, "LARGEST", 10)
    found = exported_figures({"small": saved["small"]})["small"]
    assert "not measured in passing: " in found["export_note"]
    assert found["c_latency_us"] is None
