"""Rows of Schuerholt & Borth on version control, and of the hypotheses they leave.

"An Investigation of the Weight Space for Version Control of Neural Networks" (2020)
and its second version, "... to Monitor the Training Progress of Neural Networks".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nwslib import papers
from nwslib.detection import lowest_area
from nwslib.reproduction.rows import (
    Row,
    Section,
    at,
    figure,
    left_out,
    number,
    statement,
)

_GROWING, _SEEING = "02_growing_zoos", "03_seeing_trajectories"
_SORTING, _SHIFT = "04_versioning", "06_domain_shift"
_NAMES = {"A1": "FFNN", "A2": "CNN"}
#: Readings of "MSE" and "weight decay" that chapter 02 tries; the printed one.
_PRINTED = "SGD, mean, decay 0.1 (as printed)"
_ATTACKS = ("backdoor", "FGSM", "PGD")
_SHIFTS = (
    "rotated", "noisy", "low contrast", "other data set", "wrong labels",
    "class removed",
)  # fmt: skip

#: A share of points, or a purity, that counts as "all" in words.
_NEARLY_ALL = 0.95
#: Test accuracy of ten classes from which on a net counts as trained.
_LEARNED = 0.5
#: Area under the ROC curve that counts as telling; the limit of chapter 06.
_TELLS = 0.9


def _pattern(net: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Smaller p-value of a rank correlation with accuracy, times the two tried."""

    def smallest(numbers: Mapping[str, Any]) -> float | None:
        tried = at(numbers, ("correlations", net)) or {}
        return min((2 * each["pvalue"] for each in tried.values()), default=None)

    return smallest


def _step(net: str, where: int) -> Callable[[Mapping[str, Any]], float | None]:
    """The median net's step into its first (0) or last (-1) epoch."""
    return lambda numbers: (at(numbers, (net, "median step")) or [None])[where]


_SET_UP = (
    left_out("Fig. 1, 2", "drawings of the idea", "no experiment"),
    *(
        number(
            f"Table {table}, {_NAMES[net]}, weights", "01_weight_space",
            papers.N_WEIGHTS[net], ("weights", net), form=",d",
        )
        for net, table in (("A2", 2), ("A1", 3))
    ),
    *(
        number(
            f"Section 3.1, {_NAMES[net]}, nets", _GROWING,
            papers.N_MODELS, ("accuracy", net, "nets"), form=".0f",
        )
        for net in ("A2", "A1")
    ),
    statement(
        "Table 1, CNN, as printed", _GROWING, "trains",
        (("readings", _PRINTED, "accuracy"),), lambda mean: mean > _LEARNED,
        "mean test accuracy {:.3f}",
    ),
    statement(
        "Table 1, FFNN, as printed", _GROWING, "trains",
        (("accuracy", "A1", "mean"),), lambda mean: mean > _LEARNED,
        "mean test accuracy {:.3f}",
    ),
    figure("Fig. 3", _GROWING, "mean and deviation of a net's weights"),
    statement(
        "Fig. 3, CNN", _GROWING, "shows structure",
        (_pattern("A2"),), lambda p: True if p < 0.05 else None,
        "correlation with accuracy, p {:.2g}",
    ),
    statement(
        "Fig. 3, FFNN", _GROWING, "no recognizable pattern",
        (_pattern("A1"),), lambda p: p >= 0.05,
        "correlation with accuracy, p {:.2g}",
    ),
    figure("Fig. 4", _SEEING, "UMAP of the weight space"),
    statement(
        "Fig. 4, CNN", _SEEING, "smooth trajectories of nets over epochs",
        (("A2", "full space", "next_epoch"),), lambda share: share >= _NEARLY_ALL,
        "{:.1%} of points lie nearest to the epoch before or after",
    ),
    statement(
        "Fig. 4, FFNN", _SEEING, "not as smooth, but still recognizable",
        tuple(
            (net, "full space", key)
            for net, key in (
                ("A1", "same_net"), ("A1", "next_epoch"), ("A2", "next_epoch")
            )
        ),
        lambda same, noisy, smooth: same >= _NEARLY_ALL and noisy < smooth,
        "{:.1%} nearest to their own net, {:.1%} to the epoch before or after",
    ),
    figure("Fig. 5", _SEEING, "UMAP of SVD-50"),
    *(
        statement(
            f"Fig. 5, CNN, {name}", _SEEING, "trajectories are cleanly separated",
            (("A2", space, "same_net"),), lambda share: share >= _NEARLY_ALL,
            "{:.1%} of points lie nearest to their own net",
        )
        for name, space in (
            ("in 50 dimensions", "SVD 50"), ("in the plane", "plane of SVD 50")
        )
    ),
    *(
        statement(
            f"Section 4.1, {_NAMES[net]}", _SEEING,
            "larger distances at initial epochs, smaller towards the end",
            (_step(net, 0), _step(net, -1)), lambda first, last: last < first,
            "median step {:.2f} at first, {:.2f} at last",
        )
        for net in ("A2", "A1")
    ),
    *(
        figure(f"Fig. {names}", _SORTING, f"dendrograms, {space}")
        for names, space in (("6", "full space"), ("7, 8, 9", "SVD 50 and SVD 5"))
    ),
)  # fmt: skip


def _space(k: int) -> str:
    """A space's name in chapter 04's results."""
    return f"SVD {k}" if k else "full space"


def _table(net: str, table: int) -> Iterator[Row]:
    """Rows of Table 2 or 3; of the order measures, ties as in the file are judged."""
    for k, row in papers.CLUSTER_TABLES[net].items():
        where = f"Table {table}, {_space(k)}"
        mine = (net, _space(k))
        yield number(
            f"{where}, purity", _SORTING, row.purity, (*mine, "purity"), within=0.05
        )
        for words, key, printed, within in (
            ("ordered initial epochs", "ordered_initial", row.ordered_initial, 1.0),
            ("ordered epochs", "ordered_pairs", row.ordered_pairs, 0.05),
        ):
            yield number(
                f"{where}, {words}", _SORTING, printed, (*mine, f"{key}_forward"),
                within=within, beside=("fair ties", (*mine, key)),
            )  # fmt: skip


def _least_purity(net: str, *dimensions: int) -> Callable:
    """Lowest purity over some spaces, None where one is missing."""

    def least(numbers: Mapping[str, Any]) -> float | None:
        found = [at(numbers, (net, _space(k), "purity")) for k in dimensions]
        return None if None in found else min(found)

    return least


_TOLD_APART = (
    statement(
        "Section 4.2, CNN", _SORTING, "clusters remain pure down to 50 dimensions",
        (_least_purity("A2", 0, 500, 100, 50),), lambda share: share >= _NEARLY_ALL,
        "purity {:.3f} or more",
    ),
    statement(
        "Section 4.2, CNN", _SORTING, "below, purity and ordering decline",
        tuple(
            ("A2", _space(k), key)
            for key in ("purity", "ordered_pairs_forward") for k in (50, 5)
        ),
        lambda pure, low, order, few: low < pure and few < order,
        "from 50 to 5 dimensions: {:.2f} to {:.2f}, {:.2f} to {:.2f}",
    ),
    statement(
        "Section 4.2, FFNN", _SORTING, "high purity even on SVD 10",
        (_least_purity("A1", 0, 500, 100, 50, 25, 10),),
        lambda share: share >= _NEARLY_ALL, "purity {:.3f} or more",
    ),
    statement(
        "Section 4.2, FFNN", _SORTING, "ordering is very limited",
        (("A1", "full space", "ordered_pairs_forward"),), lambda share: share < 0.5,
        "{:.1%} of the steps lead from an epoch to the next",
    ),
)  # fmt: skip


def _lowest(signal: str, changes: tuple[str, ...]) -> Callable:
    """Lowest area of a signal over nets and changes."""
    return lambda numbers: lowest_area(numbers, signal, changes)


_MONITORING = (
    *(
        statement(
            f"Hypothesis, {what}", _SHIFT, f"{words} tells of {what}",
            (_lowest(signal, changes),), lambda area: area >= _TELLS,
            "lowest area under the ROC curve {:.2f}",
        )
        for words, signal in (
            ("step length", "step length"), ("curvature", "turning angle")
        )
        for what, changes in (("domain shifts", _SHIFTS), ("attacks", _ATTACKS))
    ),
    *(
        statement(
            f"Abstract, {_NAMES[net]}", "07_your_checkpoints",
            "the order of checkpoints can be recovered",
            tuple(
                ("order", net, rule, "tau")
                for rule in ("log-lag seriation", "decreasing distance")
            ),
            lambda better, theirs: better >= _TELLS,
            "rank correlation {:.3f}; {:.3f} by decreasing distance",
        )
        for net in ("A2", "A1")
    ),
)  # fmt: skip

_FIRST, _SECOND = "Version control", "Monitoring"

SECTIONS = (
    Section(_FIRST, "Nets, zoos, pictures", _SET_UP),
    Section(_FIRST, "Table 2, the convolutional zoo", tuple(_table("A2", 2))),
    Section(_FIRST, "Table 3, the fully connected zoo", tuple(_table("A1", 3))),
    Section(_FIRST, "Telling nets and epochs apart", _TOLD_APART),
    Section(_SECOND, "Hypotheses", _MONITORING, claims_of=("05_monitoring",)),
)
