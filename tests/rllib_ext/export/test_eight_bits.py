"""Weights in 8 bits, as `prunefront export --numbers int8` writes them."""

import numpy as np
import pytest
from export_policies import small

from rllib_ext.export import export_policy, load
from rllib_ext.export.c_text import Numbers
from rllib_ext.export.exporting import Options
from rllib_ext.export.opened import untrained

SHORT = {"episodes": 2, "observations": 40, "measure": False}


def test_actions_can_be_drawn(tmp_path):
    config = small("Pendulum-v1", {})
    options = Options(formats=("c", "numpy"), numbers=Numbers(int8=True), stochastic=True, **SHORT)
    contracts = export_policy(untrained(config), {}, config, tmp_path, options)
    verified = contracts["c"]["verified"]
    assert verified["allowed"] is None
    assert 1e-5 < verified["largest_relative_difference"] < 0.1
    assert contracts["numpy"]["verified"]["allowed"] == 1e-5
    given = {"noise": np.ones(1, np.float32)}
    with pytest.raises(ValueError, match=r"noise={'noise': …}, normal numbers of shape \(1,\)"):
        load(tmp_path / "numpy")(np.ones(3))
    one, other = (load(tmp_path / kind)(np.ones(3), given) for kind in contracts)
    np.testing.assert_allclose(one, other, atol=0.1)


@pytest.mark.parametrize(
    ("int8", "stochastic", "line"),
    [
        (False, False, "Mean return "),
        (True, False, "Mean return of its weights before they were rounded to 8 bits: "),
        (False, True, "Mean return of its most likely actions: "),
    ],
)
def test_the_header_says_whose_return_it_names(tmp_path, int8, stochastic, line):
    config = small("Pendulum-v1", {})
    options = Options(formats=("c",), numbers=Numbers(int8=int8), stochastic=stochastic, **SHORT)
    contract = export_policy(untrained(config), {}, config, tmp_path, options)["c"]
    mean = contract["return"]["verification"]["mean"]
    header = (tmp_path / "c" / "policy.h").read_text()
    assert f" * {line}{mean:.6g} (95 % interval " in header
    same = contract["verified"]["return"]["mean"] == pytest.approx(mean, rel=1e-6)
    assert same is not (int8 or stochastic)
