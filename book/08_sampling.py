# %% [markdown]
# # Sampling the weight space
#
# *Draw nearly everything about a training at random, hundreds of times over.
# What do the nets have in common, and how many of them are any good?*
#
# Two crowds come out: trainings that succeed, most of them close to the best that
# their images allow, and trainings that stay near chance. Between them are those
# still on their way, more of them here than in the paper, for our trainings are short.
# Which crowd a net joins is mostly settled by its first weights (chapter 09). Part
# III of this book reads such nets from their weights alone; this chapter grows
# them.
#
# ## What the paper did
#
# {cite:t}`eilertsen2020classifying` trained 16,000 small convolutional nets. Each
# drew its data set, learning rate, batch size, augmentation, optimizer,
# activation, initialisation and, in the larger of two sets, its architecture at
# random. Each left 20 snapshots of its weights on the way, 320,000 points in
# *neural weight space*. We grow the same two sets with the same choices:
#
# | set | architecture | paper | profile `full` | profile `quick` |
# | --- | --- | --- | --- | --- |
# | fixed | one, 92,868 weights | 3,000 nets | 1,000 | 20 |
# | main | drawn, 21,260 to 388,172 weights | 13,000 nets | 500 | 12 |
#
# Ours see fewer images each, and stop after 20 epochs at the latest, where the
# paper's went on until its rules for early stopping ended them.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the sampling
device: str = "cpu"  # nets train on the CPU, a process a core
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_fixed_runs: int = None  # overrides the profile: nets of the fixed set
n_main_runs: int = None  # overrides the profile: nets of the main set

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir n_fixed_runs n_main_runs",
)

# %%
import time
from pathlib import Path

import pandas as pd

from nwslib import nws, papers, plots, report
from nwslib.nws.architecture import FIXED, GRID
from nwslib.nws.hyperparameters import NAMES
from nwslib.nws.table import CATEGORIES, successful
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
sizes = get_profile(
    profile, n_fixed_runs=n_fixed_runs, n_main_runs=n_main_runs
)
counts = {"fixed": sizes.n_fixed_runs, "main": sizes.n_main_runs}
names = ", ".join(source.name for source in sizes.sources)
print(f"profile {sizes.name}: {counts['fixed']} + {counts['main']} nets")
print(f"images: {names}; at most {sizes.max_epochs} epochs")

# %% [markdown]
# ## What is drawn
#
# Every hyper-parameter is drawn on its own, every category with the same
# probability, the learning rate uniformly (the paper's Table 1).

# %%
choices = {"dataset": names, "lr": "0.0002 to 0.005"} | {
    name: ", ".join(map(str, values)) for name, values in CATEGORIES.items()
}
pd.Series(choices, name="drawn from").to_frame()

# %% [markdown]
# A net's draws follow from the sampling's seed and the net's number, nothing
# else. So net 7 is the same net in a sample of ten and of ten thousand, here or
# on another machine, and a sample can be stopped, continued and extended. The
# first five of the main set:

# %%
plans = {
    name: sizes.sampling(fixed_architecture=name == "fixed", seed=seed)
    for name in counts
}
first = [plans["main"].run(number).row() for number in range(5)]
shown = [name for name in NAMES[:7] if name != "augmentation"]
pd.DataFrame(first)[shown].round(5)

# %% [markdown]
# ## The nets
#
# Convolutions, three max-pools between them, then fully connected layers, each
# half as wide as the one before, and 20 outputs for ten classes: the paper
# prints 20, and the weight counts ask for it. Batch norm everywhere, dropout
# after every hidden fully connected layer (the paper's Algorithm 1). The fixed one:

# %%
rows = {}
for layer in FIXED.layers:
    pieces = [p for p in FIXED.layout if p.layer == layer.name]
    rows[layer.name] = {
        "in": layer.inputs,
        "out": layer.outputs,
        "max-pool": "after it" if layer.pool else "",
        "weights": sum(piece.size for piece in pieces),
        "kinds": ", ".join(piece.kind for piece in pieces),
    }
layers = pd.DataFrame(rows).T
layers

# %%
counted = {
    "weights, fixed": FIXED.n_weights,
    "in convolutions": FIXED.n_conv_weights,
    "smallest": min(each.n_weights for each in GRID),
    "largest": max(each.n_weights for each in GRID),
    "architectures": len(GRID),
}
numbers = {"counted": counted}
counted

# %% [markdown]
# The paper prints 92,868 weights for the fixed net, 16,880 of them in
# convolutions, and 20,000 to 390,000 for the others. They agree, counting four
# batch-norm numbers for every unit: two learned, two running statistics. All of
# them are coordinates of the net's point in weight space, in the paper's order.

# %% [markdown]
# ## Growing
#
# One process a core, each training one net at a time on one thread: for nets of
# this size that beats threads that wait for each other. All weights of a net lie
# in one vector and the layers are views into it, so that a snapshot is one copy
# and an optimizer's step a few operations on one tensor. Nets are written in
# *shards* of four. A finished shard is on disk for good; when the process dies,
# those in work are lost and nothing else.

# %%
zoos = {
    name: nws.sample(
        Path(out_dir) / "zoos" / plan.name,
        plan,
        counts[name],
        data_dir=data_dir,
        progress=False,
    )
    for name, plan in plans.items()
}
for name, zoo in zoos.items():
    hours = zoo.runs["seconds"].sum() / 3600
    print(
        f"{name}: {len(zoo)} nets, {hours:.2f} core-hours, {zoo.path.name}"
    )

# %% [markdown]
# From the command line the same zoo grows with
#
# ```sh
# python -m nwslib sample ZOO --profile full --main
# ```
#
# and the same command continues it after any interruption. In a terminal it shows a
# bar, in a log file it writes a line a minute. Chapter *Scaling out* spreads it over
# many machines.

# %% [markdown]
# ## Sizes and times
#
# From here on, a `quick` build shows the tables of the recorded run of profile
# `full`, where the book has one.


# %%
columns = ["run", "epoch", "split", "accuracy"]
runs = {
    name: report.larger_table(f"nws-{name}-runs", zoo.runs, sizes.name)
    for name, zoo in zoos.items()
}
past = zoos["main"].history[columns]
past = report.larger_table("nws-main-history", past, sizes.name)
print(f"shown: {len(runs['fixed'])} + {len(runs['main'])} nets")

# %% mystnb={"figure": {"caption": "Weights in a net, seconds that it trained on one core, and epochs, main set; after the paper's Fig. 6.", "name": "fig-sizes-times"}, "image": {"alt": "Three histograms. Weights range from about twenty thousand to nearly four hundred thousand, with most nets below two hundred thousand. Seconds have a long tail to the right. All epochs are at the limit."}}
_ = plots.model_sizes(runs["main"])

# %% [markdown]
# The sizes in {numref}`fig-sizes-times` are as in the paper's Fig. 6a, for the same
# 243 architectures are drawn. Times are not to be compared: the paper's nets saw up
# to 65,000 images an epoch and went on until a rule ended them, ours see at most
# 1,800 an epoch, for 20 epochs.
#
# The rules themselves are in `nwslib.nws.stopping`: five validation accuracies in
# a row that fall, thirty that fall below the smoothed one, or thirty that do not
# move. None applies before epoch 20. So with 20 epochs as the limit nearly every net
# ends there:

# %%
ends = {
    name: table["stopped"].value_counts() for name, table in runs.items()
}
pd.DataFrame(ends).fillna(0).astype(int)

# %% [markdown]
# ## Learning

# %% mystnb={"figure": {"caption": "Accuracy over the progress of training, main set, a panel a data set: single nets on test images (grey) and means over all nets; after the paper's Fig. 7.", "name": "fig-progress"}, "image": {"alt": "Panels of grey curves for each data set. Many rise within the first third of the training and level off; others stay near a tenth. Mean training accuracy ends above mean test accuracy, but not by much."}}
_ = plots.accuracy_progress(past, runs["main"])

# %% [markdown]
# In {numref}`fig-progress` most curves that end high rise early. On MNIST many climb
# slowly instead and are half-way up when the 20 epochs end; on SVHN some begin late.
# Over-fitting, which the paper sees on CIFAR-10, has hardly begun: the means of
# training and test accuracy stay close together. How often does a net succeed (reach
# the threshold of the next section) that is still below 20 % after a third of its
# training?


# %%
def late_starters(table: pd.DataFrame, history: pd.DataFrame) -> dict:
    """Nets below 20 % after a third of the epochs; their successes."""
    last = table.set_index("run")["epochs"]
    tests = history[history["split"] == "test"]
    third = tests[tests["epoch"] == tests["run"].map(last) // 3 + 1]
    low = third[third["accuracy"] < 0.2]["run"]
    late = low.isin(successful(table, least)["run"])
    return {"below 20 %": len(low), "succeed later": int(late.sum())}


least = {"digits": papers.NWS_THRESHOLDS["mnist"]}  # ours, for a like set
numbers["late starters"] = late_starters(runs["main"], past)
pd.Series(numbers["late starters"]).to_frame("main set").T

# %% [markdown]
# ## Success and failure

# %% mystnb={"figure": {"caption": "Distribution of test accuracy, main set, a panel a data set. The dashed line is the threshold below which a training counts as failed; after the paper's Fig. 8.", "name": "fig-modes"}, "image": {"alt": "Smoothed histograms of test accuracy for each data set with a dashed threshold. Each has a peak of failed trainings between a tenth and a fifth and one of successful trainings above the threshold; on CIFAR-10 the two lie close together, on MNIST failed trainings are spread up to the threshold."}}
_ = plots.accuracy_modes(runs["main"], least)

# %% [markdown]
# In the paper the accuracies on every data set have two distinct modes, or peaks. In
# {numref}`fig-modes` ours have them too, if less clearly. On CIFAR-10 the failed nets'
# peak reaches beyond the threshold, on SVHN few nets are in the upper one. On MNIST
# the failed nets are spread up to the threshold: most of those between 40 and 80 % began
# with constant or wide normal weights, or have five fully connected layers, and are
# slow. Chapter 09 puts a number on how deep the valleys are.
#
# The paper keeps trainings above a threshold for each data set, 80 % on MNIST and
# down to 25 % on CIFAR-10, and drops the rest. How many are left:


# %%
def kept_share(table: pd.DataFrame) -> pd.Series:
    """Share of successful trainings by data set, and over all."""
    kept = table["run"].isin(successful(table, least)["run"])
    shares = kept.groupby(table["dataset"]).mean()
    return pd.concat([shares, pd.Series({"all": kept.mean()})])


shares = {name: kept_share(table) for name, table in runs.items()}
own = {
    f"{name}, this run": kept_share(zoo.runs) for name, zoo in zoos.items()
}
printed = {
    f"{name}, paper": pd.Series({"all": kept / before})
    for name, (before, kept) in papers.NWS_SETS.items()
}
numbers["kept"] = {name: share.to_dict() for name, share in shares.items()}
shown = pd.DataFrame(shares | own | printed).map("{:.2f}".format)
shown.replace("nan", "")

# %% [markdown]
# The paper keeps four of five nets of its main set, and more of the fixed one. Ours
# keep far fewer, half of the fixed set and a third of the main one, for want of images
# and epochs: the thresholds ask for accuracies that a net with bad first weights
# reaches late or never, and deep nets of the main set reach late.
#
# ## What it means for you
#
# - A random search over training set-ups spends much of its time on trainings
#   that fail, and they can be told early: what has not learned by a third of the
#   way hardly ever does.
# - Keep what a run drew beside its weights. A zoo's table of runs is what makes
#   its weights a data set.
# - Draw each run from its own number. Then a sample can grow, move and break off
#   without becoming another one.
#
# ## Try
#
# - `-p n_main_runs 100`: the zoo that is there is extended, nothing is trained
#   twice.
# - `python -m nwslib sample ZOO --profile full --runs 40`, killed and started
#   again.
#
# ## In this chapter
#
# - Table 1's hyper-parameters, drawn; Algorithm 1's 243 nets, counted.
# - A zoo of nets of many shapes on disk, resumable at any moment.
# - Sizes and times, accuracies on the way and at the end, and how many trainings
#   succeed.

# %%
numbers["median accuracy"] = {
    name: table.groupby("dataset")["test_accuracy"].median().to_dict()
    for name, table in runs.items()
}
for name, zoo in zoos.items():
    report.write_table(out_dir, f"nws-{name}-runs", zoo.runs, sizes.name)
main = zoos["main"].history[columns].astype({"accuracy": "float32"})
report.write_table(out_dir, "nws-main-history", main, sizes.name)
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "08_sampling", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
