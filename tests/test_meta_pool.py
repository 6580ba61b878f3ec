"""The sampled sets as one: who counts, who is asked what, whose weights are whose."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nwslib import features
from nwslib.meta.pool import ARCHITECTURAL, HYPERPARAMETERS, OFFSETS, Pool, open_pool
from nwslib.nws import Source, executors
from nwslib.nws.architecture import Architecture
from nwslib.profiles import get_profile

SIZES = replace(
    get_profile("quick"),
    sources=(Source("digits", train=40, test=20),),
    max_epochs=19, n_fixed_runs=4, n_main_runs=4, n_plain_runs=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        # Workers would take longer to start than these nets to train.
        patch.setattr(executors, "local", lambda: executors.here)
        opened = open_pool(SIZES, folder, sets=("fixed", "main", "plain"))
    # Too few images to learn from: everyone counts, whatever came of it.
    runs = [
        zoo.runs.assign(run=zoo.runs["run"] + OFFSETS[name], set=name)
        for name, zoo in opened.zoos.items()
    ]
    return Pool(opened.zoos, pd.concat(runs, ignore_index=True))


def table(**columns):
    length = len(next(iter(columns.values())))
    return Pool({}, pd.DataFrame({"run": range(length)} | columns))


def test_eleven_questions_five_of_them_about_architecture():
    assert len(HYPERPARAMETERS) == 11
    assert ARCHITECTURAL == (
        "filter_size", "conv_layers", "fc_layers", "conv_width", "fc_width"
    )  # fmt: skip


def test_only_nets_that_learned_something_count(tmp_path, pool):
    opened = open_pool(
        SIZES, pool.zoos["fixed"].path.parents[1], sets=("fixed", "plain")
    )
    assert set(opened.zoos) == {"fixed", "plain"}
    least = 0.8  # the paper's for MNIST, taken for the digits
    counted = pool.runs[pool.runs["set"].isin(["fixed", "plain"])]
    counted = counted[(counted["test_accuracy"] >= least) & ~counted["diverged"]]
    assert opened.runs["run"].tolist() == counted["run"].tolist()
    folder = pool.zoos["fixed"].path.parents[1]
    everyone = open_pool(SIZES, folder, sets=("fixed",), everyone=True)
    finite = pool.zoos["fixed"].runs
    assert everyone.runs["run"].tolist() == finite["run"][~finite["diverged"]].tolist()


def test_nets_without_batch_norm_are_the_fixed_ones_but_for_that(pool):
    fixed, plain = (pool.zoos[name].runs for name in ("fixed", "plain"))
    same = ["dataset", "lr", "batch_size", "augmentation", "optimizer", "activation"]
    assert fixed[same].equals(plain[same])
    assert set(plain["init"]) <= {"glorot_uniform", "glorot_normal"}
    assert not plain["batch_norm"].any()
    assert set(plain["layout"]) == {Architecture(batch_norm=False).name}


def test_questions_about_architecture_go_to_the_main_set_alone():
    pool = table(
        set=["fixed"] * 6 + ["main"] * 4,
        filter_size=[5] * 6 + [3, 3, 5, 5],
        init=["normal"] * 3 + ["constant"] * 3 + ["normal"] * 3 + ["constant"],
    )
    assert pool.nets_for("filter_size", least=2)["run"].tolist() == [6, 7, 8, 9]
    assert pool.nets_for("filter_size", ["fixed"], least=2).empty
    assert len(pool.nets_for("init", least=2)) == 10
    assert pool.nets_for("init", ["main"], least=1)["run"].tolist() == [6, 7, 8, 9]


def test_small_classes_are_left_out_and_one_class_is_no_question():
    pool = table(set=["fixed"] * 5, init=["normal", "normal", "a", "a", "b"])
    assert pool.nets_for("init", least=2)["init"].tolist() == ["normal"] * 2 + ["a"] * 2
    assert pool.nets_for("init", least=3).empty


def test_a_store_has_the_weights_of_each_net(pool):
    store = pool.store([18, 19])
    assert store.index["run"].unique().tolist() == pool.runs["run"].tolist()
    examples = pool.examples(store, "init", last=1)
    assert (store.index["snapshot"].iloc[examples.features] == 19).all()
    for row, label, run in zip(
        examples.features, examples.labels, examples.runs, strict=True
    ):
        (net,) = pool.runs[pool.runs["run"] == run].itertuples()
        assert net.init == label
        ((vector,),) = pool.zoos[net.set].weights([run - OFFSETS[net.set]], [19])
        start, stop = store.index.loc[row, ["start", "stop"]]
        assert np.array_equal(store.flat[int(start) : int(stop)].numpy(), vector)


def test_a_store_of_some_sets_and_kinds(pool):
    store = pool.store([19], sets=["plain"], kinds=("weight",))
    (length,) = set(store.index["stop"] - store.index["start"])
    layout = Architecture(batch_norm=False).layout
    assert length == len(layout.select(kind="weight"))
    assert (store.index["run"] >= OFFSETS["plain"]).all()


def test_slices_of_several_sets_are_those_of_each(pool):
    chosen = pool.runs[pool.runs["set"].isin(["fixed", "plain"])]
    rows = pool.slices(300, "conv", runs=chosen, per_net=2, seed=3)
    assert rows["run"].tolist() == chosen["run"].repeat(2).tolist()
    for name in ("fixed", "plain"):
        zoo = pool.zoos[name]
        ids = zoo.runs["run"].tolist()
        alone = features.slices_of_zoo(zoo, 300, 2, "conv", ids, [19], 3)
        of_set = rows[rows["run"].isin(np.array(ids) + OFFSETS[name])]
        assert np.array_equal(of_set[list(alone.names)], alone.values)


def test_slices_of_no_net(pool):
    with pytest.raises(ValueError, match="no nets to take slices of"):
        pool.slices(300, runs=pool.runs[:0])
