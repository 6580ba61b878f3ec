import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from nwslib.meta import calibration, models, svm, validation
from nwslib.meta.protocol import Examples

TRAINERS = (svm.linear, svm.rbf, models.logistic, models.boosting, models.forest)


def clouds(nets=60, k=5, classes=3, rows=1, distance=2.0, seed=0):
    """Nets whose class shifts feature 0; several noisy rows of each."""
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(nets), rows)
    labels = np.array(["adam", "momentum", "rmsprop", "sgd"])[run % classes]
    features = rng.normal(size=(nets, k))[run] + 0.1 * rng.normal(size=(len(run), k))
    features[:, 0] += distance * (run % classes)
    return Examples(features, labels, run + 10)


@pytest.fixture
def small(monkeypatch):
    """One value of everything, few trees: there is nothing to choose but scaling."""
    for name, value in (
        ("LINEAR_C", (0.1,)),
        ("NARROW_C", (10.0,)),
        ("RBF_C", (10.0,)),
        ("RBF_GAMMA", (0.5,)),
    ):
        monkeypatch.setattr(svm, name, value)
    monkeypatch.setattr(models, "LOGISTIC_C", (0.3,))
    monkeypatch.setattr(models, "N_TREES", 20)
    monkeypatch.setattr(models, "MAX_ROUNDS", 20)


# validation


@settings(deadline=None, max_examples=25)
@given(
    nets=st.lists(st.integers(2, 9), min_size=2, max_size=3),
    seed=st.integers(0, 9),
    n_folds=st.integers(2, 5),
)
def test_folds_keep_nets_apart_and_have_every_class(nets, seed, n_folds):
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(sum(nets)), rng.integers(1, 5, sum(nets)))
    labels = np.repeat(np.arange(len(nets)), nets)[run]
    order = rng.permutation(len(run))
    examples = Examples(run[order][:, None], labels[order], 7 * run[order])
    divided = validation.folds(examples, seed, n_folds)
    assert len(divided) == min(n_folds, *nets)
    assert sorted(np.concatenate([held for _, held in divided])) == sorted(order)
    for known, held in divided:
        assert sorted([*known, *held]) == sorted(order)
        assert not set(examples.runs[known]) & set(examples.runs[held])
        for part in (known, held):
            assert set(examples.labels[part]) == set(range(len(nets)))


def test_folds_need_two_nets_of_a_class_and_one_class_of_a_net():
    five = np.zeros((5, 1))
    with pytest.raises(ValueError, match="one training net only is of class b: choos"):
        validation.folds(
            Examples(five, np.array(list("aabbb")), np.array([1, 2, 3, 3, 3]))
        )
    with pytest.raises(ValueError, match="rows of run 2 have different labels: a net"):
        validation.folds(
            Examples(five, np.array(list("aabbb")), np.array([1, 2, 2, 3, 4]))
        )


@pytest.mark.parametrize("train", TRAINERS)
def test_trainers_refuse_what_they_cannot_learn_from(train):
    good = clouds(12)
    with pytest.raises(ValueError, match=r"features have shape \[12, 5, 1\]: pass"):
        train(Examples(good.features[..., None], good.labels, good.runs), 0)
    with pytest.raises(ValueError, match="all 4 rows have one label: there is nothing"):
        train(good.where(good.labels == "adam"), 0)
    good.features[[3, 7], 2] = np.nan, np.inf
    with pytest.raises(
        ValueError,
        match="2 of 12 rows of features are not finite, one of run 13: leave",
    ):
        train(good, 0)


@pytest.mark.parametrize("train", TRAINERS[:4])
def test_a_choice_needs_two_nets_of_a_class(train):
    examples = clouds(9, rows=3)
    examples = examples.where((examples.labels != "adam") | (examples.runs == 10))
    with pytest.raises(ValueError, match="one training net only is of class adam"):
        train(examples, 0)


def test_the_search_is_scikit_learns():
    examples = clouds(45, rows=2, distance=1.0)
    scalings = [StandardScaler(), QuantileTransformer(n_quantiles=9, random_state=0)]
    grid = {"C": [0.003, 0.03, 1.0], "class_weight": [None, "balanced"]}
    chosen = validation.search(
        lambda rows: scalings, LogisticRegression(), grid, examples, seed=3
    )
    # the same in their words: names of a pipeline's steps before the parameters
    theirs = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {
            "standardscaler": scalings,
            **{f"logisticregression__{name}": grid[name] for name in reversed(grid)},
        },
        cv=validation.folds(examples, 3),
    ).fit(examples.features, examples.labels)
    best = theirs.best_params_
    assert type(chosen["scaling"]) is type(best["standardscaler"])
    assert chosen["model"].C == best["logisticregression__C"]
    new = clouds(40, seed=9).features
    np.testing.assert_array_equal(
        chosen.predict_proba(new), theirs.best_estimator_.predict_proba(new)
    )


def test_scalings_can_count_on_the_rows_of_the_smallest_fold():
    asked = []

    def scalings(rows):
        asked.append(rows)
        return [StandardScaler()]

    examples = clouds(20, classes=2)
    validation.search(scalings, LogisticRegression(), {}, examples, 0)
    assert asked == [16]


def test_of_many_rows_some_are_searched_on_and_all_fitted_to(monkeypatch):
    examples, fitted = clouds(30, rows=8), []

    class Counted(LogisticRegression):
        def fit(self, features, labels):
            fitted.append(len(labels))
            return super().fit(features, labels)

    monkeypatch.setattr(validation, "MAX_ROWS", 100)
    chosen = validation.search(
        lambda rows: [StandardScaler()], Counted(), {"C": [0.1, 1.0]}, examples, 0
    )
    assert len(fitted) == 11 and fitted[-1] == 240
    # each of five folds is searched with twice, by what is left of 100 rows
    assert sum(fitted[:-1]) == 2 * 4 * 100
    assert chosen["scaling"].n_samples_seen_ == 240


# the machines and the others, with nothing to choose


def scaled(scaling, model, examples):
    return make_pipeline(scaling, model).fit(examples.features, examples.labels)


@pytest.mark.parametrize(
    ("k", "machine"),
    [(5, LinearSVC(C=10.0, dual=False)), (120, SVC(C=0.1, kernel="linear"))],
)
def test_linear_machines_are_scikit_learns(small, monkeypatch, k, machine):
    monkeypatch.setattr(svm, "scalings", lambda rows: [StandardScaler()])
    examples, new = clouds(k=k), clouds(k=k, seed=1).features
    reference = scaled(StandardScaler(), OneVsRestClassifier(machine), examples)
    np.testing.assert_array_equal(
        svm.linear(examples, 0).decision_function(new), reference.decision_function(new)
    )


def test_rbf_machines_are_scikit_learns(small, monkeypatch):
    monkeypatch.setattr(svm, "scalings", lambda rows: [StandardScaler()])
    examples, new = clouds(), clouds(seed=1).features
    machine = SVC(C=10.0, gamma=0.5 / 5)
    reference = scaled(StandardScaler(), OneVsRestClassifier(machine), examples)
    np.testing.assert_array_equal(
        svm.rbf(examples, 0).decision_function(new), reference.decision_function(new)
    )


def test_logistic_regression_is_scikit_learns(small):
    examples, new = clouds(), clouds(seed=1).features
    normal = QuantileTransformer(n_quantiles=48, output_distribution="normal")
    reference = scaled(normal, LogisticRegression(C=0.3, max_iter=2000), examples)
    np.testing.assert_array_equal(
        models.logistic(examples, 0).predict_proba(new), reference.predict_proba(new)
    )


def test_the_forest_is_scikit_learns(small):
    examples, new = clouds(), clouds(seed=1).features
    reference = ExtraTreesClassifier(20, max_features=0.2, random_state=4)
    np.testing.assert_array_equal(
        models.forest(examples, 4).predict_proba(new),
        reference.fit(examples.features, examples.labels).predict_proba(new),
    )


def test_boosting_takes_as_many_trees_as_serve_held_out_nets_best(small, monkeypatch):
    monkeypatch.setattr(models, "PATIENCE", 100)
    examples = clouds(rows=3, distance=0.7)
    chosen = models.boosting(examples, 2)
    settings = {
        name: value
        for name, value in chosen.get_params().items()
        if name not in ("max_iter", "early_stopping")
    }
    known, held = (examples.where(rows) for rows in validation.folds(examples, 2)[0])
    every = HistGradientBoostingClassifier(
        **settings, max_iter=20, early_stopping=False
    ).fit(known.features, known.labels)
    losses = [
        log_loss(held.labels, p) for p in every.staged_predict_proba(held.features)
    ]
    assert chosen.max_iter == 1 + int(np.argmin(losses))
    assert 1 < chosen.max_iter < 20
    # and these are fitted to all nets
    again = HistGradientBoostingClassifier(**chosen.get_params())
    np.testing.assert_array_equal(
        chosen.predict_proba(held.features),
        again.fit(examples.features, examples.labels).predict_proba(held.features),
    )


@pytest.mark.parametrize(
    "names",
    [
        np.array(["adam", "momentum", "rmsprop"], dtype=object),
        np.array([32, 64, 128]),
        np.array([False, True, True]),
    ],
    ids=["str", "int", "bool"],
)
@pytest.mark.parametrize("train", TRAINERS)
def test_labels_come_back_as_they_were(small, train, names):
    examples = clouds(60, distance=9.0)
    labels = names[(examples.runs - 10) % 3]
    examples = Examples(examples.features, labels, examples.runs)
    calibrated = calibration.calibrated(train, 2)(examples, 0)
    assert calibrated.classes_.tolist() == sorted(set(names.tolist()))
    for classifier in (calibrated.classifier, calibrated):
        predicted = classifier.predict(examples.features)
        assert {type(label) for label in predicted.tolist()} == {
            type(names.tolist()[0])
        }
        assert np.mean(predicted == labels) > 0.6


@pytest.mark.parametrize("train", TRAINERS)
def test_a_seed_makes_one_classifier(small, train):
    examples, new = clouds(rows=2), clouds(seed=1).features
    first, second = (train(examples, 5).predict(new) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# what is chosen


def test_scaling_is_chosen_by_what_it_serves():
    # one feature spans decades: at unit variance the few largest values hide the rest
    rng = np.random.default_rng(0)
    kind = np.arange(200) % 2
    size = 10.0 ** (rng.uniform(-6, 0, 200) + 6.0 * kind)
    examples = Examples(size[:, None], kind, np.arange(200))
    chosen = svm.linear(examples, 0)
    assert isinstance(chosen["scaling"], QuantileTransformer)
    assert np.mean(chosen.predict(size[:, None]) == kind) == 1
    plain = scaled(StandardScaler(), LinearSVC(dual=False), examples)
    assert np.mean(plain.predict(size[:, None]) == kind) < 0.9


@pytest.mark.parametrize("k", [6, 120])
def test_importance_finds_the_column_that_tells(small, k):
    examples = clouds(k=k, classes=2, distance=4.0)
    found = svm.importance(svm.linear(examples, 0))
    assert found.shape == (k,)
    assert found.argmax() == 0 and found[0] > 2 * np.sort(found)[-2]


def test_importance_is_the_norm_over_classes(small):
    classifier = svm.linear(clouds(), 0)
    machines = classifier["model"].estimators_
    by_hand = [sum(m.coef_[0, j] ** 2 for m in machines) ** 0.5 for j in range(5)]
    assert len(machines) == 3
    np.testing.assert_allclose(svm.importance(classifier), by_hand)
    two = svm.linear(clouds(classes=2), 0)  # one machine
    coefficients = two["model"].estimators_[0].coef_[0]
    np.testing.assert_allclose(svm.importance(two), np.abs(coefficients))


@pytest.mark.parametrize("train", [svm.rbf, models.logistic, models.forest])
def test_importance_is_of_linear_machines_only(small, train):
    with pytest.raises(
        ValueError, match="only a linear machine has coefficients: pass"
    ):
        svm.importance(train(clouds(), 0))


def test_rbf_solves_what_linear_cannot(small):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 2))
    outside = np.linalg.norm(points, axis=1) > 1.2
    train, test = (
        Examples(points[half], outside[half], np.arange(150))
        for half in (slice(150), slice(150, 300))
    )
    accuracy = [
        np.mean(trainer(train, 0).predict(test.features) == test.labels)
        for trainer in (svm.linear, svm.rbf)
    ]
    assert accuracy[0] < 0.7 and accuracy[1] > 0.9


# best_of


def recording(train, shown):
    def recorded(examples, seed):
        shown.append(set(examples.runs))
        return train(examples, seed)

    return recorded


def by_identity(examples, seed):
    """Learns nets by heart, by a feature that is a net's own."""
    return Columns(KNeighborsClassifier(1), 0).fit(examples)


def by_signal(examples, seed):
    return Columns(LogisticRegression(), 1).fit(examples)


class Columns:
    def __init__(self, model, column):
        self.model, self.column = model, [column]

    def fit(self, examples):
        self.model.fit(examples.features[:, self.column], examples.labels)
        return self

    def predict(self, features):
        return self.model.predict(features[:, self.column])


def test_the_best_on_held_out_nets_is_taken_and_fitted_to_all():
    # column 0 says which net a row is of, which is perfect by rows, worthless by nets
    rng = np.random.default_rng(0)
    run = np.repeat(np.arange(60), 5)
    kind = rng.permutation(60) % 2
    signal = kind[run] + 0.7 * rng.normal(size=300)
    examples = Examples(np.stack([run, signal], axis=1), kind[run], run)
    shown = []
    trainers = {
        "identity": recording(by_identity, shown),
        "signal": recording(by_signal, shown),
    }
    accuracy = models.validated(trainers, examples, 0)
    assert accuracy["identity"] < 0.65 < accuracy["signal"] < 0.9
    assert len(shown) == 6 and all(len(nets) == 40 for nets in shown)
    assert by_identity(examples, 0).predict(examples.features).tolist() == (
        examples.labels.tolist()
    )
    shown.clear()
    best = models.best_of(trainers)(examples, 0)
    assert best.column == [1]
    assert [len(nets) for nets in shown] == [40] * 6 + [60]


def test_validated_is_the_mean_over_folds():
    examples = clouds(30, rows=2, distance=1.0)
    folds = validation.folds(examples, 4, 3)
    found = models.validated({"it": by_signal}, examples, 4)
    predicted = cross_val_predict(
        LogisticRegression(), examples.features[:, [1]], examples.labels, cv=folds
    )
    right = predicted == examples.labels
    assert found == {"it": pytest.approx(np.mean([right[h].mean() for _, h in folds]))}


@pytest.mark.slow
def test_validated_in_processes_of_its_own_is_the_same():
    trainers = {"it": by_signal, "other": by_identity}
    examples = clouds(30, rows=2, distance=1.0)
    alone, apart = (models.validated(trainers, examples, jobs=jobs) for jobs in (1, 2))
    assert alone == apart and alone["it"] != alone["other"]


def test_of_equals_the_first_is_taken_and_of_none_none(small):
    examples = clouds(30, distance=50.0)
    trainers = {"forest": models.forest, "boosting": models.boosting}
    assert isinstance(models.best_of(trainers)(examples, 0), ExtraTreesClassifier)
    with pytest.raises(
        ValueError, match="no trainer to choose from: name one at least"
    ):
        models.best_of({})(examples, 0)


# calibration


class Given:
    """A classifier whose scores are the features."""

    def __init__(self, classes):
        self.classes_ = classes

    def decision_function(self, features):
        return features[:, 0] if len(self.classes_) == 2 else features


def scored(classes, factor, seed, rows=10_000):
    """Scores that are the true logarithms of the odds, a factor too large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes))
    if classes == 2:
        logits = logits[:, :1] * [-1, 1]
    labels = (softmax(logits, 1).cumsum(1) < rng.random((rows, 1))).sum(1)
    features = factor * (logits[:, 1:] if classes == 2 else logits)
    return Examples(features, labels, np.arange(rows)), softmax(logits, axis=1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_calibration_finds_the_true_probabilities(classes, factor):
    train = calibration.calibrated(lambda examples, seed: Given(range(classes)))
    classifier = train(scored(classes, factor, 0)[0], 0)
    new, truth = scored(classes, factor, 1)
    found = classifier.predict_proba(new.features)
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.02
    np.testing.assert_array_equal(found.argmax(1), classifier.predict(new.features))
    raw = Given(range(classes)).decision_function(new.features)
    raw = softmax(np.stack([-raw, raw], 1) if classes == 2 else raw, axis=1)
    before, after = (
        calibration.scores(p, new.labels, range(classes)) for p in (raw, found)
    )
    for name in ("log_loss", "brier", "calibration_error"):
        assert after[name] < before[name]


def test_what_learned_by_heart_is_calibrated_on_other_nets():
    # a nearest neighbour is always sure, and right of all that it has seen
    examples, new = (clouds(150, distance=1.0, seed=s) for s in (0, 1))

    def heart(examples, seed):
        return KNeighborsClassifier(1).fit(examples.features, examples.labels)

    shown = []
    trained = calibration.calibrated(recording(heart, shown))(examples, 0)
    assert [len(nets) for nets in shown] == [120] * 5 + [150]
    before, after = (
        calibration.scores(c.predict_proba(new.features), new.labels, c.classes_)
        for c in (heart(examples, 0), trained)
    )
    assert after["log_loss"] < np.log(3) < before["log_loss"]
    assert after["calibration_error"] < 0.1 < 0.3 < before["calibration_error"]


def test_calibration_needs_scores_or_probabilities():
    examples = Examples(np.zeros((8, 2)), np.arange(8) % 2, np.arange(8))
    with pytest.raises(
        ValueError, match="Columns gives no scores or probabilities: ca"
    ):
        calibration.calibrated(by_signal)(examples, 0)


def test_reliability_by_hand():
    probabilities = np.array(
        [[0.9, 0.1], [0.2, 0.8], [0.85, 0.15], [0.0, 1.0], [0.5, 0.5], [0.45, 0.55]]
    )
    labels = ["a", "b", "b", "b", "b", "b"]
    table = calibration.reliability(probabilities, labels, ["a", "b"], bins=5)
    np.testing.assert_allclose(table["low"], [0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(table["high"], [0.2, 0.4, 0.6, 0.8, 1])
    assert table["count"].tolist() == [0, 0, 2, 1, 3]
    nan = np.nan
    np.testing.assert_allclose(table["confidence"], [nan, nan, 0.525, 0.8, 2.75 / 3])
    np.testing.assert_allclose(table["accuracy"], [nan, nan, 0.5, 1, 2 / 3])
    error = calibration.expected_calibration_error(
        probabilities, labels, ["a", "b"], bins=5
    )
    assert error == pytest.approx((2 * 0.025 + 0.2 + 0.75) / 6)


def test_scores_by_hand():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    found = calibration.scores(probabilities, [64, 32], [32, 64, 128])
    assert found["accuracy"] == 0
    assert found["log_loss"] == pytest.approx(-(np.log(0.25) + np.log(0.2)) / 2)
    brier = (0.25 + 0.5625 + 0.0625 + 0.64 + 0.04 + 0.36) / 2
    assert found["brier"] == pytest.approx(brier)
    assert found["calibration_error"] == pytest.approx((0.5 + 0.6) / 2)


def test_two_classes_are_scored_as_more_are():
    two = calibration.scores(np.array([[0.7, 0.3]]), [True], [False, True])
    assert two["brier"] == pytest.approx(2 * 0.49)
    assert two["log_loss"] == pytest.approx(-np.log(0.3))


@given(seed=st.integers(0, 50), bins=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_every_row_is_in_a_bin_that_holds_its_confidence(seed, bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.3] * 3, size=50)
    labels = rng.integers(3, size=50)
    table = calibration.reliability(probabilities, labels, range(3), bins)
    full = table[table["count"] > 0]
    assert table["count"].sum() == 50
    assert (full["confidence"] > full["low"]).all()
    assert (full["confidence"] <= full["high"] + 1e-12).all()
    right = (probabilities.argmax(1) == labels).mean()
    assert np.average(full["accuracy"], weights=full["count"]) == pytest.approx(right)


def test_probabilities_must_fit_labels_and_classes():
    good, labels, classes = np.full((4, 2), 0.5), list("abab"), ["a", "b"]
    for judge in (
        calibration.scores,
        calibration.reliability,
        calibration.expected_calibration_error,
    ):
        with pytest.raises(
            ValueError, match=r"shape \[4, 2\] for 4 labels and 3 classes: pass"
        ):
            judge(good, labels, ["a", "b", "c"])
        with pytest.raises(ValueError, match="negative or does not sum to one: pass"):
            judge(2 * good, labels, classes)
        with pytest.raises(ValueError, match="label c is none of the classes"):
            judge(good, list("abac"), classes)
