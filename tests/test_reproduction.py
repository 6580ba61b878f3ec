"""The reproduction report: every item once, nothing typed in, nothing claimed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nwslib import papers, report, reproduction
from nwslib.reproduction import Row, Section, classifying, rows, version_control

ROOT = Path(__file__).parent.parent
RECORDED = report.all_results(ROOT / "book" / "results")
TABLE = reproduction.judged(reproduction.SECTIONS, RECORDED, {})


def mentioned(sections: tuple[Section, ...], word: str) -> set[int]:
    """Numbers of the figures or tables that rows name."""
    items = [row.item for section in sections for row in section.rows]
    texts = [re.sub(r"\w+\.? 3\.\d", "", item) for item in items if word in item]
    found = [re.match(rf"{word} ([\d, ]+)", text) for text in texts]
    return {int(n) for match in found if match for n in re.findall(r"\d+", match[1])}


def test_every_figure_and_table_has_a_row() -> None:
    assert mentioned(version_control.SECTIONS, "Fig.") == set(range(1, 10))
    assert mentioned(version_control.SECTIONS, "Table") == {1, 2, 3}
    assert mentioned(classifying.SECTIONS, "Fig.") == set(range(1, 22))
    assert mentioned(classifying.SECTIONS, "Table") == {1, 2, 3}


def test_rows_are_told_apart_and_name_chapters() -> None:
    assert not TABLE.duplicated(["source", "item", "paper", "chapter"]).any()
    assert set(TABLE["verdict"]) <= set(reproduction.VERDICTS)
    chapters = TABLE.loc[TABLE["verdict"] != "not reproduced", "chapter"]
    assert chapters.str.fullmatch(r"\d\d_\w+").all()
    assert (TABLE.loc[TABLE["verdict"] == "not reproduced", "recorded"] != "").all()


def test_the_page_shows_every_section() -> None:
    page = (ROOT / "book" / "92_reproduction.py").read_text("utf-8")
    shown = re.findall(r'show\("(.+)"\)', page)
    assert shown == [section.title for section in reproduction.SECTIONS]


def test_recorded_rows_are_found() -> None:
    """A path that a chapter renames would silently be "not recorded"."""
    lacking = TABLE[TABLE["chapter"].isin(RECORDED) & (TABLE["recorded"] == "")]
    assert set(lacking["item"]) <= {"The text"}


def test_tables_2_and_3_are_those_of_the_recorded_run() -> None:
    numbers = RECORDED["04_versioning"]["numbers"]
    cells = TABLE[TABLE["section"].str.match(r"Table \d")].set_index("item")
    assert len(cells) == 2 * 7 * 3
    row = cells.loc["Table 3, SVD 50, ordered epochs"]
    ours = numbers["A1"]["SVD 50"]
    assert row["paper"] == f"{papers.CLUSTER_TABLES['A1'][50].ordered_pairs:.3f}"
    first, fair = ours["ordered_pairs_forward"], ours["ordered_pairs"]
    assert row["recorded"] == f"{first:.3f} (fair ties {fair:.3f})"
    assert row["verdict"] == "differs"
    assert cells.loc["Table 3, full space, ordered epochs", "verdict"] == "agrees"


def judge(*given: Row, recorded=None, build=None, claims_of=()) -> list[tuple]:
    """Recorded text, this build's, verdict of each row."""
    section = Section("A paper", "A section", given, claims_of)
    files = [{"01_a": {"numbers": n}} if n else {} for n in (recorded, build)]
    table = reproduction.judged((section,), *files)
    return list(
        table[["recorded", "this build", "verdict"]].itertuples(index=False, name=None)
    )


def test_a_number_agrees_within_its_tolerance() -> None:
    row = rows.number("Table 1", "01_a", 0.9, ("x", "y"), within=0.05, form=".2f")
    assert judge(row, recorded={"x": {"y": 0.95}}) == [("0.95", "", "agrees")]
    assert judge(row, recorded={"x": {"y": 0.96}}) == [("0.96", "", "differs")]
    exact = rows.number("Table 1", "01_a", 1376, ("n",), form=",d")
    assert judge(exact, recorded={"n": 1376}) == [("1,376", "", "agrees")]
    assert judge(exact, recorded={"n": 1377}) == [("1,377", "", "differs")]


@pytest.mark.parametrize("numbers", [None, {"z": 1}, {"x": {}}, {"x": {"y": None}}])
def test_what_is_missing_is_not_recorded(numbers) -> None:
    row = rows.number("Table 1", "01_a", 0.9, ("x", "y"))
    said = rows.statement("Text", "01_a", "more", (("x", "y"),), bool, "{}")
    build = {"x": {"y": 0.9}}
    assert judge(row, recorded=numbers, build=build) == [("", "0.900", "not recorded")]
    assert judge(said, recorded=numbers) == [("", "", "not recorded")]


def test_a_statement_may_stay_open() -> None:
    row = rows.statement(
        "Text", "01_a", "more", (lambda numbers: numbers["x"],),
        lambda x: True if x > 1 else False if x < 0 else None, "{:.1f}",
    )  # fmt: skip
    outcomes = [judge(row, recorded={"x": x})[0][2] for x in (2, 0.5, -1)]
    assert outcomes == ["agrees", "undecided", "differs"]
    assert judge(row, recorded={"x": float("nan")})[0][2] == "not recorded"


def test_figures_are_shown_and_left_out_ones_say_why() -> None:
    drawn, not_drawn = rows.figure("Fig. 1", "01_a", ""), rows.left_out("", "", "why")
    assert judge(drawn, not_drawn, recorded={"x": 1}) == [
        ("drawn", "", "shown"),
        ("why", "", "not reproduced"),
    ]
    assert judge(drawn)[0][2] == "not recorded"


@pytest.mark.parametrize(
    ("word", "verdict"),
    [("agrees", "agrees"), ("contradicts", "differs"), ("too few runs", "undecided")],
)
def test_claims_are_added_as_chapters_judge_them(word: str, verdict: str) -> None:
    claim = {"claim": "up", "paper": "4.2", "ours": "+1", "agrees": word}
    other = claim | {"claim": "down", "ours": ""}
    assert judge(
        recorded={"claims": [claim]}, build={"claims": [claim, other]},
        claims_of=("01_a",),
    ) == [("+1", "+1", verdict), ("", word, "not recorded")]  # fmt: skip
    assert judge(claims_of=("01_a",)) == [("", "", "not recorded")]


def test_estimates_of_chapter_05_are_claims_too() -> None:
    numbers = {"claims": {"smooth": {"ours": [0.5, 0.4, 0.6], "holds": "reversed"}}}
    found = judge(recorded=numbers, claims_of=("01_a",))
    assert found == [("+0.50 [+0.40, +0.60]", "", "differs")]


def test_counts_and_sentence_say_the_same() -> None:
    counts = reproduction.counts(TABLE)
    assert list(counts.index) == [
        "Version control", "Monitoring", "Classifying the classifier", "all",
    ]  # fmt: skip
    assert counts.loc["all", "all"] == len(TABLE)
    assert (counts.iloc[:-1].sum() == counts.loc["all"]).all()
    told = [int(n) for n in re.findall(r"\d+", reproduction.sentence(TABLE))]
    of_all = counts.loc["all", list(reproduction.VERDICTS)].tolist()
    assert told == [len(TABLE), sum(of_all[:3]), *of_all]
