"""What the explorer packs is what its script will find, whatever labels say."""

import base64
import html
import json
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwslib.explorer import explorer
from nwslib.plots.style import PALETTE


class Page(HTMLParser):
    """Elements of a page, the text of its script, and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.script, self.seen = [], "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.script += data
        else:
            self.seen += data


def packed(made):
    """What the script finds."""
    return json.loads(Page(made._repr_html_()).script)


def codes(text, kind):
    return np.frombuffer(base64.b64decode(text), f"<{kind}").astype(int)


def values(column, starts):
    """A column as the script reads it, a value a point."""
    found = codes(column["codes"], column["type"])
    missing = {"u1": 255, "u2": 65535}[column["type"]]
    if column["kind"] == "categories":
        read = [None if c == missing else column["labels"][c] for c in found]
        read = np.array(read, dtype=object)
    else:
        read = column["offset"] + column["scale"] * found
        read = np.where(
            found == missing, np.nan, np.exp(read) if column["log"] else read
        )
    return np.repeat(read, np.diff(starts)) if column["per run"] else read


def table_of(runs=3, steps=4, **columns):
    table = pd.DataFrame(
        {
            "run": np.repeat(np.arange(runs), steps),
            "epoch": np.tile(np.arange(1, steps + 1), runs),
        }
    )
    return table.assign(**columns)


def plane_of(table, seed=0):
    return np.random.default_rng(seed).normal(size=(len(table), 2)) * [5, 2]


# --- round trip ------------------------------------------------------------


def test_points_come_back_in_order_of_run_and_step():
    table = table_of(7, 5)
    planes = {"one": plane_of(table), "two": plane_of(table, 1)}
    mixed = np.random.default_rng(2).permutation(len(table))
    found = packed(
        explorer(
            {name: plane[mixed] for name, plane in planes.items()},
            table.iloc[mixed],
            title="A zoo",
        )
    )
    assert found["runs"] == [str(run) for run in range(7)]
    assert found["starts"] == list(range(0, 36, 5))
    assert [plane["name"] for plane in found["planes"]] == ["one", "two"]
    for plane, given_plane in zip(found["planes"], planes.values(), strict=True):
        at = codes(plane["at"], "u2").reshape(-1, 2)
        side = np.ptp(given_plane, axis=0).max()
        expected = (given_plane - given_plane.min(axis=0)) / side
        assert np.abs(at / 65534 - expected).max() <= 0.5 / 65534 + 1e-12
        assert at.max() == 65534
    (step,) = found["columns"]
    assert values(step, found["starts"]).tolist() == table["epoch"].tolist()
    assert found["palette"] == list(PALETTE)
    assert (found["title"], found["colour"], found["paths"]) == ("A zoo", None, True)


def test_columns_come_back():
    rng = np.random.default_rng(0)
    table = table_of(
        60, 5,
        accuracy=np.where(rng.random(300) < 0.1, np.nan, rng.random(300)),
        weights=rng.integers(0, 40_000, 300),
        length=10.0 ** rng.uniform(-4, 1, 300),
        dataset=np.repeat(rng.choice(["mnist", "cifar10"], 60), 5),
        augmentation=np.repeat(rng.random(60) < 0.5, 5),
        order=pd.Categorical(["high", "low", None] * 100, ["low", "middle", "high"]),
    )  # fmt: skip
    plane = {"plane": plane_of(table)}
    found = packed(explorer(plane, table, title="", colour="dataset", log=["length"]))
    columns = {column["name"]: column for column in found["columns"]}
    assert list(columns) == [
        *("epoch", "accuracy", "weights", "length"),
        *("data set", "augmentation", "order"),
    ]
    read = {name: values(column, found["starts"]) for name, column in columns.items()}
    accuracy, length = table["accuracy"].to_numpy(), table["length"].to_numpy()
    np.testing.assert_allclose(read["accuracy"], accuracy, atol=1e-5)
    np.testing.assert_allclose(read["length"], length, rtol=1e-3)
    assert columns["length"]["log"] and not columns["accuracy"]["log"]
    assert read["weights"].tolist() == table["weights"].tolist()
    names = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
    assert read["data set"].tolist() == table["dataset"].map(names).tolist()
    assert set(read["augmentation"][table["augmentation"]]) == {"yes"}
    assert columns["order"]["labels"] == ["low", "high"]
    assert read["order"].tolist() == ["high", "low", None] * 100
    per_run = [name for name, column in columns.items() if column["per run"]]
    assert per_run == ["data set", "augmentation"]
    assert found["columns"][found["colour"]]["name"] == "data set"


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-1000, 1000).map(float)),
        min_size=1,
        max_size=30,
    )
)
def test_numbers_come_back_within_a_step(numbers):
    table = table_of(1, len(numbers), number=pd.Series(numbers, dtype=float))
    found = packed(explorer({"plane": plane_of(table)}, table, title=""))
    number = found["columns"][1]
    read = values(number, found["starts"])
    expected = table["number"].to_numpy()
    finite = expected[~np.isnan(expected)]
    span = np.ptp(finite) if len(finite) else 0
    np.testing.assert_allclose(read, expected, atol=span / 65534, rtol=1e-12)


def test_one_point_and_one_place():
    table = table_of(1, 1)
    found = packed(explorer({"plane": [[3.0, 4.0]]}, table, title=""))
    assert codes(found["planes"][0]["at"], "u2").tolist() == [0, 0]
    assert found["starts"] == [0, 1]


def test_equal_calls_give_equal_bytes():
    table = table_of(accuracy=0.5)
    first, second = (
        explorer({"plane": plane_of(table)}, table, title="A") for _ in range(2)
    )
    assert first == second


def test_its_text_is_a_sentence():
    table = table_of()
    made = explorer({"plane": plane_of(table)}, table, title="A")
    assert repr(made) == (
        "Interactive figure of 12 points of 3 nets: see the book's pages."
    )


# --- size ------------------------------------------------------------------


@pytest.mark.parametrize(("runs", "steps", "most"), [(250, 50, 250), (1000, 20, 420)])
def test_a_page_carries_a_whole_zoo(runs, steps, most):
    rng = np.random.default_rng(0)
    n = runs * steps
    drawn = {
        name: np.repeat(rng.choice(list("abcdef"), runs), steps)
        for name in ("dataset", "optimizer", "activation", "init", "failed")
    }
    lr = np.repeat(rng.random(runs), steps)
    table = table_of(runs, steps, accuracy=rng.random(n), lr=lr, **drawn)
    planes = {"one": plane_of(table), "two": plane_of(table, 1)}
    made = explorer(planes, table, title="").html.encode()
    assert len(made) < most * 1000
    assert len(zlib.compress(made, 9)) < 0.75 * most * 1000


# --- hostile labels --------------------------------------------------------

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]><img src=x onerror=alert(1)>",
    "\"'><b>&amp;",
    "\u2028\u2029\x00",
]


@pytest.mark.parametrize("label", HOSTILE)
def test_labels_are_text(label):
    table = table_of(1, 2)
    table["run"] = label
    table[label] = [label, label + "2"]
    page = explorer({label: plane_of(table)}, table, title=label, colour=label).html
    read = Page(page)
    assert [tag for tag, _ in read.elements] == ["div", "p", "script"]
    assert page.count("<script") == page.count("</script") == 1
    assert "<!--" not in page
    found = json.loads(read.script)
    assert found["runs"] == [label] and found["title"] == label
    assert found["planes"][0]["name"] == found["columns"][1]["name"] == label
    assert found["columns"][1]["labels"] == [label, label + "2"]
    if "\x00" not in label:
        assert read.elements[0][1]["aria-label"] == label
    assert html.unescape(read.seen).startswith("The interactive view is part of")


# --- errors ----------------------------------------------------------------


def bad(**changes):
    table = table_of(accuracy=0.5)
    given_table = changes.pop("table", lambda t: t)(table)
    planes = changes.pop("planes", {"plane": plane_of(table)})
    return explorer(planes, given_table, title="", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planes": {}}, "nothing to explore: pass at least one plane and one point."),
        ({"table": lambda t: t[:0]}, "nothing to explore"),
        ({"table": lambda t: t.drop(columns="run")}, "points has no column 'run': it"),
        ({"step": "snapshot"}, "the table of points has no column 'snapshot'"),
        ({"colour": "lr"}, "the table of points has no column 'lr'"),
        ({"colour": "run"}, "a colour a net is what colour=None gives"),
        ({"planes": {"p": np.zeros((12, 3))}}, r"plane 'p' has shape \[12, 3\]: pass"),
        ({"planes": {"p": np.full((12, 2), np.nan)}}, "'p' has positions that are not"),
        ({"table": lambda t: t.assign(run=None)}, "some points have no 'run': leave"),
        ({"step": "accuracy"}, "'accuracy' does not hold whole numbers: number the"),
        ({"table": lambda t: t.assign(epoch=1)}, "several points at one 'epoch': keep"),
        ({"log": ["lr"]}, "the table of points has no column 'lr'"),
        (
            {"log": ["epoch"], "table": lambda t: t.assign(epoch=t["epoch"] - 1)},
            "is not p",
        ),
        ({"table": lambda t: t.assign(lr=np.inf)}, "column 'learning rate' has infin"),
    ],
)
def test_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        bad(**changes)


def test_too_many_categories():
    table = table_of(256, 1)
    table["name"] = [f"name {k}" for k in range(256)]
    with pytest.raises(ValueError, match="column 'name' has 256 categories: pass at m"):
        explorer({"plane": plane_of(table)}, table, title="")
    explorer({"plane": plane_of(table[:255])}, table[:255], title="")
