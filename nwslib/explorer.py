"""An interactive figure: points of many nets in a plane, to pan, zoom and pick.

The function here only packs the points. What happens in the browser is written in
``book/_static/explorer.js``, which the book's pages load; it finds the packed
points, draws them on a canvas and makes the controls.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.plots.sampled import named
from nwslib.plots.style import PALETTE

if TYPE_CHECKING:
    from pandas import DataFrame, Series

#: The highest code of each type stands for a missing value.
_MISSING = {"u1": 2**8 - 1, "u2": 2**16 - 1}

#: What a page shows where the script does not run.
_INSTEAD = (
    "The interactive view is part of the book's pages and needs scripts to be "
    "allowed. The figure shows the same points."
)


@dataclass(frozen=True, repr=False)
class Explorer:
    """An interactive figure in a notebook.

    Attributes
    ----------
    html : str
        The packed points, and a sentence that stands where the script does not run.
    summary : str
        What it holds, in a sentence: its text where there is no HTML.
    """

    html: str
    summary: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.summary


def explorer(
    planes: Mapping[str, ArrayLike],
    table: DataFrame,
    *,
    title: str,
    step: str = "epoch",
    colour: str | None = None,
    log: Collection[str] = (),
    paths: bool = True,
) -> Explorer:
    """Pack points for the book's interactive explorer.

    Positions are rounded to 1/65534 of a plane's longer side, other numbers that
    change along a run to 1/65534 of their range, so that 12,500 points take about
    120 kB with one plane and one such column.

    Parameters
    ----------
    planes : mapping of str to array_like, shape [n, 2]
        Positions of the points by the plane's name; the reader chooses a plane.
    table : DataFrame
        A row a point: ``run``, the column named by ``step``, and others of numbers,
        truth values or texts, which the reader sees at a point and may colour by.
        Except in those two columns, values may be missing.
    title : str
        What is shown.
    step : str
        The column that orders a run's points, in whole numbers; the slider's.
    colour : str, optional
        The column that colours the points at first; a colour a net unless given.
    log : collection of str
        Columns of positive numbers whose colours go by their logarithm.
    paths : bool
        Whether lines join each run's points.

    Returns
    -------
    Explorer
        To be shown as a cell's output.

    Raises
    ------
    ValueError
        If there are no points, a plane's shape does not fit the table or has
        positions that are not finite, a column is missing or unusable, or a run has
        two points at one step.
    """
    _check(planes, table, step, {*log, *([] if colour is None else [colour])})
    order = np.lexsort((table[step].to_numpy(), table["run"].to_numpy()))
    table = table.iloc[order]
    runs, starts = np.unique(table["run"].to_numpy(), return_index=True)
    others = [column for column in table if column not in ("run", step)]
    packed = {
        "title": title,
        "palette": PALETTE,
        "paths": paths,
        "runs": [str(run) for run in runs.tolist()],
        "starts": [*starts.tolist(), len(table)],
        "planes": [
            {"name": name, "at": _packed_plane(np.asarray(plane, float)[order])}
            for name, plane in planes.items()
        ],
        "columns": [
            _packed_column(table[c], starts, c in log) for c in (step, *others)
        ],
        "colour": None if colour is None else (step, *others).index(colour),
    }
    # Nothing in a script element is markup if it holds no "<"; JSON has it as \u003c.
    text = json.dumps(packed, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Explorer(
        f'<div class="nws-explorer" role="group" aria-label="{html.escape(title)}">'
        f'<p class="nws-explorer-instead">{html.escape(_INSTEAD)}</p>'
        f'<script type="application/json">{text}</script></div>',
        f"Interactive figure of {len(table):,} points of {len(runs):,} nets: see the "
        "book's pages.",
    )


def _check(
    planes: Mapping[str, ArrayLike], table: DataFrame, step: str, coloured: set[str]
) -> None:
    """ValueError, naming what cannot be shown."""
    if not planes or not len(table):
        raise ValueError("nothing to explore: pass at least one plane and one point.")
    for column in ("run", step, *sorted(coloured)):
        if column not in table:
            raise ValueError(
                f"the table of points has no column '{column}': it has "
                f"{list(table.columns)}."
            )
    if "run" in coloured:
        raise ValueError("a colour a net is what colour=None gives: leave it out.")
    for name, plane in planes.items():
        plane = np.asarray(plane, float)
        if plane.shape != (len(table), 2):
            raise ValueError(
                f"plane '{name}' has shape {list(plane.shape)}: pass [{len(table)}, 2],"
                " a position for each row of the table."
            )
        if not np.isfinite(plane).all():
            raise ValueError(
                f"plane '{name}' has positions that are not finite: leave them out."
            )
    for column in ("run", step):
        if table[column].isna().any():
            raise ValueError(f"some points have no '{column}': leave them out.")
    if table[step].dtype.kind not in "iu":
        raise ValueError(f"'{step}' does not hold whole numbers: number the steps.")
    if table.duplicated(["run", step]).any():
        raise ValueError(f"a run has several points at one '{step}': keep one of each.")


def _packed_plane(plane: NDArray) -> str:
    """Positions [n, 2] as whole numbers 0 .. 65534 of one scale for both axes."""
    plane = plane - plane.min(axis=0)
    codes = np.round(plane * (65534 / (plane.max() or 1)))
    return _base64(codes, "u2")


def _packed_column(column: Series, starts: NDArray, log: bool) -> dict:
    """A column as codes: a value is ``labels[code]`` or ``offset + scale * code``.

    On a log scale the latter is the value's logarithm. One code a run where the
    column does not change along runs, else one a point.
    """
    values = column.reset_index(drop=True)
    run = np.searchsorted(starts, np.arange(len(values)), side="right") - 1
    first = values.iloc[starts].iloc[run].reset_index(drop=True)
    a_run = bool(((values == first) | (values.isna() & first.isna())).all())
    if a_run:
        values = values.iloc[starts]
    name = named(column.name)
    shared = {"name": name, "per run": a_run}
    if _is_text(values):
        return {"kind": "categories", **shared, **_packed_texts(values, name)}
    return {"kind": "numbers", **shared, **_packed_numbers(values, name, log)}


def _is_text(values: Series) -> bool:
    """Whether values are categories: texts, truth values, or of mixed types."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_bool_dtype(values) or not is_numeric_dtype(values)


def _packed_texts(values: Series, name: str) -> dict:
    """Categories: the labels in use, and each value's place among them."""
    given = values.notna().to_numpy()
    if values.dtype.name == "category":  # their own order
        used = values.cat.remove_unused_categories().cat.categories.tolist()
    else:
        used = sorted(set(values[given].tolist()), key=lambda v: (str(type(v)), v))
    if len(used) > _MISSING["u1"]:
        raise ValueError(
            f"column '{name}' has {len(used)} categories: pass at most 255."
        )
    place = {label: code for code, label in enumerate(used)}
    codes = [
        place[v] if ok else _MISSING["u1"] for v, ok in zip(values, given, strict=True)
    ]
    words = {True: "yes", False: "no"} if values.dtype.kind == "b" else {}
    labels = [words.get(label) or named(label) for label in used]
    return {"labels": labels, "type": "u1", "codes": _base64(codes, "u1")}


def _packed_numbers(values: Series, name: str, log: bool) -> dict:
    """Numbers: exact where they are whole and their range allows, else rounded."""
    numbers = values.to_numpy(float, na_value=np.nan)
    if np.isinf(numbers).any():
        raise ValueError(f"column '{name}' has infinite values: leave them out.")
    given = np.isfinite(numbers)
    if log and (numbers[given] <= 0).any():
        raise ValueError(f"column '{name}' is not positive: leave it out of log.")
    whole = bool((numbers[given] == np.round(numbers[given])).all()) and not log
    numbers = np.log(numbers) if log else numbers
    low, high = (numbers[given].min(), numbers[given].max()) if given.any() else (0, 0)
    kind = "u1" if whole and high - low < _MISSING["u1"] else "u2"
    most = _MISSING["u2"] - 1
    scale = 1.0 if whole and high - low <= most else (high - low) / most or 1.0
    codes = np.where(given, np.round((numbers - low) / scale), _MISSING[kind])
    return {
        "offset": float(low), "scale": float(scale), "whole": whole, "log": log,
        "type": kind, "codes": _base64(codes, kind),
    }  # fmt: skip


def _base64(codes: ArrayLike, kind: str) -> str:
    """Whole numbers as little-endian bytes, in base64."""
    return base64.b64encode(np.asarray(codes).astype(f"<{kind}").tobytes()).decode()
