"""What a search can steer by, held against the export itself."""

import math

import pytest
import torch
from export_policies import POLICIES, small
from own_modules import Branching
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.export import objectives
from rllib_ext.export.errors import ExportError
from rllib_ext.export.footprint import counted_bytes
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.export.opened import untrained
from rllib_ext.export.source import masked_program_of, program_of
from rllib_ext.export.timing import timed_form
from rllib_ext.policy.size import measured_size
from rllib_ext.pruning.masks import apply_masks_

FORM = timed_form()


def masked(parts, kept=0.3):
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(p.shape, generator=generator) < kept
        for name, p in parts.module.named_parameters()
        if p.dim() > 1 and "critic" not in name
    }
    apply_masks_(dict(parts.module.named_parameters()), masks)
    return masks


@pytest.mark.parametrize("name", ["tanh", "lstm", "dict", "cnn, frames", "clipped"])
def test_bytes_are_those_of_the_export_and_sizes_those_of_the_shrunk_module(name):
    parts = untrained(POLICIES[name]())
    dense = measured_objectives(("bytes", "macs"), parts, {})
    masks = masked(parts)
    found = measured_objectives(("bytes", "units", "macs"), parts, masks)
    assert list(found) == ["bytes", "units", "macs"]
    assert found["bytes"] == counted_bytes(program_of(parts, masks)) < dense["bytes"]
    sizes = measured_size(("units", "macs"), parts.module, masks)
    assert {key: found[key] for key in sizes} == sizes
    assert measured_objectives((), parts, masks) == {}


@pytest.mark.skipif(not FORM, reason="neither a compiler nor onnxruntime")
def test_a_latency_is_taken_in_the_form_that_is_asked_for(monkeypatch):
    parts = untrained(small("CartPole-v1", {}))
    before = {n: p.detach().clone() for n, p in parts.module.named_parameters()}
    asked = []
    taken = objectives.timer
    monkeypatch.setattr(
        objectives, "timer", lambda program, form: asked.append(form) or taken(program, form)
    )
    assert 0 < measured_objectives(("latency",), parts, {}, FORM)["latency"] < 1e6
    assert asked == [FORM]
    # What trains is left as it is.
    assert all(torch.equal(p, before[n]) for n, p in parts.module.named_parameters())


def test_where_the_shrunk_policy_cannot_be_exported_the_masked_one_counts(monkeypatch):
    parts = untrained(small("CartPole-v1", {}))
    masks = masked(parts)

    def refuse(parts, masks):
        raise ExportError("not in this shape")

    monkeypatch.setattr(objectives, "program_of", refuse)
    found = measured_objectives(("bytes",), parts, masks)
    assert found["bytes"] == counted_bytes(masked_program_of(parts, masks))


def test_a_policy_that_diverged_has_a_size_and_stays_as_it_is():
    parts = untrained(small("CartPole-v1", {}))
    weight = next(p for n, p in parts.module.named_parameters() if n.startswith("pi."))
    whole = measured_objectives(("bytes",), parts, {})
    with torch.no_grad():
        weight.fill_(math.nan)
    assert measured_objectives(("bytes",), parts, {}) == whole
    assert weight.isnan().all()


def test_what_cannot_be_exported_at_all_is_an_error():
    spec = RLModuleSpec(module_class=Branching, model_config={"fcnet_hiddens": [8]})
    parts = untrained(small("CartPole-v1", {}).rl_module(rl_module_spec=spec))
    with pytest.raises(ExportError, match="Branching can't be exported"):
        measured_objectives(("bytes",), parts, {})
    assert measured_objectives(("macs",), parts, {})["macs"] > 0
