"""What a process looks at before it trains."""

import dataclasses

import pytest

from rllib_ext.export import timing
from rllib_ext.export.errors import ExportError
from rllib_ext.member.trainable import MemberSettings


def test_a_process_that_cannot_time_what_its_search_decided_on_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "compiler", lambda: None)
    settings = MemberSettings(folder=str(tmp_path), ppo_config=None, evaluation_interval=1)
    settings.prove_seen()
    timed = dataclasses.replace(settings, measured=("latency",), timed_form="c")
    with pytest.raises(ExportError, match="this machine has no C compiler"):
        timed.prove_seen()
