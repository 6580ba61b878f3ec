"""Statistics of weights: against numpy and scipy, by hand, and through a zoo."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nwslib import features
from nwslib.features import layerwise, layerwise_names, slices, whole
from nwslib.features.groups import bounds, groups
from nwslib.flatten import Layout
from nwslib.nws.architecture import FIXED, GRID, Architecture
from nwslib.zoo import Zoo, ZooWriter

MEAN, VAR, SKEW, P1, P25, P50, P75, P99 = range(8)
SMALLEST = Architecture(3, 3, 3, 16, 64)
DEEPEST = Architecture(3, 5, 5, 16, 64)
TINY = Layout.from_json(
    [
        {"name": f"{layer}.{kind}", "shape": [size], "kind": kind, "dtype": "float32"}
        for layer, kind, size in (
            ("conv1", "weight", 3),
            ("conv1", "bias", 1),
            ("fc1", "weight", 2),
        )
    ]
)


def eight(x):
    """The statistics of one group, each by its own library function."""
    x = np.asarray(x, dtype=np.float64)
    if not len(x):
        return np.zeros(8)
    skew = stats.skew(x) if np.ptp(x) else 0.0
    return np.array(
        [np.mean(x), np.var(x), skew, *np.percentile(x, [1, 25, 50, 75, 99])]
    )


def sixteen(x):
    x = np.asarray(x, dtype=np.float64)
    return np.concatenate([eight(x), eight(np.diff(x))])


def nets(layout, n=3, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((n, layout.size)).astype(dtype)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


# --- the statistics -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("k", [2, 3, 4, 5, 100, 101, 70_000])
def test_they_are_numpys_and_scipys(k, dtype):
    rng = np.random.default_rng(k)
    x = np.stack([rng.normal(3, 2, k), rng.exponential(0.01, k)]).astype(dtype)
    found = whole(x)
    assert found.dtype == np.float64
    close(found, [sixteen(row) for row in x])


def test_skewness_is_equation_4():
    x = np.array([[0.0, 0.0, 0.0, 4.0]])  # mean 1, deviation sqrt(3)
    expected = (3 * (-1) ** 3 + 3**3) / 4 / 3**1.5
    assert whole(x)[0, SKEW] == pytest.approx(expected)


def test_moments_do_not_cancel_far_from_zero():
    x = nets(TINY, 1, dtype=np.float64).repeat(50, axis=1)
    near, far = whole(x)[0], whole(x + 1e6)[0]
    np.testing.assert_allclose(far[[VAR, SKEW]], near[[VAR, SKEW]], rtol=1e-8)


def test_differences_of_float32_are_not_rounded_to_float32():
    x = np.array([[1.0, 2**-30]], dtype=np.float32)
    assert whole(x)[0, 8 + P50] == 2.0**-30 - 1 > -1
    assert x[0, 1] - x[0, 0] == -1


groups_of_weights = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(2, 40)),
    elements=st.floats(-100, 100, width=32),
)


@settings(deadline=None, max_examples=50)
@given(groups_of_weights)
def test_any_group_is_as_by_the_libraries(x):
    found, expected = whole(x), np.array([sixteen(row) for row in x])
    # scipy loses the skewness of what is nearly constant
    blurred = expected[:, [VAR, 8 + VAR]] < 1e-12 * np.square(x).max(1)[:, None]
    expected[:, [SKEW, 8 + SKEW]] = np.where(
        blurred, found[:, [SKEW, 8 + SKEW]], expected[:, [SKEW, 8 + SKEW]]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


whole_numbers = arrays(  # so that shifting and scaling round nothing
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(2, 40)),
    elements=st.integers(-1000, 1000).map(float),
)


@settings(deadline=None, max_examples=50)
@given(whole_numbers, st.integers(-1000, 1000))
def test_a_shift_moves_mean_and_percentiles_of_the_weights_alone(x, shift):
    before, after = whole(x), whole(x + shift)
    moved = np.zeros(16)
    moved[[MEAN, P1, P25, P50, P75, P99]] = shift
    np.testing.assert_allclose(after, before + moved, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(whole_numbers, st.sampled_from([2.0**-40, 0.5, 3.0, 1024.0]))
def test_a_scale_scales(x, scale):
    before, after = whole(x), whole(x * scale)
    factors = np.full(16, scale)
    factors[[VAR, 8 + VAR]] = scale**2
    factors[[SKEW, 8 + SKEW]] = 1
    np.testing.assert_allclose(after, before * factors, rtol=1e-9, atol=1e-12 * scale)


@settings(deadline=None, max_examples=50)
@given(whole_numbers)
def test_a_sign_flip_mirrors(x):
    before, after = whole(x).reshape(-1, 2, 8), whole(-x).reshape(-1, 2, 8)
    mirrored = -before[..., [MEAN, VAR, SKEW, P99, P75, P50, P25, P1]]
    mirrored[..., VAR] *= -1
    np.testing.assert_allclose(after, mirrored, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(whole_numbers)
def test_reading_backwards_mirrors_the_gradient_alone(x):
    before, after = whole(x).reshape(-1, 2, 8), whole(x[:, ::-1]).reshape(-1, 2, 8)
    expected = before.copy()
    expected[:, 1] = -before[:, 1][:, [MEAN, VAR, SKEW, P99, P75, P50, P25, P1]]
    expected[:, 1, VAR] *= -1
    np.testing.assert_allclose(after, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(whole_numbers, st.randoms())
def test_the_order_of_weights_matters_to_the_gradient_alone(x, random):
    order = list(range(x.shape[1]))
    random.shuffle(order)
    before, after = whole(x)[:, :8], whole(x[:, order])[:, :8]
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(whole_numbers)
def test_percentiles_rise_and_lie_between_the_extremes(x):
    for values, part in ((x, whole(x)[:, :8]), (np.diff(x), whole(x)[:, 8:])):
        ranks = part[:, [P1, P25, P50, P75, P99]]
        assert (np.diff(ranks) >= 0).all() and (part[:, VAR] >= 0).all()
        assert (ranks >= values.min(1, keepdims=True)).all()
        assert (ranks <= values.max(1, keepdims=True)).all()


# --- what is defined --------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_group_has_neither_variance_nor_skewness(value, dtype):
    x = np.full((1, 1000), value, dtype)
    expected = np.zeros(16)
    expected[[MEAN, P1, P25, P50, P75, P99]] = x[0, 0]
    assert np.array_equal(whole(x)[0], expected)


def test_one_weight_has_no_gradient():
    found = whole(np.array([[2.5]]))
    assert found.tolist() == [[2.5, 0, 0, 2.5, 2.5, 2.5, 2.5, 2.5] + [0] * 8]


def test_a_constant_slope_has_a_constant_gradient():
    found = whole(np.arange(10.0)[None])
    assert found[0, 8:].tolist() == [1, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("gradient", features.GRADIENTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_spoils_its_group_alone(bad, gradient):
    vectors = nets(FIXED.layout)
    clean = layerwise(vectors, FIXED.layout, gradient)
    place = groups(FIXED.layout)["conv2", "bias"]
    vectors[1, place.start] = bad
    found = layerwise(vectors, FIXED.layout, gradient)
    names = np.array(layerwise_names(FIXED.layout))
    spoilt = np.char.startswith(names, "conv2.bias.")
    if gradient == "across":  # the difference to it belongs to the tensor before
        spoilt |= np.char.startswith(names, "conv2.weight.grad.")
    assert np.array_equal(np.isnan(found[1]), spoilt)
    clean[1, spoilt] = np.nan
    np.testing.assert_array_equal(found, clean)
    assert np.isnan(whole(vectors)).all(axis=1).tolist() == [False, True, False]


def test_weights_are_not_changed():
    vectors = nets(FIXED.layout, dtype=np.float64)
    before = vectors.copy()
    layerwise(vectors, FIXED.layout)
    whole(vectors)
    slices(vectors, [[0, 5]] * 3, 10)
    np.testing.assert_array_equal(vectors, before)


# --- the two readings of the gradient -----------------------------------------------


def test_both_readings_by_hand_for_a_whole_net():
    # tensors  [0, 1, 3], [10], [20, 50]; differences  1, 2, (7), (10), 30
    vectors = np.array([[0.0, 1, 3, 10, 20, 50]])
    across, group = whole(vectors), whole(vectors, "group", TINY)
    np.testing.assert_array_equal(across[:, :8], group[:, :8])
    close(across[0, 8:], eight([1, 2, 7, 10, 30]))
    close(group[0, 8:], eight([1, 2, 30]))


@pytest.mark.parametrize("gradient", features.GRADIENTS)
def test_both_readings_of_every_group(gradient):
    layout = FIXED.layout
    vectors = nets(layout)
    found = layerwise(vectors, layout, gradient).reshape(3, 30, 2, 8)
    for k, place in enumerate(groups(layout).values()):
        reach = place.stop + (gradient == "across")
        for row, vector in enumerate(vectors.astype(np.float64)):
            close(found[row, k, 0], eight(vector[place.start : place.stop]))
            close(found[row, k, 1], eight(np.diff(vector[place.start : reach])))


def test_the_readings_differ_where_groups_are_small():
    vectors, layout = nets(FIXED.layout), FIXED.layout
    group, across = (layerwise(vectors, layout, g) for g in features.GRADIENTS)
    gradients = np.array([".grad." in name for name in layerwise_names(layout)])
    assert (group[:, ~gradients] == across[:, ~gradients]).all()
    assert (group[:, gradients] != across[:, gradients]).all()


# --- 480 names ----------------------------------------------------------------------


def test_the_fixed_net_has_480_names_in_order():
    names = layerwise_names(FIXED.layout)
    assert names == tuple(
        f"{layer}.{kind}.{gradient}{statistic}"
        for layer in ("conv1", "conv2", "conv3", "fc1", "fc2")
        for kind in ("weight", "bias", "beta", "gamma", "mean", "var")
        for gradient in ("", "grad.")
        for statistic in ("mean", "var", "skew", "p1", "p25", "p50", "p75", "p99")
    )
    assert len(names) == len(set(names)) == 480 == 16 * 5 * 6
    assert {"conv2.bias.grad.p99", "conv2.bias.p99"} <= set(names)


def test_they_are_all_weights_of_the_fixed_net_but_the_output_layers():
    places = groups(FIXED.layout).values()
    assert [(p.start, p.stop) for p in places] == [
        (p.start, p.stop) for p in FIXED.layout if p.layer != "fc3"
    ]


def test_every_architecture_gives_the_same_480():
    expected = layerwise_names(FIXED.layout)
    for architecture in GRID:
        layout = architecture.layout
        assert layerwise_names(layout) == expected
        convs, hidden = architecture.conv_layers, architecture.fc_layers - 1
        assert [place.layer for place in groups(layout).values()] == [
            layer
            for layer in ("conv1", "conv2", f"conv{convs}", "fc1", f"fc{hidden}")
            for _ in range(6)
        ]


def test_a_deeper_nets_columns_are_of_its_own_layers():
    vectors = nets(DEEPEST.layout)
    found = layerwise(vectors, DEEPEST.layout)
    assert found.shape == (3, 480)
    names = layerwise_names(DEEPEST.layout)
    for column, layer in (("conv3.bias.mean", "conv5"), ("fc2.bias.mean", "fc4")):
        weights = vectors[:, DEEPEST.layout.select(layer=layer, kind="bias").numpy()]
        close(found[:, names.index(column)], weights.mean(1, dtype=np.float64))


# --- many nets at once ----------------------------------------------------------------


@pytest.mark.parametrize("gradient", features.GRADIENTS)
def test_a_nets_features_do_not_depend_on_its_companions(gradient):
    layout = SMALLEST.layout
    vectors = nets(layout, 40)
    for take in (
        lambda rows: layerwise(rows, layout, gradient),
        lambda rows: whole(rows, gradient, layout),
    ):
        one_by_one = np.concatenate([take(row[None]) for row in vectors])
        np.testing.assert_array_equal(take(vectors), one_by_one)
        assert take(vectors[:0]).shape == (0, one_by_one.shape[1])


# --- slices ---------------------------------------------------------------------------


def test_a_slice_is_a_net_of_its_own():
    vectors = nets(SMALLEST.layout)
    starts = np.array([[0, 7], [100, 100], [5, SMALLEST.n_weights - 50]])
    found = slices(vectors, starts, 50)
    assert found.shape == (3, 2, 16)
    for row, begin in np.ndindex(3, 2):
        start = starts[row, begin]
        close(found[row, begin], sixteen(vectors[row, start : start + 50]))


# --- a zoo --------------------------------------------------------------------


ARCHITECTURES = (FIXED, DEEPEST, SMALLEST)
RUNS, SNAPSHOTS = (3, 0, 8, 5), (0, 2, 19)


def run_weights(run):
    architecture = ARCHITECTURES[run % 3]
    return architecture, nets(architecture.layout, len(SNAPSHOTS), seed=run)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Four runs of three architectures."""
    path = tmp_path_factory.mktemp("features") / "zoo"
    layouts = {each.name: each.layout for each in ARCHITECTURES}
    with ZooWriter.create(path, layouts, spec={}, snapshots=SNAPSHOTS) as writer:
        for run in RUNS:
            architecture, vectors = run_weights(run)
            scores = {"split": "test", "accuracy": 0.1, "loss": 1.0}
            writer.add(
                [{"run": run, "seed": 0, "layout": architecture.name}],
                [torch.from_numpy(vectors)],
                [{"run": run, "epoch": 0} | scores],
            )
    return Zoo.open(path)


@pytest.mark.parametrize("gradient", [None, *features.GRADIENTS])
@pytest.mark.parametrize("kind", ["layerwise", "whole"])
def test_a_zoos_features_are_its_vectors(zoo, kind, gradient):
    table = features.of_zoo(zoo, kind, gradient=gradient)
    reading = gradient or {"layerwise": "group", "whole": "across"}[kind]
    assert (
        table.names
        == {
            "layerwise": layerwise_names(FIXED.layout),
            "whole": features.statistics.NAMES,
        }[kind]
    )
    assert table.index.to_dict("list") == {
        "run": [run for run in RUNS for _ in SNAPSHOTS],
        "snapshot": [*SNAPSHOTS] * len(RUNS),
    }
    expected = []
    for run in RUNS:
        architecture, vectors = run_weights(run)
        expected.append(
            whole(vectors, reading, architecture.layout)
            if kind == "whole"
            else layerwise(vectors, architecture.layout, reading)
        )
    np.testing.assert_array_equal(table.values, np.concatenate(expected))


def test_some_runs_and_snapshots_are_rows_of_all(zoo):
    every = features.of_zoo(zoo)
    some = features.of_zoo(zoo, runs=np.array([8, 3]), snapshots=[19, 0])
    assert some.index.to_numpy().tolist() == [[8, 19], [8, 0], [3, 19], [3, 0]]
    rows = every.index.reset_index().merge(some.index, how="right")["index"]
    np.testing.assert_array_equal(some.values, every.values[rows])


@pytest.mark.parametrize("threads", [1, 3])
def test_a_thread_reads_one_run_at_a_time(zoo, threads, monkeypatch):
    asked, read = [], Zoo.weights
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(
        Zoo,
        "weights",
        lambda self, runs, snapshots: asked.append(runs) or read(self, runs, snapshots),
    )
    features.of_zoo(zoo, "whole")
    features.slices_of_zoo(zoo, size=10)
    assert sorted(asked) == sorted([[run] for run in RUNS] * 2)


@pytest.mark.parametrize("part", features.PARTS)
def test_slices_stay_inside_their_part(zoo, part):
    table = features.slices_of_zoo(zoo, size=1500, per_net=40, part=part)
    assert table.values.shape == (len(RUNS) * len(SNAPSHOTS) * 40, 16)
    for run, rows in table.index.groupby("run"):
        architecture, vectors = run_weights(run)
        conv, end = architecture.n_conv_weights, architecture.n_weights
        first, stop = {"all": (0, end), "conv": (0, conv), "fc": (conv, end)}[part]
        assert bounds(architecture.layout, part) == (first, stop)
        starts = rows["start"].to_numpy().reshape(len(SNAPSHOTS), 40)
        assert starts.min() >= first and starts.max() + 1500 <= stop
        assert len(set(starts[0])) > 5 and (starts == starts[0]).all()
        expected = slices(vectors, starts, 1500).reshape(-1, 16)
        np.testing.assert_array_equal(table.values[rows.index], expected)


def test_a_slice_may_be_the_whole_part(zoo):
    size = SMALLEST.n_conv_weights
    table = features.slices_of_zoo(zoo, size, 2, "conv", runs=[8, 5])
    assert table.index["start"].unique().tolist() == [0]
    _, vectors = run_weights(8)
    close(table.values[0], sixteen(vectors[0, :size]))


def test_a_runs_slices_do_not_depend_on_what_else_is_asked_for(zoo):
    every = features.slices_of_zoo(zoo, 100, seed=4)
    for runs, snapshots in (([5], None), ([8, 0], [19]), ([0, 5, 3], [2, 0])):
        some = features.slices_of_zoo(zoo, 100, 10, "all", runs, snapshots, seed=4)
        wanted = every.index["run"].isin(runs)
        wanted &= every.index["snapshot"].isin(snapshots or SNAPSHOTS)
        keys = ["run", "snapshot", "start"]
        pd.testing.assert_frame_equal(
            some.index.sort_values(keys, ignore_index=True),
            every.index[wanted].sort_values(keys, ignore_index=True),
        )
    first, second = (  # of one layout
        every.index.loc[every.index["run"] == run, "start"].tolist() for run in (3, 0)
    )
    assert first != second
    other = features.slices_of_zoo(zoo, 100, seed=5)
    assert (other.index["start"] != every.index["start"]).mean() > 0.9


# --- errors -------------------------------------------------------------------------


PLAIN = Architecture(batch_norm=False).layout
SHALLOW = Layout.of(
    torch.nn.ModuleDict(
        {"conv1": torch.nn.Conv2d(1, 2, 3), "fc1": torch.nn.Linear(2, 2)}
    )
)
ROW = np.zeros((1, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whole(ROW, "loss"), "unknown gradient 'loss': choose one of"),
        (lambda: layerwise(ROW, FIXED.layout, "loss"), "unknown gradient 'loss'"),
        (lambda: whole(ROW, "group"), "needs to know them: pass the layout"),
        (lambda: whole(ROW, "group", FIXED.layout), "vectors of 6 weights do not fit"),
        (lambda: layerwise(ROW, FIXED.layout), "the layout, which has 92868"),
        (lambda: layerwise(ROW, PLAIN), "no 'conv1.beta': .* need batch norm"),
        (lambda: layerwise_names(SHALLOW), r"'conv1', 'fc1'\] has no layer-wise feat"),
        (lambda: whole(ROW[0]), r"float64 of shape \[6\]: give real numbers"),
        (lambda: whole(ROW.astype(int)), r"int64 of shape \[1, 6\]: give real"),
        (lambda: slices(ROW, [0], 2), r"int64 of shape \[1\]: give whole numbers"),
        (lambda: slices(ROW, [[0], [1]], 2), "a row for each of the 1 vectors"),
        (lambda: slices(ROW, [[0.5]], 2), "starts are float64"),
        (lambda: slices(ROW, [[0]], 0), "size is 0: a slice needs at least one"),
        (lambda: slices(ROW, [[0, 3]], 4), "of 4 weights from 0 or 3 .* of 6: choose"),
        (lambda: slices(ROW, [[-1, 0]], 4), "from -1 or 0 on does not lie inside"),
        (lambda: bounds(TINY, "bn"), r"unknown part 'bn': choose one of \['all', "),
        (
            lambda: bounds(Layout.of(torch.nn.Linear(2, 2)), "fc"),
            r"layers \[''\] has no part 'fc': take slices of 'all'",
        ),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("of_zoo", {"kind": "deep"}, "unknown kind 'deep': choose 'layerwise' or"),
        ("of_zoo", {"gradient": "loss"}, "unknown gradient 'loss'"),
        ("of_zoo", {"runs": []}, "no runs were asked for"),
        ("of_zoo", {"runs": [0, 4]}, "no run 4 in zoo .*: choose among its 4 runs"),
        ("of_zoo", {"snapshots": [1]}, "no snapshot 1 in zoo"),
        ("slices_of_zoo", {"size": 0}, "size is 0"),
        ("slices_of_zoo", {"per_net": 0}, "per_net is 0: take at least one slice"),
        ("slices_of_zoo", {"part": "bn"}, "unknown part 'bn'"),
        (
            "slices_of_zoo",
            {"size": 5000, "part": "conv"},
            "part 'conv' of run 8 has 1688 weights, fewer than a slice of 5000: "
            "choose shorter slices, or other runs",
        ),
    ],
)
def test_a_zoos_errors_say_what_to_do(zoo, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(features, name)(zoo, **arguments)


def test_what_is_wrong_is_said_before_anything_is_read(zoo, monkeypatch):
    monkeypatch.setattr(Zoo, "weights", lambda *_: pytest.fail("read"))
    for arguments in ({"runs": [0, 4]}, {"kind": "deep"}):
        with pytest.raises(ValueError):
            features.of_zoo(zoo, **arguments)
    with pytest.raises(ValueError, match="part 'conv' of run 8"):
        features.slices_of_zoo(zoo, part="conv")
