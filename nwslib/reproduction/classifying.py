"""Rows of Eilertsen et al., "Classifying the classifier" (2020), with its supplement.

Its meta-classifiers' accuracies stand in figures without numbers: those are drawn, and
what the text says of them is judged claim by claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nwslib import papers
from nwslib.reproduction.rows import Section, at, figure, left_out, number, statement

_SAMPLING, _SUCCESS = "08_sampling", "09_what_makes_training_succeed"
_MAP, _GLOBAL = "10_map_of_weight_space", "11_what_statistics_give_away"
_LOCAL, _DMC = "12_only_a_slice", "13_deep_meta_classifiers"
_WHERE, _ABLATIONS = "14_where_and_when", "15_ablations"

_NETS = (
    left_out(
        "Section 4, the NWS dataset", "320,000 snapshots of 16,000 nets",
        "sampled anew, smaller; theirs can be imported",
    ),
    *(
        number(f"Table 2, {name} set, trainings", _SUCCESS, sizes[0], ("runs", name),
               form=",d")
        for name, sizes in papers.NWS_SETS.items()
    ),
    *(
        number(f"Supplement C, {name} set, share of successes", _SAMPLING,
               sizes[1] / sizes[0], ("kept", name, "all"), within=0.05)
        for name, sizes in papers.NWS_SETS.items()
    ),
    statement(
        "Table 1", _SAMPLING, "five choices of three values each make the net",
        (("counted", "architectures"),), lambda count: count == 3**5,
        "{} architectures",
    ),
    number("Table 3, weights of the fixed net", _SAMPLING, papers.NWS_WEIGHTS["fixed"],
           ("counted", "weights, fixed"), form=",d"),
    number("Supplement B, of them in convolutions", _SAMPLING,
           papers.NWS_WEIGHTS["convolutions"], ("counted", "in convolutions"),
           form=",d"),
    # "between ~20K and ~390K": two digits are printed
    number("Supplement A.1, smallest net", _SAMPLING, papers.NWS_WEIGHTS["smallest"],
           ("counted", "smallest"), within=2000, form=",d"),
    number("Supplement A.1, largest net", _SAMPLING, papers.NWS_WEIGHTS["largest"],
           ("counted", "largest"), within=5000, form=",d"),
    figure("Fig. 6", _SAMPLING, "sizes and training times"),
    figure("Fig. 7", _SAMPLING, "accuracy over the progress of training"),
    figure("Fig. 8", _SAMPLING, "distribution of test accuracy"),
)  # fmt: skip


def _beaten(key: str) -> Any:
    """Largest error of a linear model, as a share of its constant's."""

    def worst(numbers: Mapping[str, Any]) -> float | None:
        fits = (at(numbers, ("regressions",)) or {}).values()
        shares = [fit[key] / fit["error of a constant"] for fit in fits]
        return max(shares, default=None)

    return worst


def _correlated(key: str) -> Any:
    """Smallest of the data sets' correlations, or of one end of their intervals."""

    def smallest(numbers: Mapping[str, Any]) -> float | None:
        return min(
            (each[key] for each in numbers.get("correlations", [])), default=None
        )

    return smallest


_TRAINING = (
    *(
        figure(f"Fig. {n}", _SUCCESS, f"mean accuracy by {one} and {other}")
        for n, one, other in (
            (9, "initialisation", "activation"), (10, "initialisation", "optimizer"),
            (11, "initialisation", "augmentation"), (12, "activation", "optimizer"),
        )
    ),
    figure("Fig. 1", _SUCCESS, "coefficients of Eq. 3, hardest data set"),
    figure("Fig. 14", _SUCCESS, "coefficients of Eq. 3, all data sets"),
    figure("Fig. 15", _SUCCESS, "errors, correlations of coefficients"),
    statement(
        "Fig. 15a", _SUCCESS, "linear models err less than constants",
        (_beaten("error, fitted"), _beaten("error, unseen")),
        lambda fitted, unseen: max(fitted, unseen) < 1,
        "{:.2f} of a constant's error or less, {:.2f} on unseen nets",
    ),
    # "strongly": our reading is 0.5
    statement(
        "Fig. 15b", _SUCCESS, "all datasets are strongly correlated",
        (_correlated("r"), _correlated("low"), _correlated("high")),
        lambda r, low, high: True if low > 0.5 else False if high < 0.5 else None,
        "r {:.2f} or more",
    ),
)  # fmt: skip


def _explained(numbers: Mapping[str, Any]) -> float | None:
    """Share of the variance in the first ten components."""
    shares = at(numbers, ("explained", "all"))
    return sum(shares) if shares else None


_PICTURE = (
    figure("Fig. 13", _MAP, "UMAP of ten principal components"),
    statement(
        "Supplement B", _MAP, "a small set of components holds most of the variance",
        (_explained,), lambda share: share > 0.5, "{:.1%} in ten components",
    ),
    statement(
        "Fig. 13g", _MAP, "initial weights cluster",
        tuple(
            ("neighbours", "all, plane", "initial weights", key)
            for key in ("share", "low", "chance")
        ),
        lambda share, low, chance: low > 0.5 > chance,
        "{:.1%} of neighbours of initial weights are such",
    ),
    statement(
        "Fig. 13h", _MAP, "small clusters outside are trainings that got stuck",
        tuple(
            ("islands", "all", key) for key in ("of them failed", "of those failed")
        ),
        lambda islands, body: islands > 0.5 and islands > body,
        "{:.1%} of the nets there failed, {:.1%} of the main body's",
    ),
)  # fmt: skip

_MACHINES = (
    figure("Fig. 2, SVM", _GLOBAL, "accuracy, whole nets, 6 hyper-parameters"),
    figure("Fig. 3, 16", _GLOBAL, "importance of 480 features"),
    figure("Fig. 4, SVM", _LOCAL, "accuracy, slices, 11 hyper-parameters"),
    figure("Fig. 17", _LOCAL, "importance of 16 features"),
)

_DEEP = (
    *(
        number(f"Table 3, {name} DMC, weights", _DMC, count, ("weights", name),
               form=",d")
        for name, count in papers.DMC_WEIGHTS.items()
    ),
    figure("Fig. 2, DMC", _DMC, "accuracy, whole nets, 6 hyper-parameters"),
    figure("Fig. 4, DMC", _DMC, "accuracy, slices, 11 hyper-parameters"),
    figure("Fig. 5", _WHERE, "maps over depth and progress, selected"),
    figure("Fig. 20", _WHERE, "maps over depth and progress, training"),
    figure("Fig. 21", _WHERE, "maps over depth and progress, architecture"),
    figure("Fig. 18", _ABLATIONS, "accuracy over the size of slices"),
    figure("Fig. 19", _ABLATIONS, "with and without batch norm and biases"),
)  # fmt: skip

_SOURCE = "Classifying the classifier"

SECTIONS = (
    Section(_SOURCE, "The sampled nets", _NETS),
    Section(_SOURCE, "What makes training succeed", _TRAINING, claims_of=(_SUCCESS,)),
    Section(_SOURCE, "The map", _PICTURE),
    Section(_SOURCE, "Statistics of weights", _MACHINES, claims_of=(_GLOBAL, _LOCAL)),
    Section(
        _SOURCE, "Deep meta-classifiers", _DEEP, claims_of=(_DMC, _WHERE, _ABLATIONS)
    ),
)
