"""An export is there whole, or not at all."""

import pytest
from export_policies import small

from rllib_ext.export import export_policy, held_against
from rllib_ext.export.errors import ExportError
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

    monkeypatch.setattr(held_against, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_policy(parts, {}, config, tmp_path, Options(formats=("numpy", "c"), **SHORT))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_export_is_not_replaced(tmp_path):
    config = small("CartPole-v1", {})
    parts = untrained(config)
    own = tmp_path / "c" / "main.c"
    own.parent.mkdir()
    own.write_text("int main(void) { return 0; }")
    options = Options(formats=("numpy", "c"), **SHORT)
    with pytest.raises(ExportError, match="is there, and no export"):
        export_policy(parts, {}, config, tmp_path, options)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]
    own.unlink()
    for _ in range(2):
        # Nothing is lost of an empty folder, and an export takes the place of an earlier one.
        assert set(export_policy(parts, {}, config, tmp_path, options)) == {"numpy", "c"}
