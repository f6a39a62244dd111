import math

import numpy as np
import pytest

from search.front.retained import retained, scale_of


def test_retained_is_0_at_random_and_1_at_dense():
    assert retained([20, 260, 500, 740], 20, 500) == pytest.approx([0, 0.5, 1, 1.5])
    assert np.isnan(retained([20, 260], 500, 20)).all()


def test_scale_says_why_retained_is_unknown():
    rng = np.random.default_rng(0)
    unclear = scale_of(rng.normal(20, 30, 50), rng.normal(24, 30, 50))
    assert "not clearly above" in unclear.note
    assert math.isnan(unclear.retained_floor)
    assert "dense baseline has no episodes" in scale_of([1.0, 2.0], []).note
    clear = scale_of(rng.normal(20, 30, 50), rng.normal(90, 30, 50), constant=[40.0, 42.0])
    assert not clear.note
    assert clear.floor == 41
    assert clear.retained(clear.dense) == pytest.approx(1)
