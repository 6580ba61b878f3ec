"""Test accuracy regressed on hyper-parameters: Eq. 3 of "Classifying the classifier".

Eilertsen et al. (2020), section 4.2 and supplement D: one ordinary least squares model
a data set, on runs that learned something. One indicator a category beside a constant
has no unique solution, and the paper does not say how it chose one. Here categories
are coded by deviation: the coefficients of a hyper-parameter sum to zero, and each is
the distance of its category from the mean over categories. So all 32 categories have a
coefficient, with the learning rate and the constant the paper's 34.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nwslib._optional import need
from nwslib.nws.hyperparameters import LEARNING_RATES
from nwslib.nws.table import (
    CATEGORIES,
    categories,
    check_runs,
    successful,
    threshold_of,
)

#: A category with fewer runs gets no coefficient: they would decide it alone.
LEAST_RUNS = 3

_FOLDS = 10


class TooFewRuns(ValueError):
    """A data set's runs are too few, or too alike, for the coefficients."""


@dataclass(frozen=True, eq=False)
class Regression:
    """A linear model of one data set's test accuracies.

    Accuracies are normalised to zero mean and unit variance within the data set, so
    errors and coefficients count standard deviations of test accuracy.

    Attributes
    ----------
    dataset : str
    threshold : float
        Runs of a lower test accuracy are left out.
    n_runs, n_rejected, n_rare : int
        Runs that the model is fitted to, runs below the threshold, and runs left out
        because a category of theirs has fewer than :data:`LEAST_RUNS`.
    coefficients : DataFrame
        A row a category, columns ``hyperparameter``, ``category`` (str), ``runs``,
        ``coefficient``, ``std_error``, ``p_value``, ``low`` and ``high`` (95 %
        interval), ``note``. Then a row for ``lr``, whose coefficient is half the
        difference between the ends of Table 1's range, as that of a hyper-parameter
        of two categories is; and one for ``constant``. Where a category has too few
        runs or a hyper-parameter one value, the numbers are NaN and the note says why.
    r_squared : float
    error, constant_error : float
        Mean absolute error of the model, and of the mean test accuracy (Fig. 15a).
    cv_error, cv_constant_error : float
        The same for runs that were not fitted to, by 10-fold cross-validation.
    """

    dataset: str
    threshold: float
    n_runs: int
    n_rejected: int
    n_rare: int
    coefficients: pd.DataFrame
    r_squared: float
    error: float
    constant_error: float
    cv_error: float
    cv_constant_error: float


def regress(
    runs: pd.DataFrame, dataset: str, threshold: float | None = None
) -> Regression:
    """Fit Eq. 3 to one data set's runs by ordinary least squares.

    Parameters
    ----------
    runs : DataFrame
        A row a run: ``dataset``, ``lr``, ``test_accuracy`` (0..1) and the columns of
        :data:`.CATEGORIES`.
    dataset : str
    threshold : float, optional
        Least test accuracy; the paper's for its five data sets (supplement C).

    Raises
    ------
    ValueError
        If a column is missing or incomplete, or the data set has no runs or no
        threshold.
    TooFewRuns
        If the data set's runs are too few, or too alike, for the coefficients.
    """
    rows = regressed(runs, dataset, threshold)

    ols = need("statsmodels.api", "book").OLS  # only where it is used
    matrix, response = rows.design.matrix, rows.response
    fitted = ols(response, matrix).fit()
    return Regression(
        dataset=dataset,
        threshold=rows.threshold,
        n_runs=len(rows.runs),
        n_rejected=int((runs["dataset"] == dataset).sum()) - len(rows.reached),
        n_rare=len(rows.reached) - len(rows.runs),
        coefficients=_coefficients(rows, fitted),
        r_squared=float(fitted.rsquared),
        error=float(np.abs(fitted.resid).mean()),
        constant_error=float(np.abs(response).mean()),
        **_cross_validated(matrix, response),
    )


@dataclass(frozen=True, eq=False)
class Regressed:
    """What a data set's model is fitted to.

    Attributes
    ----------
    dataset : str
    threshold : float
    reached : DataFrame
        Runs that reach it.
    runs : DataFrame
        Of them, those whose categories have :data:`LEAST_RUNS` runs each.
    design : Design
    response : ndarray, shape [runs]
        Test accuracy at zero mean and unit variance.
    """

    dataset: str
    threshold: float
    reached: pd.DataFrame
    runs: pd.DataFrame
    design: Design
    response: NDArray


def regressed(
    runs: pd.DataFrame, dataset: str, threshold: float | None = None
) -> Regressed:
    """Choose and code a data set's runs; arguments and errors as :func:`regress`."""
    check_runs(runs, ["dataset", "lr", "test_accuracy", *CATEGORIES])
    mine = runs[runs["dataset"] == dataset]
    if mine.empty:
        raise ValueError(
            f"no run of '{dataset}': the table has {sorted(set(runs['dataset']))}."
        )
    least = threshold_of(dataset, {} if threshold is None else {dataset: threshold})
    reached = successful(mine, {dataset: least})
    kept = _without_rare(reached)
    design = Design.of(kept)
    size = design.matrix.shape[1]
    if len(kept) and size == 1:
        raise TooFewRuns(
            f"no hyper-parameter varies among {len(kept)} runs of '{dataset}': there "
            "is nothing to explain by."
        )
    if len(kept) <= size:
        raise TooFewRuns(
            f"{len(reached)} runs of '{dataset}' reach the threshold, {len(kept)} of "
            f"them have no rare category, and the model has {size} coefficients: "
            "sample more runs."
        )
    rank = np.linalg.matrix_rank(design.matrix)
    if rank < size:
        raise TooFewRuns(
            f"{len(kept)} runs of '{dataset}' tell {rank} of {size} coefficients "
            "apart, for some categories only occur together: sample more runs."
        )
    accuracy = kept["test_accuracy"].to_numpy(dtype=float)
    if np.ptp(accuracy) == 0:
        raise TooFewRuns(
            f"all {len(kept)} runs of '{dataset}' have one test accuracy: there is "
            "nothing to explain."
        )
    response = (accuracy - accuracy.mean()) / accuracy.std()
    return Regressed(dataset, least, reached, kept, design, response)


def _without_rare(runs: pd.DataFrame) -> pd.DataFrame:
    """Leave out runs of categories with too few, until none is left."""
    while True:
        rare = np.zeros(len(runs), dtype=bool)
        for name in CATEGORIES:
            count = runs[name].map(runs[name].value_counts())
            rare |= (count < LEAST_RUNS).to_numpy()
        if not rare.any():
            return runs
        runs = runs[~rare]


@dataclass(frozen=True, eq=False)
class Design:
    """The regressors of Eq. 3, coded by deviation.

    Attributes
    ----------
    matrix : ndarray, shape [runs, columns]
        A column of ones, then those of each hyper-parameter. Of K categories all but
        the last have a column: 1 where a run has it, -1 where it has the last one.
        The learning rate goes from -1 to 1 over Table 1's range.
    columns : dict of str to slice
        By hyper-parameter, those that do not vary left out.
    categories : dict of str to list
        Those with runs, in order, by hyper-parameter; none for the learning rate.
    """

    matrix: NDArray
    columns: dict[str, slice]
    categories: dict[str, list]

    @classmethod
    def of(cls, runs: pd.DataFrame) -> Design:
        """Code a table of runs."""
        low, high = LEARNING_RATES
        rate = 2 * (runs["lr"].to_numpy(dtype=float) - low) / (high - low) - 1
        blocks, present = {}, {}
        if runs["lr"].nunique() > 1:
            blocks["lr"] = rate[:, None]
        for name in CATEGORIES:
            own = runs[name].to_numpy()
            seen = [c for c in categories(runs, name) if (own == c).any()]
            if len(seen) > 1:
                present[name] = seen
                last = (own == seen[-1]).astype(float)
                blocks[name] = np.stack([(own == c) - last for c in seen[:-1]], axis=1)
        matrix = np.concatenate([np.ones((len(runs), 1)), *blocks.values()], axis=1)
        ends = np.cumsum([1, *(block.shape[1] for block in blocks.values())])
        places = map(slice, ends[:-1].tolist(), ends[1:].tolist())
        return cls(matrix, dict(zip(blocks, places, strict=True)), present)


def _coefficients(rows: Regressed, fitted: object) -> pd.DataFrame:
    """The tidy table of :class:`Regression`."""
    runs, design = rows.reached, rows.design
    unit = np.eye(design.matrix.shape[1])
    effects = {("constant", ""): unit[0]}  # what each number is a combination of
    if "lr" in design.columns:
        effects["lr", ""] = unit[design.columns["lr"]][0]
    for name, present in design.categories.items():
        own = unit[design.columns[name]]
        last = -own.sum(axis=0)
        for category, effect in zip(present, [*own, last], strict=True):
            effects[name, str(category)] = effect
    test = fitted.t_test(np.array(list(effects.values())))
    keys = ["hyperparameter", "category"]
    known = pd.DataFrame(
        {
            "coefficient": test.effect,
            "std_error": np.ravel(test.sd),
            "p_value": test.pvalue,
            "low": test.conf_int()[:, 0],
            "high": test.conf_int()[:, 1],
        },
        index=pd.MultiIndex.from_tuples(effects, names=keys),
    )
    counts = {
        ("lr", ""): len(rows.runs),
        **{
            (name, str(category)): int((runs[name] == category).sum())
            for name in CATEGORIES
            for category in categories(runs, name)
        },
        ("constant", ""): len(rows.runs),
    }
    table = known.reindex(pd.MultiIndex.from_tuples(counts, names=keys))
    table.insert(0, "runs", list(counts.values()))
    constant = {  # a hyper-parameter's only category, or learning rate
        (name, str(rows.runs[name].iloc[0]) if name in CATEGORIES else "")
        for name in ("lr", *CATEGORIES)
        if rows.runs[name].nunique() == 1
    }
    table["note"] = [
        ""
        if key in effects
        else "does not vary"
        if key in constant
        else ("too few runs" if count else "no run")
        for key, count in counts.items()
    ]
    return table.reset_index()


def _cross_validated(matrix: NDArray, response: NDArray) -> dict[str, float]:
    """Errors on runs that were left out of the fit."""
    # sklearn: only where it is used
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(min(_FOLDS, len(response)), shuffle=True, random_state=0)
    models = {
        "cv_error": LinearRegression(fit_intercept=False),
        "cv_constant_error": DummyRegressor(),
    }
    return {
        name: float(
            np.abs(
                response - cross_val_predict(model, matrix, response, cv=folds)
            ).mean()
        )
        for name, model in models.items()
    }


def coefficient_correlations(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Pearson's correlation between data sets' coefficients (Fig. 15b).

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``Regression.coefficients`` by data set.

    Returns
    -------
    DataFrame
        A row a pair: ``one``, ``other``, ``r``, ``low`` and ``high`` (95 % interval),
        ``free``. All coefficients but the constant count, where both data sets have
        them. ``free`` of them are free, for those of a hyper-parameter sum to zero;
        the interval is Fisher's for ``free`` + 1 points. It takes coefficients for a
        sample of hyper-parameters one could have varied. Errors of the coefficients
        themselves pull r towards zero.

    Raises
    ------
    ValueError
        If a pair has fewer than three free coefficients in common.
    """
    rows = []
    for one, other in combinations(tables, 2):
        keys = ["hyperparameter", "category"]
        pair = tables[one].merge(tables[other], on=keys, suffixes=("", "_other"))
        pair = pair[pair["hyperparameter"] != "constant"]
        pair = pair.dropna(subset=["coefficient", "coefficient_other"])
        sizes = pair["hyperparameter"].value_counts()
        free = int((sizes - (sizes.index != "lr")).sum())
        if free < 3:
            raise ValueError(
                f"'{one}' and '{other}' share {free} free coefficients: a correlation "
                "needs three."
            )
        r = float(np.corrcoef(pair["coefficient"], pair["coefficient_other"])[0, 1])
        with np.errstate(divide="ignore"):  # r = 1: the interval is a point
            z = np.arctanh(np.clip(r, -1, 1))
        low, high = np.tanh(z + np.array([-1.96, 1.96]) / np.sqrt(free - 2))
        rows.append((one, other, r, low, high, free))
    columns = ["one", "other", "r", "low", "high", "free"]
    return pd.DataFrame(rows, columns=columns)
