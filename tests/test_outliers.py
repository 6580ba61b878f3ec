import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nwslib.outliers import robust_score, trailing_score

SERIES = hnp.arrays(
    float,
    st.tuples(st.integers(1, 3), st.integers(1, 12)),
    elements=st.one_of(
        st.integers(-50, 50).map(float), st.just(np.nan), st.just(-np.inf)
    ),
)


def test_median_and_deviation_of_the_past():
    # median 3; deviations 2, 1, 0, 1, 97: their median is 1
    past = [1, 2, 3, 4, 100]
    assert robust_score(7, past, least=5, floor=0.1) == pytest.approx(4 / 1.4826)
    assert robust_score(7, past, least=5, floor=2.0) == pytest.approx(2.0)
    assert robust_score(-1, past, least=5, floor=2.0) == pytest.approx(-2.0)


def test_an_outlier_does_not_hide_the_next():
    series = np.sin(np.arange(30.0))
    series[20:22] = 50.0
    scores = trailing_score(series, window=20, least=10, floor=0.01)
    assert scores[20] > 30 and scores[21] > 30
    assert np.abs(scores[10:20]).max() < 3


def test_normal_values_have_scores_of_unit_deviation():
    values = np.random.default_rng(0).normal(5, 3, size=20_000)
    past = np.random.default_rng(1).normal(5, 3, size=10_001)
    scores = robust_score(values, past, least=1, floor=1e-9)
    assert scores.std() == pytest.approx(1, abs=0.03)


def test_too_short_a_past_gives_no_score():
    scores = trailing_score(np.arange(6.0), window=4, least=3, floor=1.0)
    assert np.isnan(scores[:3]).all() and np.isfinite(scores[3:]).all()
    assert np.isnan(robust_score(1.0, [], least=0, floor=1.0))
    assert robust_score(np.ones(2), np.zeros((2, 0)), least=0, floor=1.0).shape == (2,)


def test_what_is_not_finite_is_missing():
    past = [1.0, np.nan, 3.0, -np.inf, 2.0]
    assert robust_score(4, past, least=3, floor=0.1) == robust_score(
        4, [1, 2, 3], least=3, floor=0.1
    )
    assert np.isnan(robust_score(4, past, least=4, floor=0.1))
    assert np.isnan(robust_score(np.nan, [1, 2, 3], least=1, floor=0.1))


@given(SERIES, st.integers(1, 5), st.integers(1, 4))
def test_batch_and_one_at_a_time_agree(series, window, least):
    batch = trailing_score(series, window=window, least=least, floor=0.5)
    for i in range(series.shape[1]):
        past = series[:, max(0, i - window) : i]
        one = robust_score(series[:, i], past, least=least, floor=0.5)
        np.testing.assert_array_equal(one, batch[:, i])


@given(st.floats(0.1, 10), st.floats(-10, 10), st.integers(0, 100))
def test_scores_know_neither_unit_nor_origin(scale, shift, seed):
    series = np.random.default_rng(seed).normal(size=30)
    one = trailing_score(series, window=10, least=5, floor=1e-6)
    other = trailing_score(scale * series + shift, window=10, least=5, floor=1e-6)
    np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6)
