"""An export is there whole, or not at all."""

import pytest
from export_policies import small

from rllib_ext.export import export_policy, exporting
from rllib_ext.export.exporting import Options
from rllib_ext.export.opened import untrained

SHORT = {"episodes": 2, "observations": 20, "measure": False}


def test_nothing_stays_of_what_is_interrupted(tmp_path, monkeypatch):
    config = small("CartPole-v1", {})
    parts = untrained(config)
    export_policy(parts, {}, config, tmp_path, Options(formats=("numpy",), **SHORT))
    before = sorted(tmp_path.rglob("*"))

    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_policy(parts, {}, config, tmp_path, Options(formats=("numpy", "c"), **SHORT))
    assert sorted(tmp_path.rglob("*")) == before
