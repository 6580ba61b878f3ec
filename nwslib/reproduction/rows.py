"""A row of the report, and how rows find their numbers: one line for a new row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: What can come of a row. ``shown`` is a figure that the paper prints without numbers
#: and that our chapter draws; ``not recorded`` has no recorded run yet.
VERDICTS = (
    "agrees", "differs", "undecided", "shown", "not recorded", "not reproduced",
)  # fmt: skip

#: The chapters' words for the verdicts of their claims.
_MEANING = {
    "agrees": "agrees", "yes": "agrees", "holds": "agrees",
    "contradicts": "differs", "differs": "differs", "no": "differs",
    "reversed": "differs", "clock": "differs",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a results file says about a row.

    Attributes
    ----------
    text : str
        Our value, or what it says of the paper's statement.
    verdict : str
        One of :data:`.VERDICTS`.
    """

    text: str
    verdict: str


#: Looks a row up in a chapter's numbers; None where they do not have it.
Lookup = Callable[[Mapping[str, Any]], Found | None]


@dataclass(frozen=True)
class Row:
    """A table's cell, a figure or a claim of a paper.

    Attributes
    ----------
    item : str
        Where it stands in the paper.
    paper : str
        What the paper prints or says.
    chapter : str
        The chapter that repeats it, as given to :func:`nwslib.report.write_results`;
        empty for what is not reproduced.
    look_up : callable, optional
        Finds it in the chapter's numbers; None for what is not reproduced.
    reason : str
        Why it is not reproduced.
    """

    item: str
    paper: str
    chapter: str = ""
    look_up: Lookup | None = None
    reason: str = ""


@dataclass(frozen=True)
class Section:
    """Rows that belong together.

    Attributes
    ----------
    source : str
        The paper.
    title : str
    rows : tuple of Row
    claims_of : tuple of str
        Chapters whose claims are added, a row each, as their results have them.
    """

    source: str
    title: str
    rows: tuple[Row, ...] = ()
    claims_of: tuple[str, ...] = ()


def at(numbers: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return what stands at a path of keys; None where it ends before."""
    found: Any = numbers
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def number(
    item: str,
    chapter: str,
    printed: float,
    path: tuple[str, ...],
    within: float = 0.0,
    form: str = ".3f",
    beside: tuple[str, tuple[str, ...]] | None = None,
) -> Row:
    """A printed number; it agrees if ours is as near as ``within``.

    ``form`` formats both; ``beside`` is the name and path of a second number of ours,
    which is shown and not judged.
    """

    def look_up(numbers: Mapping[str, Any]) -> Found | None:
        ours = at(numbers, path)
        if ours is None:
            return None
        text = format(ours, form)
        if beside and (other := at(numbers, beside[1])) is not None:
            text += f" ({beside[0]} {other:{form}})"
        # room for the last digit of a tolerance that floats do not have
        near = abs(ours - printed) <= within + 1e-9 * max(1, abs(printed))
        return Found(text, "agrees" if near else "differs")

    return Row(item, format(printed, form), chapter, look_up)


def statement(
    item: str,
    chapter: str,
    says: str,
    values: tuple[tuple[str, ...] | Callable[[Mapping[str, Any]], Any], ...],
    holds: Callable[..., bool | None],
    text: str,
) -> Row:
    """A statement in words, held against some values.

    A value is what stands at a path, or a function of the numbers. ``holds`` takes the
    values and returns whether they bear the statement out, None if they leave it open;
    ``text`` is formatted with them. A value that is None or NaN is not recorded.
    """

    def look_up(numbers: Mapping[str, Any]) -> Found | None:
        found = [of(numbers) if callable(of) else at(numbers, of) for of in values]
        if any(value is None or _is_nan(value) for value in found):
            return None
        outcome = {True: "agrees", False: "differs", None: "undecided"}
        return Found(text.format(*found), outcome[holds(*found)])

    return Row(item, says, chapter, look_up)


def figure(item: str, chapter: str, shows: str) -> Row:
    """A figure without printed numbers, which a chapter draws."""
    return Row(item, shows, chapter, lambda numbers: Found("drawn", "shown"))


def left_out(item: str, says: str, reason: str) -> Row:
    """What is not reproduced, and why."""
    return Row(item, says, reason=reason)


def claims(numbers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Words and source of each claim that a chapter's numbers hold."""
    for record in _records(numbers):
        yield record["claim"], record["paper"]


def claim(chapter: str, words: str, source: str) -> Row:
    """A claim that the chapter itself judges, by its words."""

    def look_up(numbers: Mapping[str, Any]) -> Found | None:
        for record in _records(numbers):
            if record["claim"] == words:
                verdict = _MEANING.get(record["agrees"], "undecided")
                return Found(record["ours"] or record["agrees"], verdict)
        return None

    return Row(source, words, chapter, look_up)


def _records(numbers: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """A chapter's claims: ``claim``, ``paper``, ``ours``, ``agrees``.

    Chapter 05 keeps estimates by the claim's words instead.
    """
    found = numbers.get("claims", [])
    if not isinstance(found, Mapping):
        return list(found)
    return [
        {
            "claim": words,
            "paper": "Hypothesis",
            "ours": _estimate(*of["ours"]),
            "agrees": of["holds"],
        }
        for words, of in found.items()
    ]


def _estimate(value: float, low: float, high: float) -> str:
    """An estimate and its interval, with proper minus signs."""
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "\N{MINUS SIGN}")


def _is_nan(value: Any) -> bool:
    """Whether a value is the float NaN."""
    return isinstance(value, float) and math.isnan(value)
