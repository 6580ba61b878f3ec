import numpy as np
import pytest

from nwslib.features import layerwise_names
from nwslib.meta.evidence import columns, concentration, spread
from nwslib.nws.architecture import FIXED

NAMES = layerwise_names(FIXED.layout)


def test_columns_are_those_of_layer_kind_and_statistic():
    assert len(columns(NAMES)) == 480
    assert len(columns(NAMES, layers=("conv1",))) == 96
    assert len(columns(NAMES, kinds=("bias", "mean"))) == 160
    picked = columns(NAMES, ("conv1",), ("weight",), ("grad.p1", "grad.p99"))
    assert [NAMES[place] for place in picked] == [
        "conv1.weight.grad.p1", "conv1.weight.grad.p99",
    ]  # fmt: skip


def test_a_feature_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no feature is of layers .'conv9'"):
        columns(NAMES, layers=("conv9",))


def test_concentration_is_one_where_all_count_alike():
    chosen = np.array([0, 1])
    assert concentration(np.ones((3, 8)), chosen) == pytest.approx(1)
    assert concentration(np.eye(1, 8), chosen) == pytest.approx(4)
    assert concentration([[0, 0, 1, 1], [1, 1, 0, 0]], chosen) == pytest.approx(1)


def test_concentration_does_not_go_with_the_size_of_a_round():
    rounds = np.array([[1.0, 0, 0, 3], [1, 0, 0, 3]])
    scaled = rounds * [[1], [100]]
    chosen = np.array([0])
    assert concentration(scaled, chosen) == concentration(rounds, chosen) == 1


def test_spread_is_the_share_of_features_that_count():
    assert spread(np.ones((2, 10))) == pytest.approx(1)
    assert spread(np.eye(1, 10)) == pytest.approx(0.1)
    assert spread([[1, 1, 0, 0]]) == pytest.approx(0.5)
