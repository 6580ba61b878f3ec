import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import DATASETS, EFFECTS, simulated_runs
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from nwslib import papers
from nwslib.influence import influence, lead
from nwslib.nws.hyperparameters import LEARNING_RATES
from nwslib.nws.table import CATEGORIES, successful
from nwslib.regression import (
    Design,
    TooFewRuns,
    coefficient_correlations,
    regress,
)

RUNS = simulated_runs(500, ("mnist",), seed=3)
FITTED = regress(RUNS, "mnist")
NUMBERS = ["coefficient", "std_error", "p_value", "low", "high"]


def keyed(table):
    return table.set_index(["hyperparameter", "category"])


def exactly(runs, lr=0.0):
    """Runs whose accuracy follows from the simulation's effects without noise."""
    score = sum(runs[name].map(effect) for name, effect in EFFECTS.items())
    return runs.assign(test_accuracy=0.9 + 0.01 * score + lr * runs["lr"])


def test_all_hyperparameters_give_the_papers_34_coefficients():
    table = FITTED.coefficients
    assert len(table) == 34 and table[NUMBERS].notna().all(axis=None)
    assert sum(map(len, CATEGORIES.values())) == 32
    assert list(table["hyperparameter"].unique()) == ["lr", *CATEGORIES, "constant"]
    assert (table["note"] == "").all()
    sums = keyed(table)["coefficient"].groupby("hyperparameter").sum()
    np.testing.assert_allclose(sums[[*CATEGORIES]], 0, atol=1e-12)


def test_numbers_are_those_of_statsmodels_formula_with_sum_coding():
    low, high = LEARNING_RATES
    kept = successful(RUNS).copy()
    accuracy = kept["test_accuracy"]
    kept["y"] = (accuracy - accuracy.mean()) / accuracy.std(ddof=0)
    kept["rate"] = (kept["lr"] - (low + high) / 2) / ((high - low) / 2)
    terms = [f"C({n}, Sum, {list(c)!r})" for n, c in CATEGORIES.items()]
    theirs = smf.ols("y ~ rate + " + " + ".join(terms), kept).fit()
    ours = keyed(FITTED.coefficients)
    pairs = {("constant", ""): "Intercept", ("lr", ""): "rate"}
    for term, (name, levels) in zip(terms, CATEGORIES.items(), strict=True):
        pairs |= {(name, str(c)): f"{term}[S.{c}]" for c in levels[:-1]}
    assert len(pairs) == len(theirs.params) == 24
    ours, names = ours.loc[[*pairs]], [*pairs.values()]
    np.testing.assert_allclose(ours["coefficient"], theirs.params[names])
    np.testing.assert_allclose(ours["std_error"], theirs.bse[names])
    np.testing.assert_allclose(ours["p_value"], theirs.pvalues[names], rtol=1e-6)
    np.testing.assert_allclose(ours[["low", "high"]], theirs.conf_int().loc[names])
    assert FITTED.r_squared == pytest.approx(theirs.rsquared)
    assert FITTED.error == pytest.approx(np.abs(theirs.resid).mean())
    assert FITTED.constant_error == pytest.approx(np.abs(kept["y"]).mean())


def test_fit_is_that_of_sklearn_with_every_category_one_hot():
    kept = successful(RUNS)
    hot = OneHotEncoder(sparse_output=False).fit_transform(kept[[*CATEGORIES]])
    features = np.column_stack([hot, kept["lr"]])
    model = LinearRegression().fit(features, kept["test_accuracy"])
    assert hot.shape[1] == 32
    score = model.score(features, kept["test_accuracy"])
    assert FITTED.r_squared == pytest.approx(score)


def test_known_effects_come_back():
    runs = exactly(RUNS, lr=10.0)
    found = regress(runs, "mnist")
    unit = runs["test_accuracy"].std(ddof=0)
    table = keyed(found.coefficients)["coefficient"]
    for name, effect in EFFECTS.items():
        centred = 0.01 * (pd.Series(effect) - np.mean([*effect.values()])) / unit
        np.testing.assert_allclose(
            table[name][[*map(str, effect)]], centred, atol=1e-10
        )
    half = (LEARNING_RATES[1] - LEARNING_RATES[0]) / 2
    assert table["lr", ""] == pytest.approx(10 * half / unit)
    np.testing.assert_allclose(table["batch_size"], 0, atol=1e-10)
    assert found.r_squared == pytest.approx(1)
    assert found.cv_error == pytest.approx(0, abs=1e-10)
    assert found.cv_constant_error > 0.5


@settings(max_examples=8, deadline=None)
@given(st.permutations([*CATEGORIES["init"]]))
def test_names_and_order_of_categories_change_no_number(order):
    # names that Table 1 does not have come in alphabetical order
    names = dict(zip(order, "wxyz", strict=True))
    other = regress(RUNS.assign(init=RUNS["init"].map(names)), "mnist")
    ours = keyed(FITTED.coefficients)
    theirs = keyed(other.coefficients)
    assert len(theirs) == 38  # Table 1's four without runs, and the four new ones
    assert (theirs.loc["init"]["note"][[*order]] == "no run").all()
    mine, same = ([("init", name) for name in side] for side in (names, names.values()))
    np.testing.assert_allclose(
        ours.loc[mine, NUMBERS], theirs.loc[same, NUMBERS], rtol=1e-6
    )
    rest = ours.index.drop(mine)
    np.testing.assert_allclose(
        ours.loc[rest, NUMBERS], theirs.loc[rest, NUMBERS], rtol=1e-6, atol=1e-12
    )
    assert other.error == pytest.approx(FITTED.error)
    assert other.cv_error == pytest.approx(FITTED.cv_error)


def test_errors_on_unseen_runs_are_larger_than_on_fitted_ones():
    assert FITTED.error < FITTED.cv_error < FITTED.cv_constant_error
    noise = np.random.default_rng(0).uniform(0.85, 0.95, len(RUNS))
    nothing = regress(RUNS.assign(test_accuracy=noise), "mnist")
    assert nothing.error < nothing.constant_error  # in sample, always
    assert nothing.cv_error > nothing.cv_constant_error


def test_what_does_not_vary_or_never_occurs_has_a_note_and_no_number():
    runs = RUNS[RUNS["activation"] != "elu"].assign(conv_width=32)
    found = regress(runs, "mnist")
    table = keyed(found.coefficients)
    assert table["note"].to_dict() == {
        key: {
            ("activation", "elu"): "no run",
            ("conv_width", "16"): "no run",
            ("conv_width", "48"): "no run",
            ("conv_width", "32"): "does not vary",
        }.get(key, "")
        for key in table.index
    }
    assert table.loc[table["note"] != "", NUMBERS].isna().all(axis=None)
    assert table.loc[table["note"] == "", NUMBERS].notna().all(axis=None)
    assert table.loc[("activation", "elu"), "runs"] == 0
    assert table.loc["activation"]["coefficient"].sum() == pytest.approx(0)
    # as if the category were not known at all
    others = Design.of(runs).categories["activation"]
    assert others == ["relu", "sigmoid", "tanh"]


def test_runs_of_a_rare_category_are_left_out_with_a_note():
    kept = successful(RUNS)
    rare = kept.index[kept["init"] == "constant"][2:]  # all but two
    runs = RUNS.drop(index=rare)
    found = regress(runs, "mnist")
    assert (found.n_rare, found.n_runs) == (2, len(successful(runs)) - 2)
    assert found.n_rejected == FITTED.n_rejected
    row = keyed(found.coefficients).loc[("init", "constant")]
    assert (row["runs"], row["note"]) == (2, "too few runs")
    assert np.isnan(row["coefficient"])
    without = regress(runs[runs["init"] != "constant"], "mnist").coefficients
    pd.testing.assert_frame_equal(
        found.coefficients.drop(columns=["runs", "note"]),
        without.drop(columns=["runs", "note"]),
    )
    assert not influence(runs, "mnist").empty
    # what becomes rare only without those runs is rare, too
    more = kept.index[kept["activation"] == "elu"]
    both = runs.loc[runs.index.difference(more)]
    lost = runs.loc[runs["init"] == "constant"].assign(activation="elu")
    both = pd.concat(
        [both[both["init"] != "constant"], lost, lost.assign(init="normal")]
    )
    table = keyed(regress(both.iloc[:-1], "mnist").coefficients)
    assert table.loc[("activation", "elu"), "note"] == "too few runs"


def test_one_learning_rate_is_noted():
    table = keyed(regress(RUNS.assign(lr=1e-3), "mnist").coefficients)
    assert table.loc[("lr", ""), "note"] == "does not vary"
    assert np.isnan(table.loc[("lr", ""), "coefficient"])


def test_thresholds_are_the_papers_unless_given():
    assert FITTED.threshold == papers.NWS_THRESHOLDS["mnist"] == 0.8
    kept = RUNS["test_accuracy"] >= 0.8
    assert (FITTED.n_runs, FITTED.n_rejected) == (kept.sum(), (~kept).sum())
    every = regress(RUNS, "mnist", threshold=0.0)
    assert (every.n_runs, every.n_rejected) == (len(RUNS), 0)
    mine = RUNS.assign(dataset="mine")
    assert regress(mine, "mine", 0.8).r_squared == FITTED.r_squared
    at = RUNS.assign(test_accuracy=0.8)
    assert len(successful(at)) == len(at)


def test_other_data_sets_do_not_matter():
    more = pd.concat([RUNS, simulated_runs(50, ("svhn",))], ignore_index=True)
    both = regress(more.sample(frac=1, random_state=0), "mnist")
    pd.testing.assert_frame_equal(both.coefficients, FITTED.coefficients)


@pytest.mark.parametrize(
    ("runs", "dataset", "error", "message"),
    [
        (RUNS.drop(columns="optimizer"), "mnist", ValueError, "no column 'optimizer'"),
        (
            RUNS.assign(lr=RUNS["lr"].where(RUNS.index > 2)),
            "mnist", ValueError, "3 runs have no 'lr': leave them out",
        ),
        (RUNS, "svhn", ValueError, r"no run of 'svhn': the table has \['mnist'\]"),
        (
            RUNS.assign(dataset="digits"),
            "digits", ValueError, "the paper has no threshold for 'digits': pass one",
        ),
        (
            successful(RUNS)[:24],
            "mnist", TooFewRuns, "24 runs.*19 of them.* 21 coefficients: sample",
        ),
        (
            RUNS.assign(test_accuracy=0.1),
            "mnist", TooFewRuns, "0 runs of 'mnist' reach the threshold",
        ),
        (
            exactly(RUNS).assign(
                augmentation=RUNS["fc_width"] == 64,
                fc_width=RUNS["fc_width"].where(RUNS["fc_width"] == 64, 128),
            ),
            "mnist", TooFewRuns, "tell 22 of 23 coefficients apart.*occur together",
        ),
        (
            RUNS.assign(test_accuracy=0.9),
            "mnist", TooFewRuns, "all 500 runs of 'mnist' have one test accuracy",
        ),
        (
            exactly(RUNS).assign(
                lr=1e-3, **{name: values[0] for name, values in CATEGORIES.items()}
            ),
            "mnist", TooFewRuns, "no hyper-parameter varies among 500 runs",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("function", [regress, influence])
def test_what_cannot_be_regressed_is_refused(function, runs, dataset, error, message):
    with pytest.raises(error, match=message):
        function(runs, dataset)


# Fig. 15b


def tables(n):
    """Coefficients of nothing: independent, of sum zero in each hyper-parameter."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        rows = [("constant", "", 5.0), ("lr", "", rng.normal())]
        for name, values in CATEGORIES.items():
            own = rng.normal(size=len(values))
            rows += [
                (name, str(value), number)
                for value, number in zip(values, own - own.mean(), strict=True)
            ]
        columns = ["hyperparameter", "category", "coefficient"]
        found.append(pd.DataFrame(rows, columns=columns))
    return {f"set {k}": table for k, table in enumerate(found)}


def test_correlations_are_pearsons_over_all_coefficients_but_the_constant():
    every = tables(3)
    pairs = coefficient_correlations(every)
    assert [tuple(p) for p in pairs[["one", "other"]].to_numpy()] == [
        ("set 0", "set 1"), ("set 0", "set 2"), ("set 1", "set 2"),
    ]  # fmt: skip
    assert (pairs["free"] == 23).all()  # 32 - 10, and the learning rate
    x, y = (every[name]["coefficient"][1:] for name in ("set 0", "set 1"))
    assert len(x) == 33
    assert pairs["r"][0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert ((pairs["low"] < pairs["r"]) & (pairs["r"] < pairs["high"])).all()


def test_correlation_intervals_are_as_wide_as_chance_makes_them():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(2, 50_000, 33))
    ends = np.cumsum([1, *map(len, CATEGORIES.values())])
    for start, stop in zip(ends[:-1], ends[1:], strict=True):
        own = drawn[..., start:stop]
        own -= own.mean(axis=-1, keepdims=True)
    drawn -= drawn.mean(axis=-1, keepdims=True)
    one, other = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    chance = np.quantile((one * other).sum(axis=-1), 0.975)
    (row,) = coefficient_correlations(tables(2)).itertuples()
    width = (np.arctanh(row.high) - np.arctanh(row.low)) / 2
    assert np.tanh(width) == pytest.approx(chance, rel=0.015)


def test_equal_and_opposite_coefficients_correlate_perfectly():
    table = tables(1)["set 0"]
    turned = table.assign(coefficient=-table["coefficient"])
    pairs = coefficient_correlations({"a": table, "b": table, "c": turned})
    np.testing.assert_allclose(pairs["r"], [1, -1, -1])
    np.testing.assert_allclose(pairs[["low", "high"]].T, [pairs["r"]] * 2)


def test_coefficients_that_one_data_set_lacks_do_not_count():
    fixed = simulated_runs(300, ("svhn",), fixed=True)
    found = {
        "mnist": FITTED.coefficients,
        "svhn": regress(fixed, "svhn").coefficients,
    }
    (row,) = coefficient_correlations(found).itertuples()
    assert row.free == 3 + 1 + 2 + 3 + 3 + 1
    assert row.r > 0.8
    assert coefficient_correlations({"mnist": FITTED.coefficients}).empty


def test_too_few_common_coefficients_are_refused():
    table = tables(1)["set 0"]
    few = table[table["hyperparameter"].isin(["constant", "lr", "augmentation"])]
    with pytest.raises(ValueError, match="'a' and 'b' share 2 free coefficients"):
        coefficient_correlations({"a": table, "b": few})


# influence


def test_influence_without_noise_is_the_variance_of_the_effects():
    runs = exactly(RUNS, lr=2.0)
    unit = runs["test_accuracy"].std(ddof=0)
    table = influence(runs, "mnist").set_index("hyperparameter")
    for name, effect in EFFECTS.items():
        truth = np.var([*effect.values()]) * (0.01 / unit) ** 2
        assert table["influence"][name] == pytest.approx(truth)
    half = (LEARNING_RATES[1] - LEARNING_RATES[0]) / 2
    assert table["influence"]["lr"] == pytest.approx((2 * half / unit) ** 2 / 3)
    assert table["influence"]["filter_size"] == pytest.approx(0, abs=1e-12)
    assert table.index[0] == "init"
    assert table["influence"].is_monotonic_decreasing


@pytest.fixture(scope="module")
def replicates():
    """Influence, and init's lead, in 100 small tables with a known truth."""
    many = simulated_runs(1500, ("mnist",), fixed=True)
    found = {0.0: [], 1.0: []}
    for seed in range(100):
        runs = many.sample(80, random_state=seed)
        scatter = np.where(runs["init"] == "constant", 1.0, 0.5)
        noise = scatter * np.random.default_rng(seed).normal(size=len(runs))
        for effect, rows in found.items():
            accuracy = effect * runs["init"].map(EFFECTS["init"]) + noise
            runs["test_accuracy"] = 0.5 + 0.05 * accuracy
            unit = accuracy.var(ddof=0)  # influences are shares of it
            own = influence(runs, "mnist", threshold=0.0)
            own = own.set_index("hyperparameter").loc["init"]
            leads = lead(runs, "mnist", "init", threshold=0.0)
            error = np.sqrt(leads["variance"])
            rows.append(
                (
                    unit * own[["influence", "low", "high"]].to_numpy(dtype=float),
                    unit * (leads["difference"] - 1.96 * error),
                    unit * (leads["difference"] + 1.96 * error),
                )
            )
    return found


#: Three standard errors below 95 % of 100 tables.
OFTEN = 0.95 - 3 * np.sqrt(0.95 * 0.05 / 100)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_influence_is_unbiased_and_its_interval_holds_the_truth(replicates, effect):
    truth = effect**2 * np.var([*EFFECTS["init"].values()])
    value, low, high = np.array([own for own, _, _ in replicates[effect]]).T
    error = value.std() / np.sqrt(len(value))
    assert abs(value.mean() - truth) < 3 * error
    assert ((low < truth) & (truth < high)).mean() > OFTEN


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_leads_hold_the_truth(replicates, effect):
    truth = effect**2 * np.var([*EFFECTS["init"].values()])
    for name in ("lr", "optimizer", "activation"):
        held = [low[name] < truth < high[name] for _, low, high in replicates[effect]]
        assert np.mean(held) > OFTEN


def test_leads_are_differences_of_influences():
    table = influence(RUNS, "mnist").set_index("hyperparameter")["influence"]
    leads = lead(RUNS, "mnist", "init")
    assert set(leads.index) == {"lr", *CATEGORIES} - {"init"}
    for name, difference in leads["difference"].items():
        assert difference == pytest.approx(table["init"] - table[name])


def test_a_run_that_alone_decides_a_coefficient_is_refused():
    kept = successful(RUNS)
    lone = kept["lr"].where(kept.index == kept.index[0], 1e-3)
    runs = kept.assign(lr=lone)
    assert len(regress(runs, "mnist").coefficients) == 34
    with pytest.raises(TooFewRuns, match="alone decides a coefficient.*sample more"):
        influence(runs, "mnist")


def test_a_lead_needs_a_rival():
    constants = {n: v[0] for n, v in CATEGORIES.items() if n != "init"}
    alone = exactly(RUNS).assign(lr=1e-3, **constants)
    with pytest.raises(TooFewRuns, match=r"\['init'\] vary in 'mnist'"):
        lead(alone, "mnist", "init")
    still = exactly(RUNS).assign(init="normal")
    with pytest.raises(TooFewRuns, match="to compare 'init', sample runs"):
        lead(still, "mnist", "init")


def test_simulated_data_sets_are_the_papers():
    assert set(DATASETS) == set(papers.NWS_THRESHOLDS) == set(papers.NWS_TRAININGS)
    assert sum(papers.NWS_TRAININGS.values()) == papers.NWS_SETS["main"][0]
