import numpy as np
import pytest

from nwslib import forecast
from nwslib.forecast import (
    calibrate,
    change,
    error,
    features,
    first_above,
    fit,
    shortfall,
    skill,
    stop_early,
    trade_off,
    trailing_mean,
)
from nwslib.progress import QUANTITIES, others_mean

EPOCHS = np.arange(6)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def nets(rng, n=40, noise=0.0):
    """Nets that differ in one number, which features show and targets follow."""
    own = rng.normal(size=(n, 1))
    time = 10 * np.sqrt(EPOCHS)  # [epochs]
    inputs = np.stack([own + 0 * time, rng.normal(size=(n, 6)), 0 * own + time], -1)
    targets = (time + 3 * own + noise * rng.normal(size=(n, 6)))[..., None]
    return inputs, targets


# --- features ---------------------------------------------------------------


def test_features_stand_in_order_with_logs_of_lengths(rng):
    traced = {
        part: {q: rng.uniform(1, 2, size=(3, 5)) for q in QUANTITIES}
        for part in ("whole", "layer:a")
    }
    laid = features(traced, [2, 4], ["step", "turning"])
    assert laid.shape == (3, 2, 4)
    for k, (part, name) in enumerate(
        (p, q) for p in traced for q in ("step", "turning")
    ):
        values = traced[part][name][:, [2, 4]]
        expected = np.log(values) if name == "step" else values
        np.testing.assert_array_equal(laid[..., k], expected)
    assert features(traced, [1], parts=["whole"]).shape == (3, 1, len(QUANTITIES))


# --- models -----------------------------------------------------------------


def test_a_linear_relation_is_found(rng):
    inputs, targets = nets(rng)
    guess = forecast.forecast(inputs, targets, EPOCHS, "linear")
    found = skill(targets[..., 0], guess[..., 0], others_mean(targets)[..., 0])
    assert found.low > 0.95  # not 1: ridge shrinks


def test_trees_find_what_is_not_linear(rng):
    inputs, targets = nets(rng, n=80)
    targets = np.abs(targets - 10 * np.sqrt(EPOCHS)[:, None])
    reference = others_mean(targets)[..., 0]
    linear, trees = (
        skill(
            targets[..., 0],
            forecast.forecast(inputs, targets, EPOCHS, model)[..., 0],
            reference,
        )
        for model in ("linear", "trees")
    )
    assert trees.low > 0.7 > 0.2 > linear.high


@pytest.mark.parametrize("model", forecast.MODELS)
def test_noise_has_no_skill(model, rng):
    inputs = rng.normal(size=(30, 6, 3))
    targets = rng.normal(size=(30, 6, 1)) + np.arange(6)[:, None]
    guess = forecast.forecast(inputs, targets, EPOCHS, model)
    found = skill(targets[..., 0], guess[..., 0], others_mean(targets)[..., 0])
    assert -0.4 < found.value < 0.05


@pytest.mark.parametrize("model", forecast.MODELS)
def test_no_net_is_forecast_by_itself(model, rng):
    inputs, targets = nets(rng, n=10)
    guess = forecast.forecast(inputs, targets, EPOCHS, model)
    for net in (0, 7):
        other = targets.copy()
        other[net] += 1000
        again = forecast.forecast(inputs, other, EPOCHS, model)
        np.testing.assert_array_equal(again[net], guess[net])
        assert (again != guess).any()


def test_fewer_nets_than_folds_will_do(rng):
    inputs, targets = nets(rng, n=3)
    assert forecast.forecast(inputs, targets, EPOCHS).shape == targets.shape


def test_a_feature_that_never_differs_says_nothing(rng):
    inputs, targets = nets(rng)
    constant = np.concatenate([inputs, np.ones((40, 6, 1))], axis=-1)
    plain, more = (
        fit(given, targets, EPOCHS, "linear")(given) for given in (inputs, constant)
    )
    np.testing.assert_allclose(plain, more)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "oracle"}, "unknown model 'oracle': choose one of .'linear'"),
        ({"epochs": [1, 2]}, r"inputs \[40, 6, 3\] and targets \[40, 6, 1\] do not"),
        ({"inputs": np.full((40, 6, 3), np.nan)}, "a feature or target is not finite"),
        ({"targets": np.full((40, 6, 1), np.inf)}, "a feature or target is not finite"),
    ],
)
def test_bad_input_is_refused(change, message, rng):
    inputs, targets = nets(rng)
    given = {"inputs": inputs, "targets": targets, "epochs": EPOCHS} | change
    with pytest.raises(ValueError, match=message):
        fit(**given)


# --- how good ---------------------------------------------------------------


def test_error_and_skill_of_known_forecasts():
    true = np.array([[1.0, 2], [3, 4], [5, 6]])
    assert error(true, true + 0.5).value == 0.5
    assert skill(true, true, true + 1).value == 1
    assert skill(true, true - 1, true + 1).value == 0
    assert skill(true, true + 2, true + 1).value == -3
    one_wrong = true + [[2], [0], [0]]
    found = skill(true, one_wrong, true + 2)
    assert found.value == pytest.approx(2 / 3)
    assert found.low == pytest.approx(0) and found.high == 1


# --- when to stop -----------------------------------------------------------


def test_trailing_mean_and_change():
    values = np.array([[1.0, 2, 6, 4]])
    np.testing.assert_array_equal(trailing_mean(values, 2), [[np.nan, 1.5, 4, 5]])
    np.testing.assert_array_equal(change(values, 2), [[np.nan, np.nan, 5, 2]])
    assert np.isnan(change(values, 4)).all()


def test_first_above():
    signal = np.array([[np.nan, 1, 3, 2], [0, 0, 1, 1], [5, 0, 0, 0]])
    assert first_above(signal, 1.5).tolist() == [2, 3, 0]
    assert first_above(signal, np.inf).tolist() == [3, 3, 3]


def test_what_is_gained_by_stopping_makes_up_for_nothing():
    accuracy = np.array([[10.0, 50, 40], [10, 30, 40]])
    assert shortfall(accuracy, np.array([1, 1])).tolist() == [0, 10]
    assert shortfall(accuracy, np.array([2, 2])).tolist() == [0, 0]


def test_calibration_saves_the_most_that_is_allowed():
    accuracy = np.array([[0.0, 50, 80, 89, 90]] * 3)
    signal = np.array([[0.0, 1, 2, 3, 4]] * 3)
    thresholds, saved, given_up = trade_off(signal, accuracy)
    assert set(zip(saved, given_up, strict=True)) == {
        (3, 40), (2, 10), (1, 1), (0, 0)
    }  # fmt: skip
    assert (np.diff(thresholds) > 0).all() and (np.diff(saved) <= 0).all()
    for allowed, stop in ((40, 1), (39, 2), (10, 2), (5, 3), (0.5, 4)):
        threshold = calibrate(signal, accuracy, allowed)
        assert first_above(signal, threshold).tolist() == [stop] * 3


def test_a_signal_that_does_too_much_harm_never_stops():
    accuracy = np.array([[0.0, 50, 80, 90]] * 2)
    signal = np.array([[1.0, 0, 0, 0]] * 2) + [[0], [1]]
    assert calibrate(signal, accuracy, 1.0) == 2  # above it, nothing
    assert calibrate(np.array([[0.0, 2, 0, 0]]), accuracy[:1], 1.0) == 2


def test_nets_stop_by_the_others_threshold():
    """Net 3 is unlike the others: they stop it too soon, and it stops them later."""
    accuracy = np.array([[0.0, 90, 90, 90]] * 3 + [[0, 10, 20, 90]])
    signal = np.array([[0.0, 1, 2, 3]] * 4)
    assert stop_early(signal, accuracy, 1.0, folds=4).tolist() == [3, 3, 3, 1]


def test_a_signal_that_is_nowhere_defined_is_refused():
    with pytest.raises(ValueError, match="nowhere defined stops nothing: give more"):
        calibrate(np.full((2, 3), np.nan), np.zeros((2, 3)), 1.0)
