"""The released NWS layout: files written by hand are read, what is written is read."""

from __future__ import annotations

import csv
import os
import struct
import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nwslib.foreign import UnreadableRun, convert, open_nws, write_nws
from nwslib.nws import stopping
from nwslib.nws.architecture import GRID, Architecture, Net
from nwslib.zoo import Zoo, ZooWriter

#: The smallest net of the family, and numbers of its weights counted by hand:
#: W, b and 4 of batch norm a unit, but for the output layer without batch norm.
SMALL = Architecture(3, 3, 3, 16, 64)
N_CONV = (3 * 4 * 9 + 5 * 4) + (4 * 8 * 9 + 5 * 8) + (8 * 16 * 9 + 5 * 16)
N_FC = (256 * 64 + 5 * 64) + (64 * 32 + 5 * 32) + (32 * 20 + 20)
SNAPSHOTS = 3


@dataclass
class Written:
    """A run written by hand, in the released layout."""

    path: str = "trained/0001"
    row: dict = field(default_factory=dict)
    vectors: list = None  # [snapshots][weights]
    errors: list = None  # rows of 5
    stat: tuple = None

    def __post_init__(self):
        self.row = {
            "path": self.path, "dataset": "svhn", "lrate": 0.0012345678901234567,
            "batch_size": 64, "batch_norm": True, "augmentation": False,
            "optimizer": 1, "activation": 3, "initialization": 2, "filter_size": 3,
            "depth_conv": 3, "depth_fc": 2, "width_conv": 4, "width_fc": 64,
            "weightn_conv": N_CONV, "weightn_fc": N_FC,
        } | self.row  # fmt: skip
        if self.vectors is None:
            rng = np.random.default_rng(len(self.path))
            self.vectors = rng.normal(size=(SNAPSHOTS, N_CONV + N_FC)).astype("f4")
        if self.errors is None:  # step, train, valid, test, smoothed
            self.errors = [
                (7 * e, 90 - e, 88 - 2 * e, 89.5 - e, 88 - e) for e in range(5)
            ]
        if self.stat is None:
            self.stat = (len(self.errors), 7 * len(self.errors) - 7, 4.01, 12.5)

    def to(self, folder: Path) -> dict:
        run = folder / self.path
        (run / "weights").mkdir(parents=True)
        for k, vector in enumerate(self.vectors, start=1):
            file = run / "weights" / f"{k:03d}.bin"
            file.write_bytes(struct.pack(f"<{len(vector)}d", *vector))
        flat = [value for row in self.errors for value in row]
        (run / "error.bin").write_bytes(struct.pack(f"<{len(flat)}d", *flat))
        (run / "stat.bin").write_bytes(struct.pack(f"<{len(self.stat)}d", *self.stat))
        return self.row


def released(folder: Path, *runs: Written, name: str = "nws.csv") -> Path:
    folder.mkdir(exist_ok=True)
    rows = [run.to(folder) for run in runs or (Written(),)]
    return table(folder, rows, name)


def table(folder: Path, rows: list[dict], name: str = "nws.csv") -> Path:
    with open(folder / name, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def only_reason(folder: Path) -> str:
    """Why the only run is refused."""
    with pytest.raises(ValueError) as caught:
        open_nws(folder, SNAPSHOTS)
    start, _, reason = str(caught.value).partition("': ")
    assert start.startswith(f"none of the 1 runs in {folder} can be read; the first, '")
    assert reason.endswith(".") and reason.isprintable()
    return reason


# ---------------------------------------------------------------- reading


def test_the_counts_above_are_the_architectures():
    assert (SMALL.n_conv_weights, SMALL.n_weights) == (N_CONV, N_CONV + N_FC)
    assert SMALL.n_weights == 21_260  # the least of the grid


def test_a_run_is_told_in_our_words(tmp_path):
    run = Written()
    foreign = open_nws(released(tmp_path, run), SNAPSHOTS)
    assert foreign.rejected == () and foreign.kind == "nws"
    assert foreign.layouts == {SMALL.name: SMALL.layout}
    row = foreign.runs.iloc[0].to_dict()
    assert row.pop("seed") is None and foreign.runs["seed"].dtype == "Int64"
    losses = [row.pop(f"{split}_loss") for split in ("train", "valid", "test")]
    assert np.isnan(losses).all()
    assert row == {
        "run": 0, "table": "nws", "path": "trained/0001", "layout": SMALL.name,
        "dataset": "svhn", "lr": 0.0012345678901234567, "batch_size": 64,
        "augmentation": False, "optimizer": "rmsprop", "activation": "tanh",
        "init": "glorot_uniform", "filter_size": 3, "conv_layers": 3, "fc_layers": 3,
        "conv_width": 16, "fc_width": 64, "batch_norm": True,
        "n_weights": 21_260, "n_conv_weights": N_CONV, "epochs": 4, "steps": 28,
        "stopped": "limit", "seconds": 12.5, "kept_epochs": "0 2 4",
        "train_accuracy": 1 - 0.86, "valid_accuracy": 1 - 0.80,
        "test_accuracy": 1 - 0.855,
    }  # fmt: skip
    weights = foreign.weights(0)
    assert weights.dtype == np.float64 and weights.shape == (SNAPSHOTS, 21_260)
    assert (weights == run.vectors).all()
    assert (foreign.weights(0, last=1) == run.vectors[-1:]).all()


def test_the_history_has_a_row_an_epoch_and_split(tmp_path):
    history = open_nws(released(tmp_path), SNAPSHOTS).history(0)
    assert list(history) == ["run", "epoch", "split", "accuracy", "loss"]
    assert history["loss"].isna().all() and len(history) == 15
    at = history.set_index(["epoch", "split"])["accuracy"]
    for epoch in range(5):
        assert at[epoch, "train"] == pytest.approx(0.10 + 0.01 * epoch, abs=1e-12)
        assert at[epoch, "valid"] == pytest.approx(0.12 + 0.02 * epoch, abs=1e-12)
        assert at[epoch, "test"] == pytest.approx(0.105 + 0.01 * epoch, abs=1e-12)


def test_early_stopping_is_told_from_validation_accuracies(tmp_path):
    valid = [50] * 16 + [51, 52, 53, 54, 55]  # five decreases of accuracy, 20 epochs
    errors = [(e, 50, v, 50, 50) for e, v in enumerate(valid)]
    foreign = open_nws(released(tmp_path, Written(errors=errors)), SNAPSHOTS)
    assert foreign.runs["stopped"].tolist() == ["overfits"]


@pytest.mark.parametrize("column", ["optimizer", "activation", "initialization"])
def test_codes(tmp_path, column):
    words = {
        "optimizer": ["adam", "rmsprop", "momentum"],
        "activation": ["relu", "elu", "sigmoid", "tanh"],
        "initialization": ["constant", "normal", "glorot_uniform", "glorot_normal"],
    }[column]
    runs = [Written(path=f"{k}", row={column: k}) for k in range(len(words))]
    found = open_nws(released(tmp_path, *runs), SNAPSHOTS).runs
    assert found["init" if column == "initialization" else column].tolist() == words


@pytest.mark.parametrize("width_conv", [4, 16])
@pytest.mark.parametrize("depth_fc", [2, 3])
def test_the_counts_decide_how_widths_and_depths_are_counted(
    tmp_path, width_conv, depth_fc
):
    row = {"width_conv": width_conv, "depth_fc": depth_fc}
    foreign = open_nws(released(tmp_path, Written(row=row)), SNAPSHOTS)
    assert foreign.runs["layout"].tolist() == [SMALL.name]


def test_no_two_readings_of_a_row_have_the_same_counts():
    seen = {}  # what a table's row tells -> architecture
    for one in GRID:
        counts = one.n_conv_weights, one.n_weights
        for depth in (one.fc_layers, one.fc_layers - 1):
            for width in (one.conv_width, one.conv_width // 4):
                key = (
                    one.filter_size, one.conv_layers, depth, width, one.fc_width,
                    counts,
                )  # fmt: skip
                assert seen.setdefault(key, one) == one


def test_columns_are_taken_by_name_and_flags_as_numbers_too(tmp_path):
    row = Written().to(tmp_path) | {"batch_norm": 1, "augmentation": 0}
    table(tmp_path, [dict(reversed(row.items())) | {"notes": "a, b"}])
    found = open_nws(tmp_path, SNAPSHOTS).runs.iloc[0]
    assert (found["dataset"], found["batch_norm"]) == ("svhn", True)
    assert not found["augmentation"]


def test_several_tables_are_one_zoo_and_one_of_them_can_be_chosen(tmp_path):
    released(tmp_path, Written(path="a"), name="nws_train.csv")
    released(tmp_path, Written(path="b"), name="nws_test.csv")
    both = open_nws(tmp_path, SNAPSHOTS)
    assert both.runs["table"].tolist() == ["nws_test", "nws_train"]
    assert both.names == ("b", "a")
    one = open_nws(tmp_path / "nws_train.csv", SNAPSHOTS)
    assert one.names == ("a",) and one.folder == tmp_path


def test_a_released_vector_is_the_same_function_in_our_net(tmp_path):
    """Written variable by variable as TensorFlow had it, run as TensorFlow ran it."""
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 3, 4), (3, 3, 4, 8), (3, 3, 8, 16), (256, 64), (64, 32), (32, 20)]
    variables, vector = [], []
    for shape in shapes:
        kernel = rng.normal(size=shape) * 0.2
        layer = [kernel, rng.normal(size=shape[-1])]
        if shape[-1] != 20:
            beta, gamma, mean = rng.normal(size=(3, shape[-1]))
            layer += [beta, gamma, mean, rng.uniform(0.5, 2, shape[-1])]
        variables.append(layer)
        for out in range(shape[-1]):
            if len(shape) == 4:
                for into in range(shape[2]):
                    vector += list(kernel[:, :, into, out].reshape(-1))
            else:
                vector += list(kernel[:, out])
        for one in layer[1:]:
            vector += list(one)

    x = rng.uniform(size=(2, 32, 32, 3))  # batch, height, width, channel
    wanted = torch.from_numpy(x)
    for k, layer in enumerate(variables):
        kernel, bias, *norm = map(torch.from_numpy, layer)

        def normalised(x, norm=norm):
            beta, gamma, mean, var = norm
            return (x - mean) / (var + 1e-5).sqrt() * gamma + beta

        if k < 3:
            wanted = F.conv2d(
                wanted.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=1
            ).permute(0, 2, 3, 1)
            wanted = normalised(wanted + bias).tanh()
            wanted = wanted.unfold(1, 2, 2).unfold(2, 2, 2).amax((-1, -2))  # pool
        else:
            wanted = wanted.reshape(2, -1) @ kernel + bias
            if norm:
                wanted = normalised(wanted.tanh())

    run = Written(vectors=[vector] * SNAPSHOTS)
    foreign = open_nws(released(tmp_path, run), SNAPSHOTS)
    layout = foreign.layouts[foreign.runs["layout"][0]]
    net = layout.load(torch.from_numpy(foreign.weights(0)[0]), Net(SMALL, "tanh"))
    got = net.eval()(torch.from_numpy(x).float().permute(0, 3, 1, 2))
    torch.testing.assert_close(got.double(), wanted, rtol=1e-3, atol=1e-3)


def test_opening_reads_no_weights_and_a_run_only_its_own(tmp_path):
    runs = [Written(path=str(k), vectors=np.ones((20, N_CONV + N_FC)))
            for k in range(4)]  # fmt: skip
    errors = [(e, 50, 50, 50, 50) for e in range(25)]
    for run in runs:
        run.errors, run.stat = errors, (25, 24, 24, 1)
    released(tmp_path, *runs)
    one = 20 * (N_CONV + N_FC) * 8  # bytes
    open_nws(tmp_path)  # whatever is imported and cached by the first
    tracemalloc.start()
    foreign = open_nws(tmp_path)
    opening = tracemalloc.get_traced_memory()[1]
    assert foreign.weights(3).nbytes == one
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert opening < one / 4
    assert reading < 1.3 * one


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"path": "../elsewhere"}, "'../elsewhere' leads out of the folder: give a "
         "path relative to it, without '..'."),
        ({"path": "/etc"}, "'/etc' leads out of the folder: give a path relative to "
         "it, without '..'."),
        ({"path": ""}, "its row has no path: correct the table."),
        ({"path": "missing"}, "'missing' is not there, or is a link to nothing: copy "
         "it again."),
        ({"path": "nws.csv"}, "'nws.csv' is no folder: put the folder there."),
        ({"lrate": "nan"}, "its lrate is 'nan', no finite number: correct the table."),
        ({"lrate": "fast"}, "its lrate is 'fast', no finite number: correct the "
         "table."),
        ({"lrate": -1}, "lr is -1.0 and batch_size 64: give a positive rate and at "
         "least 2 images, for batch norm needs them."),
        ({"batch_size": 6.5}, "its batch_size is '6.5', no usable whole number: "
         "correct the table."),
        ({"batch_size": "1e300"}, "its batch_size is '1e300', no usable whole number: "
         "correct the table."),
        ({"batch_norm": "maybe"}, "its batch_norm is 'maybe', not True, False, 1 or "
         "0: correct the table."),
        ({"optimizer": 3}, "its optimizer is 3, not a code from 0 to 2: correct the "
         "table."),
        ({"weightn_fc": N_FC + 1}, f"its weightn_conv and weightn_fc are {N_CONV} and "
         f"{N_FC + 1}, but its widths and depths give {N_CONV} and {N_FC}: correct "
         "the table."),
        ({"filter_size": 4}, f"its weightn_conv and weightn_fc are {N_CONV} and "
         f"{N_FC}, but its widths and depths give no net of the family: correct the "
         "table."),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong(tmp_path, row, sentence):
    written = Written()
    written.to(tmp_path)
    table(tmp_path, [written.row | row])
    assert only_reason(tmp_path) == sentence


def test_readings_that_do_not_fit_are_all_named(tmp_path):
    written = Written(row={"depth_fc": 3, "weightn_fc": 7})
    reason = only_reason(released(tmp_path, written))
    deeper = Architecture(3, 3, 4, 16, 64)
    assert f"{N_CONV} and {deeper.n_weights - N_CONV} or {N_CONV} and {N_FC}" in reason


@pytest.mark.parametrize(
    ("file", "size", "sentence"),
    [
        ("weights/002.bin", 21_260 * 8 - 8, "weights/002.bin holds 170072 bytes, not "
         "the 170080 of 21260 weights: copy it again."),
        ("weights/001.bin", 13, "weights/001.bin holds 13 bytes, not the 170080 of "
         "21260 weights: copy it again."),
        ("error.bin", 41, "error.bin holds 41 bytes, no whole rows of 5 float64: copy "
         "it again."),
        ("error.bin", 0, "error.bin holds 0 bytes, no whole rows of 5 float64: copy "
         "it again."),
        ("error.bin", 80, "stat.bin tells of 5 epochs and error.bin has 2 rows: copy "
         "both again."),
        ("stat.bin", 24, "stat.bin holds 24 bytes, not 4 float64: copy it again."),
    ],
)  # fmt: skip
def test_a_truncated_file(tmp_path, file, size, sentence):
    released(tmp_path)
    os.truncate(tmp_path / "trained/0001" / file, size)
    assert only_reason(tmp_path) == sentence


def test_a_file_too_large_to_be_meant(tmp_path):
    released(tmp_path)
    with open(tmp_path / "trained/0001/error.bin", "r+b") as file:
        file.truncate(2**40)  # sparse: takes no room
    assert only_reason(tmp_path) == (
        "'error.bin' holds over 4,000,000 bytes, more than such a file needs: copy it "
        "again."
    )


@pytest.mark.parametrize("file", ["weights/002.bin", "error.bin", "stat.bin"])
def test_a_missing_file(tmp_path, file):
    released(tmp_path)
    (tmp_path / "trained/0001" / file).unlink()
    assert only_reason(tmp_path) == (
        f"'{file}' is not there, or is a link to nothing: copy it again."
    )


@pytest.mark.parametrize("value", [float("nan"), -1.0, 101.0])
def test_errors_that_are_no_percentages(tmp_path, value):
    errors = [(0, 50, 50, 50, 50), (1, 50, value, 50, 50), (2, 50, 50, 50, 50)]
    assert only_reason(released(tmp_path, Written(errors=errors))) == (
        "error.bin holds values that are not between 0 and 100: copy it again."
    )


def test_statistics_that_are_no_numbers(tmp_path):
    stat = (5, 28, 4, float("nan"))
    assert only_reason(released(tmp_path, Written(stat=stat))) == (
        "stat.bin holds values that are not between 0 and 9.0072e+15: copy it again."
    )


def test_fewer_epochs_than_snapshots(tmp_path):
    errors = [(0, 50, 50, 50, 50), (1, 50, 50, 50, 50)]
    assert only_reason(released(tmp_path, Written(errors=errors))) == (
        "error.bin has 2 rows for 3 snapshots: copy it again."
    )


def test_more_weights_than_were_said(tmp_path):
    run = Written(vectors=np.ones((4, N_CONV + N_FC)))
    assert only_reason(released(tmp_path, run)) == (
        "it has more than 3 files of weights: open it with the number that it has "
        "(snapshots=)."
    )
    assert len(open_nws(tmp_path, 4).weights(0)) == 4


def test_links_that_lead_out_of_a_run(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(21_260 * 8))
    folder = released(tmp_path / "zoo")
    for path in ("weights/003.bin", "weights"):
        target = folder / "trained/0001" / path
        target.rename(tmp_path / path.replace("/", "_"))
        target.symlink_to(secret if path.endswith("bin") else tmp_path / "weights")
        first = "weights/003.bin" if path.endswith("bin") else "weights/001.bin"
        assert only_reason(folder) == (
            f"'{first}' is a link that leads out of the folder: copy the file itself "
            "into it."
        )


def test_a_run_folder_that_is_a_link_out(tmp_path):
    released(tmp_path / "zoo")
    (tmp_path / "zoo/trained").rename(tmp_path / "elsewhere")
    (tmp_path / "zoo/trained").symlink_to(tmp_path / "elsewhere")
    assert only_reason(tmp_path / "zoo") == (
        "'trained/0001' is a link that leads out of the folder: copy the file itself "
        "into it."
    )


def test_a_pipe_is_not_opened(tmp_path):
    released(tmp_path)
    file = tmp_path / "trained/0001/error.bin"
    file.unlink()
    os.mkfifo(file)
    assert only_reason(tmp_path) == "'error.bin' is no file: put the file there."


def test_a_bad_run_does_not_stop_the_others(tmp_path):
    rows = [Written(path=name).to(tmp_path) for name in ("a", "b", "c")]
    (tmp_path / "b/stat.bin").unlink()
    table(tmp_path, [*rows, rows[2]])
    foreign = open_nws(tmp_path, SNAPSHOTS)
    assert foreign.runs["run"].tolist() == [0, 2]  # counted as in the table
    assert [(each.path, each.reason) for each in foreign.rejected] == [
        ("b", "'stat.bin' is not there, or is a link to nothing: copy it again."),
        ("c", "it is listed twice: delete one of the rows."),
    ]
    with pytest.raises(ValueError, match=r"no run 1 to read in .*: choose one of"):
        foreign.weights(1)


def test_a_file_that_changes_after_opening(tmp_path):
    foreign = open_nws(released(tmp_path), SNAPSHOTS)
    os.truncate(tmp_path / "trained/0001/weights/003.bin", 80)
    assert len(foreign.history(0)) == 15
    with pytest.raises(UnreadableRun) as caught:
        foreign.weights(0)
    assert caught.value.path == "trained/0001"
    assert str(caught.value) == (
        "cannot read run 'trained/0001': weights/003.bin holds 80 bytes, not the "
        "170080 of 21260 weights: copy it again."
    )


def test_weights_that_are_not_finite_are_kept(tmp_path):
    run = Written()
    run.vectors[1, 5] = float("nan")
    foreign = open_nws(released(tmp_path, run), SNAPSHOTS)
    assert np.isnan(foreign.weights(0)[1, 5])
    convert(foreign, tmp_path / "zoo")
    assert Zoo.open(tmp_path / "zoo").runs["diverged"].tolist() == [True]


@pytest.mark.parametrize("last", [0, 4])
def test_snapshots_that_a_run_does_not_have(tmp_path, last):
    foreign = open_nws(released(tmp_path), SNAPSHOTS)
    with pytest.raises(ValueError, match=f"3 snapshots, not {last}: ask for 1 to 3"):
        foreign.weights(0, last)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"path,dataset\na,b\n", "has no column 'lrate': add it"),
        (b"", "No columns to parse from file"),
        (b"\xff\xfe\x00", "must be a CSV table in UTF-8"),
        (b'path,dataset\n"a,b\n', "must be a CSV table in UTF-8"),
        (b"path,dataset\na,b,c\n", "must be a CSV table in UTF-8"),
    ],
)
def test_a_table_that_is_wrong(tmp_path, content, sentence):
    (tmp_path / "nws.csv").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        open_nws(tmp_path)
    assert str(tmp_path / "nws.csv") in str(caught.value)
    assert sentence in str(caught.value)


def test_a_table_that_is_a_link_out(tmp_path):
    released(tmp_path / "zoo")
    (tmp_path / "zoo/nws.csv").rename(tmp_path / "nws.csv")
    (tmp_path / "zoo/nws.csv").symlink_to(tmp_path / "nws.csv")
    with pytest.raises(ValueError, match="'nws.csv' is a link that leads out"):
        open_nws(tmp_path / "zoo")


def test_no_table_no_runs_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no table \(.csv\) in .*: put the"):
        open_nws(tmp_path)
    header = ",".join(Written().row)
    (tmp_path / "nws.csv").write_text(f"{header}\n")
    with pytest.raises(ValueError, match="holds no run of the kind 'nws': give its"):
        open_nws(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*: give the foreign zoo's"):
        open_nws(tmp_path / "nothing")


# ---------------------------------------------------------------- writing


def sampled(path: Path, runs: list[dict], epochs: int = 5, **options) -> Zoo:
    """A zoo like a sampled one, of noise."""
    rng = np.random.default_rng(len(runs))
    rows, weights, history = [], [], []
    for number, given_ in enumerate(runs):
        given_ = dict(given_)
        architecture = given_.pop("architecture", SMALL)
        kept = stopping.kept_epochs(epochs, SNAPSHOTS)
        weights.append(
            rng.normal(size=(SNAPSHOTS, architecture.n_weights)).astype(np.float32)
        )
        accuracy = rng.uniform(size=(epochs + 1, 3))
        rows.append(
            {
                "run": number, "seed": 0, "layout": architecture.name,
                "dataset": "mnist", "lr": 1e-3, "batch_size": 32,
                "augmentation": True, "optimizer": "adam", "activation": "relu",
                "init": "glorot_normal", "filter_size": architecture.filter_size,
                "conv_layers": architecture.conv_layers,
                "fc_layers": architecture.fc_layers,
                "conv_width": architecture.conv_width,
                "fc_width": architecture.fc_width,
                "batch_norm": architecture.batch_norm, "epochs": epochs,
                "steps": 13 * epochs, "seconds": 1.5,
                "kept_epochs": " ".join(map(str, kept)),
                "test_accuracy": accuracy[-1, 2],
            }
            | given_
        )  # fmt: skip
        history += [
            {"run": number, "epoch": e, "split": s, "accuracy": accuracy[e, k],
             "loss": 1.0}
            for e in range(epochs + 1) for k, s in enumerate(("train", "valid", "test"))
        ]  # fmt: skip
    layouts = {
        one.name: one.layout for one in [r.get("architecture", SMALL) for r in runs]
    }
    with ZooWriter.create(
        path, layouts, spec={}, snapshots=range(SNAPSHOTS), **options
    ) as writer:
        writer.add(rows, weights, history)
    return Zoo.open(path)


def test_what_is_written_is_the_released_layout(tmp_path):
    wide = Architecture(5, 4, 5, 48, 192)
    zoo = sampled(
        tmp_path / "zoo",
        [{}, {"architecture": wide, "optimizer": "momentum", "activation": "sigmoid",
              "init": "normal", "augmentation": False, "lr": 0.1 + 0.2}],
    )  # fmt: skip
    with np.printoptions(legacy="1.13"):  # as some libraries set it for all others
        assert write_nws(zoo, tmp_path / "out") == tmp_path / "out/nws.csv"
    with open(tmp_path / "out/nws.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "path": "runs/00001", "dataset": "mnist", "lrate": "0.30000000000000004",
        "batch_size": "32", "batch_norm": "True", "augmentation": "False",
        "optimizer": "2", "activation": "2", "initialization": "1",
        "filter_size": "5", "depth_conv": "4", "depth_fc": "4", "width_conv": "12",
        "width_fc": "192", "weightn_conv": str(wide.n_conv_weights),
        "weightn_fc": str(wide.n_weights - wide.n_conv_weights),
    }  # fmt: skip
    for run, row in enumerate(rows):
        folder = tmp_path / "out" / row["path"]
        n = int(row["weightn_conv"]) + int(row["weightn_fc"])
        assert sorted(file.name for file in (folder / "weights").iterdir()) == [
            "001.bin", "002.bin", "003.bin"
        ]  # fmt: skip
        for k, wanted in enumerate(zoo.weights([run])[0], start=1):
            data = (folder / f"weights/{k:03d}.bin").read_bytes()
            assert list(struct.unpack(f"<{n}d", data)) == wanted.tolist()
        errors = [*struct.iter_unpack("<5d", (folder / "error.bin").read_bytes())]
        history = zoo.history[zoo.history["run"] == run]
        smooth = None
        for epoch, (step, *percent, smoothed) in enumerate(errors):
            at = history[history["epoch"] == epoch].set_index("split")["accuracy"]
            assert step == 13 * epoch
            wanted = [100 * (1 - at[split]) for split in ("train", "valid", "test")]
            assert percent == pytest.approx(wanted, abs=1e-12)
            smooth = percent[1] if smooth is None else (smooth + percent[1]) / 2
            assert smoothed == pytest.approx(smooth, abs=1e-9)
        stat = struct.unpack("<4d", (folder / "stat.bin").read_bytes())
        assert stat == (len(errors), 65, 5, 1.5) and len(errors) == 6


@settings(max_examples=10, deadline=None)
@given(
    architecture=st.sampled_from([a for a in GRID if a.n_weights < 60_000]),
    lr=st.floats(2e-4, 5e-3),
    batch_size=st.sampled_from((32, 64, 128, 256)),
    augmentation=st.booleans(),
    optimizer=st.sampled_from(("adam", "rmsprop", "momentum")),
    activation=st.sampled_from(("relu", "elu", "sigmoid", "tanh")),
    init=st.sampled_from(("constant", "normal", "glorot_uniform", "glorot_normal")),
    dataset=st.sampled_from(("mnist", "cifar10", "a name, with a comma")),
    epochs=st.integers(2, 8),
)
def test_round_trip(tmp_path_factory, architecture, epochs, **values):
    tmp_path = tmp_path_factory.mktemp("round")
    zoo = sampled(tmp_path / "a", [{"architecture": architecture} | values], epochs)
    write_nws(zoo, tmp_path / "b")
    assert convert(open_nws(tmp_path / "b", SNAPSHOTS), tmp_path / "c") == []
    back = Zoo.open(tmp_path / "c")
    assert back.layouts == zoo.layouts == {architecture.name: architecture.layout}
    assert (back.weights() == zoo.weights()).all()
    same = ["run", "layout", *values, "filter_size", "conv_layers", "fc_layers",
            "conv_width", "fc_width", "batch_norm", "epochs", "steps", "seconds",
            "kept_epochs"]  # fmt: skip
    pd.testing.assert_frame_equal(back.runs[same], zoo.runs[same], check_dtype=False)
    columns = ["run", "epoch", "split", "accuracy"]
    pd.testing.assert_frame_equal(
        back.history[columns], zoo.history[columns], rtol=0, atol=1e-14
    )


def test_an_imported_zoo_can_be_written_again(tmp_path):
    folder = released(tmp_path / "theirs")
    convert(open_nws(folder, SNAPSHOTS), tmp_path / "zoo")
    write_nws(Zoo.open(tmp_path / "zoo"), tmp_path / "again")
    for file in ("weights/002.bin", "stat.bin"):
        theirs = (folder / "trained/0001" / file).read_bytes()
        ours = (tmp_path / "again/runs/00000" / file).read_bytes()
        if file == "stat.bin":  # their epochs as a fraction count unfinished ones
            theirs, ours = (struct.unpack("<4d", d)[:2] for d in (theirs, ours))
        assert theirs == ours


def test_half_precision_is_written_exactly(tmp_path):
    zoo = sampled(tmp_path / "zoo", [{}], dtype="float16")
    write_nws(zoo, tmp_path / "out")
    foreign = open_nws(tmp_path / "out", SNAPSHOTS)
    assert (foreign.weights(0) == zoo.weights([0])[0]).all()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"conv_width": 20}, "conv_width is 20: choose one of [16, 32, 48]."),
        ({"fc_width": 128}, "its layout is not that of f3-c3x16-d3x128: choose a "
         "sampled zoo."),
        ({"kept_epochs": "0 1 5"}, "it kept the epochs 0 1 5, where readers expect "
         "(0, 2, 5): choose a zoo whose runs were kept uniformly."),
        ({"init": "zeros"}, "its initialization is 'zeros': the layout has codes for "
         "['constant', 'normal', 'glorot_uniform', 'glorot_normal']."),
        ({"epochs": 1}, "cannot keep 3 snapshots of 1 epochs: choose from 2 to 2, the "
         "initial weights included."),
        ({"epochs": 6, "kept_epochs": "0 3 6"}, "its history lacks accuracies of one "
         "of ['train', 'valid', 'test'] at one of the epochs 0 to 6: choose a sampled "
         "zoo."),
    ],
)  # fmt: skip
def test_runs_that_do_not_fit_the_layout(tmp_path, row, sentence):
    zoo = sampled(tmp_path / "zoo", [{}, row])
    with pytest.raises(ValueError) as caught:
        write_nws(zoo, tmp_path / "out")
    assert str(caught.value) == f"run 1 does not fit the released layout: {sentence}"
    assert not (tmp_path / "out").exists()


def test_a_zoo_without_history_or_columns_is_not_written(tmp_path):
    zoo = sampled(tmp_path / "zoo", [{}])
    with pytest.raises(ValueError, match="its history is missing or double"):
        write_nws(replace(zoo, history=zoo.history.iloc[:0]), tmp_path / "out")
    with pytest.raises(ValueError, match="its history is missing or double"):
        twice = pd.concat([zoo.history] * 2)
        write_nws(replace(zoo, history=twice), tmp_path / "out")
    with pytest.raises(ValueError, match="no column 'init': choose a sampled"):
        runs = zoo.runs.drop(columns="init")
        write_nws(replace(zoo, runs=runs), tmp_path / "out")


def test_nothing_is_overwritten(tmp_path):
    zoo = sampled(tmp_path / "zoo", [{}])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("precious")
    for place in (tmp_path / "out", tmp_path / "out/mine"):
        with pytest.raises(ValueError, match="is a file or holds something: choose a"):
            write_nws(zoo, place)
    assert (tmp_path / "out/mine").read_text() == "precious"
