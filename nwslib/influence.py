"""Which hyper-parameter matters most for the test accuracy (section 4.2).

The paper reads it off the sizes of the regression's coefficients. Here a
hyper-parameter's influence is the variance of test accuracy that its coefficients
make when its categories are drawn alike often, as Table 1 says: the mean of their
squares, less what noise adds to it; of the learning rate, a third of the square. It is
a share of the variance within the data set, for accuracies have variance 1 there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nwslib._optional import need
from nwslib.regression import Design, Regressed, TooFewRuns, regressed


def influence(
    runs: pd.DataFrame, dataset: str, threshold: float | None = None
) -> pd.DataFrame:
    """Influence of every hyper-parameter on one data set's test accuracy.

    Arguments and errors are those of :func:`nwslib.regression.regress`; also if one run
    alone decides a coefficient.

    Returns
    -------
    DataFrame
        The most influential first: ``hyperparameter``, ``influence``, ``low`` and
        ``high`` (95 % interval), ``p_value`` (of no influence, F test). Standard
        errors allow for accuracies that scatter more with some categories than with
        others (HC2, MacKinnon & White 1985). An estimate can be negative.
    """
    rows = regressed(runs, dataset, threshold)
    fitted = _fit(rows)
    table = []
    for name, form in _forms(rows.design).items():
        value, variance = _estimate(form, fitted.params, fitted.cov_params())
        low, high = value + 1.96 * np.sqrt(variance) * np.array([-1, 1])
        unit = np.eye(len(form))[rows.design.columns[name]]
        table.append((name, value, low, high, float(fitted.f_test(unit).pvalue)))
    columns = ["hyperparameter", "influence", "low", "high", "p_value"]
    result = pd.DataFrame(table, columns=columns)
    return result.sort_values("influence", ascending=False, ignore_index=True)


def lead(
    runs: pd.DataFrame, dataset: str, name: str, threshold: float | None = None
) -> pd.DataFrame:
    """How much more influential one hyper-parameter is than each other.

    Parameters
    ----------
    runs, dataset, threshold
        See :func:`nwslib.regression.regress`, also for errors.
    name : str
        The hyper-parameter.

    Returns
    -------
    DataFrame
        By the others' names: ``difference`` of influences and its ``variance``.

    Raises
    ------
    TooFewRuns
        Also if the hyper-parameter or all others do not vary, or one run alone
        decides a coefficient.
    """
    rows = regressed(runs, dataset, threshold)
    forms = _forms(rows.design)
    if name not in forms or len(forms) < 2:
        raise TooFewRuns(
            f"of the hyper-parameters {[*forms]} vary in '{dataset}': to compare "
            f"'{name}', sample runs in which it and others do."
        )
    own, fitted = forms.pop(name), _fit(rows)
    estimates = [
        _estimate(own - form, fitted.params, fitted.cov_params())
        for form in forms.values()
    ]
    return pd.DataFrame(estimates, columns=["difference", "variance"], index=[*forms])


def _fit(rows: Regressed) -> object:
    """The model with standard errors for unequal scatter."""
    q, _ = np.linalg.qr(rows.design.matrix)
    if ((q**2).sum(axis=1) > 1 - 1e-9).any():  # leverage: HC2 divides by 1 - it
        raise TooFewRuns(
            f"one of {len(rows.runs)} runs of '{rows.dataset}' alone decides a "
            "coefficient: sample more runs."
        )
    ols = need("statsmodels.api", "book").OLS  # only where it is used
    return ols(rows.response, rows.design.matrix).fit(cov_type="HC2", use_t=True)


def _forms(design: Design) -> dict[str, NDArray]:
    """Matrices A, [columns, columns], with influence c'Ac of coefficients c."""
    forms = {}
    for name, columns in design.columns.items():
        unit = np.eye(design.matrix.shape[1])[columns]
        if name == "lr":  # uniform in -1..1: variance 1/3
            forms[name] = unit.T @ unit / 3
        else:
            effects = np.vstack([unit, -unit.sum(axis=0)])  # [categories, columns]
            forms[name] = effects.T @ effects / len(effects)
    return forms


def _estimate(form: NDArray, c: NDArray, covariance: NDArray) -> tuple[float, float]:
    """Estimate c'Ac without bias, and the estimate's variance, for normal c."""
    noise = np.trace(form @ covariance @ form @ covariance)
    slope = c @ form @ covariance @ form @ c
    # In expectation the slope holds the noise once too often; without any influence
    # the variance would still be twice the noise.
    variance = max(4 * slope - 2 * noise, 2 * noise)
    return float(c @ form @ c - np.trace(form @ covariance)), float(variance)
