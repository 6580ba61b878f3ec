"""All rows looked up: paper, recorded run, this build, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nwslib.reproduction.rows import VERDICTS, Found, Row, Section, claim, claims

if TYPE_CHECKING:
    from pandas import DataFrame

Results = Mapping[str, Mapping[str, Any]]


def judged(
    sections: tuple[Section, ...], recorded: Results, build: Results
) -> DataFrame:
    """Look every row up in the recorded run and in this build.

    Parameters
    ----------
    sections : tuple of Section
    recorded, build : mapping of str to mapping
        Contents of results files by chapter, see
        :func:`nwslib.report.all_results`. Files that are missing, or do not have a
        row, are no error.

    Returns
    -------
    DataFrame
        A row each: ``source``, ``section``, ``item``, ``paper``, ``recorded``,
        ``this build``, ``verdict``, ``chapter``. The verdict is on the recorded run,
        which is the larger one.
    """
    import pandas as pd

    table = []
    for section in sections:
        for row in (*section.rows, *_claims_of(section, recorded, build)):
            before, now = _look_up(row, recorded), _look_up(row, build)
            if row.look_up is None:
                told, verdict = row.reason, "not reproduced"
            elif before is None:
                told, verdict = "", "not recorded"
            else:
                told, verdict = before.text, before.verdict
            table.append(
                {
                    "source": section.source,
                    "section": section.title,
                    "item": row.item,
                    "paper": row.paper,
                    "recorded": told,
                    "this build": now.text if now else "",
                    "verdict": verdict,
                    "chapter": row.chapter,
                }
            )
    return pd.DataFrame(table)


def counts(table: DataFrame) -> DataFrame:
    """How many rows of each paper (rows) came out how (columns), with their sums."""
    import pandas as pd

    found = pd.crosstab(table["source"], table["verdict"])
    found = found.reindex(table["source"].unique()).reindex(columns=VERDICTS)
    found = found.fillna(0).astype(int)
    found.loc["all"] = found.sum()
    found["all"] = found.sum(axis=1)
    return found.rename_axis(index=None, columns=None)


def sentence(table: DataFrame) -> str:
    """The sums in words."""
    n = table["verdict"].value_counts().reindex(VERDICTS, fill_value=0)
    judged = n["agrees"] + n["differs"] + n["undecided"]
    return (
        f"Of {len(table)} tables' cells, figures and claims, {judged} can be judged on "
        f"a recorded run: {n['agrees']} agree with the paper, {n['differs']} differ, "
        f"{n['undecided']} are undecided. {n['shown']} figures are drawn that print "
        f"nothing to compare, {n['not recorded']} rows are not recorded and "
        f"{n['not reproduced']} not reproduced."
    )


def _claims_of(section: Section, recorded: Results, build: Results) -> list[Row]:
    """Rows for the claims of a section's chapters, in the order of their results."""
    rows = []
    for chapter in section.claims_of:
        known: dict[str, str] = {}
        for results in (recorded, build):
            known = dict(claims(results.get(chapter, {}).get("numbers", {}))) | known
        rows += [claim(chapter, words, source) for words, source in known.items()]
        if not known:
            rows.append(Row("The text", "its claims, one by one", chapter, _nothing))
    return rows


def _nothing(numbers: Mapping[str, Any]) -> None:
    """The lookup of what no file has."""


def _look_up(row: Row, results: Results) -> Found | None:
    """What results say about a row."""
    if row.look_up is None or row.chapter not in results:
        return None
    return row.look_up(results[row.chapter]["numbers"])
