"""Support vector machines on statistics of weights.

Eilertsen et al., "Classifying the classifier" (2020), section 5.1 and supplement E:
one machine a class, that class against the rest, with a linear kernel or a radial
basis function. The paper tells neither how features are scaled nor how C and gamma
are chosen. Here all are chosen by cross-validation over the training nets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nwslib.meta import validation
from nwslib.meta.protocol import Classifier, Examples

if TYPE_CHECKING:
    from sklearn.base import TransformerMixin
    from sklearn.pipeline import Pipeline

#: From so many features on they are many: 480 are, 16 are not.
MANY = 100
#: Values of C that the linear machine chooses from, the most regular first, with many
#: features and with few. With many, classes are soon separable: more changes nothing.
LINEAR_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
NARROW_C = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
#: Values of C that the machine with radial basis functions chooses from,
RBF_C = (1.0, 1e1, 1e2, 1e3)
#: and of its gamma, over 1/k for k features: scaled features have unit variance, so
#: 1 is what scikit-learn calls "scale".
RBF_GAMMA = (0.1, 0.3, 1.0)

#: Quantiles of a feature that the transform to a normal distribution knows.
_QUANTILES = 100


def linear(examples: Examples, seed: int = 0) -> Pipeline:
    """Fit one-vs-rest linear machines.

    Parameters
    ----------
    examples : Examples
        Features [rows, k] of training nets.
    seed : int

    Returns
    -------
    Pipeline
        Steps ``scaling`` and ``model``; scikit-learn's, with ``decision_function``.

    Raises
    ------
    ValueError
        If a feature is not finite, there is one class, or one net of a class.
    """
    validation.check(examples)
    # sklearn: only where it is used
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC, LinearSVC

    # One machine but for its loss, squared hinge or hinge: at a large C libsvm is slow
    # with few features (which leave classes mixed), liblinear with many.
    if examples.features.shape[1] < MANY:
        machine, values = LinearSVC(dual=False, max_iter=10_000), NARROW_C
    else:
        machine, values = SVC(kernel="linear"), LINEAR_C
    return validation.search(
        scalings, OneVsRestClassifier(machine), {"estimator__C": values}, examples, seed
    )


def rbf(examples: Examples, seed: int = 0) -> Pipeline:
    """Fit one-vs-rest machines with radial basis functions; all as :func:`linear`."""
    validation.check(examples)
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    k = examples.features.shape[1]
    grid = {
        "estimator__C": RBF_C,
        "estimator__gamma": [factor / k for factor in RBF_GAMMA],
    }
    return validation.search(scalings, OneVsRestClassifier(SVC()), grid, examples, seed)


def importance(classifier: Classifier) -> NDArray:
    """How much each feature counts in a linear machine (Fig. 3, 16, 17).

    Parameters
    ----------
    classifier : Pipeline
        From :func:`linear`.

    Returns
    -------
    ndarray, shape [k]
        Norm over classes of the one-vs-rest coefficients, of scaled features. Its
        overall size goes with C, so divide by the sum to compare several.

    Raises
    ------
    ValueError
        If the classifier has no linear coefficients.
    """
    machines = getattr(
        getattr(classifier, "named_steps", {}).get("model"), "estimators_", ()
    )
    if not machines or not all(hasattr(m, "coef_") for m in machines):
        raise ValueError(
            "only a linear machine has coefficients: pass what svm.linear returns."
        )
    coefficients = np.concatenate([m.coef_ for m in machines])  # [classes, k]
    return np.linalg.norm(coefficients, axis=0)


def scalings(rows: int) -> list[TransformerMixin]:
    """Scalings to choose from: to unit variance, or by rank to a normal distribution.

    Parameters
    ----------
    rows : int
        Rows that they will be fitted to at least.
    """
    from sklearn.preprocessing import StandardScaler

    return [StandardScaler(), normal_scores(rows)]


def normal_scores(rows: int) -> TransformerMixin:
    """A feature's rank among the rows fitted to, as a standard normal quantile."""
    from sklearn.preprocessing import QuantileTransformer

    return QuantileTransformer(
        n_quantiles=min(_QUANTILES, rows), output_distribution="normal", random_state=0
    )
