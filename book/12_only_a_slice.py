# %% [markdown]
# # Only a slice
#
# *5,000 weights, torn out of a net at a random place. What do they still tell?*
#
# Something, even so. How the weights were initialised is written all over a net: nine
# of ten slices tell it. Optimizer, activation and the width of the convolutions show
# well above chance, data set, batch size, augmentation and the width of the fully
# connected layers a little, the number of layers not at all. The last part of the
# chapter makes a tool of chapter 11's classifiers: ask a net how it was trained.
#
# ## What the paper did
#
# {cite:t}`eilertsen2020classifying` (section 5.3) also train **local**
# meta-classifiers. They see a **slice** of 5,000 neighbouring weights, about a
# twentieth of a net, and are not told where those come from, nor what the net looks
# like: here the architecture is drawn, too, so that there are eleven hyper-parameters
# to tell. For support vector machines ten slices of every net are described by the 16
# statistics of the last chapter (Fig. 4 and 17).

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the sampling, the slices and the rounds
device: str = "cpu"  # nets train on the CPU, a process a core
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_fixed_runs: int = None  # overrides the profile: nets of the fixed set
n_main_runs: int = None  # overrides the profile: nets of the main set
n_rounds: int = None  # overrides the profile: rounds of training and test

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir "
    "n_fixed_runs n_main_runs n_rounds",
)

# %%
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nwslib import features, nws, plots, report
from nwslib.meta import exam, guess, guesser_file, models, svm, unusual
from nwslib.meta.pool import (
    ARCHITECTURAL,
    HYPERPARAMETERS,
    OFFSETS,
    OWN_THRESHOLDS,
    open_pool,
)
from nwslib.meta.protocol import Examples, judge, labelled, rounds
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
sizes = get_profile(
    profile,
    n_fixed_runs=n_fixed_runs,
    n_main_runs=n_main_runs,
    n_rounds=n_rounds,
)
# A quick build's forests have fewer trees, its few rounds one process.
jobs = 1 if sizes.name == "quick" else -1
n_trees = 100 if sizes.name == "quick" else models.N_TREES
forest = partial(models.forest, n_trees=n_trees)
pool = open_pool(sizes, out_dir, data_dir=data_dir, seed=seed)
nets = {which: pool.runs.query("set == @which") for which in pool.zoos}
for which, zoo in pool.zoos.items():
    kept = len(nets[which])
    print(f"{which}: {kept} of {len(zoo)} nets learned something")

# %% [markdown]
# ## Tearing out
#
# Ten slices of each net, from anywhere; then ten from its convolutions only, and ten
# from its fully connected layers only. Small nets have fewer than 5,000 weights
# in all of their convolutions, and give no slices of these. As in chapter 09 we
# pool both sets where a question is not about architecture; the paper's main set is
# large enough alone. If this build is a small one, the nets from here on are
# those of the recorded run of profile `full`.

# %%
SIZE = 5000


def sliced(part: str) -> pd.DataFrame:
    """A row a slice: its net, its part, 16 statistics."""
    there = pool.runs
    if part == "conv":
        there = there[there["n_conv_weights"] >= SIZE]
    rows = pool.slices(SIZE, part, runs=there, seed=seed)
    values = rows.columns[1:]
    rows[values] = rows[values].astype("float32")
    rows.insert(1, "part", part)
    return rows


own = pd.concat(map(sliced, features.PARTS), ignore_index=True)
names = list(own.columns[2:])
shown = report.larger_table("nws-slices", own, sizes.name)
tables = {
    which: zoo.runs
    if shown is own
    else report.larger_table(f"nws-{which}-runs", zoo.runs, sizes.name)
    for which, zoo in pool.zoos.items()
}
runs = pd.concat(
    [
        table.assign(run=table["run"] + OFFSETS[which], set=which)
        for which, table in tables.items()
    ],
    ignore_index=True,
)
runs = runs[runs["run"].isin(shown["run"])]
shown_nets = replace(pool, runs=runs)
counted = shown.merge(runs[["run", "set"]]).groupby(["set", "part"])
counted["run"].agg(["nunique", "size"]).rename(
    columns={"nunique": "nets", "size": "slices"}
)

# %% [markdown]
# ## Eleven questions
#
# The exam is that of the last chapter: nets of equally large classes, divided anew
# each round, all slices of a net on one side. Each slice is judged alone. Classes of
# fewer than six nets are left out.

# %%
asked = [one for one in HYPERPARAMETERS if len(shown_nets.nets_for(one))]
MACHINES = {"linear SVM": svm.linear, "RBF SVM": svm.rbf}
trainers = {**MACHINES, "forest": forest}
if sizes.name == "quick":  # the fast one
    trainers = {"forest": forest}


def slices_of(part: str, one: str) -> Examples:
    """All slices of a part, labelled."""
    rows = shown[shown["part"] == part]
    return labelled(rows[names].to_numpy(float), rows, runs, one)


def judged(part: str, one: str, train) -> dict:
    """Accuracies over rounds."""
    there = shown_nets.nets_for(one)
    splits = rounds(there, one, sizes.n_rounds, seed=seed)
    found = judge(train, slices_of(part, one), splits, seed, jobs)
    return {
        "mean": found.mean,
        "std": found.std,
        "classes": len(found.classes),
        "chance": found.chance,
        "p": found.p_chance,
        "nets": found.n_train,
    }


numbers = {
    "accuracy": {
        one: {
            model: judged("all", one, train)
            for model, train in trainers.items()
        }
        for one in asked
    }
}
name = "12_only_a_slice"
recorded = {}
if sizes.name == "quick":
    recorded = report.recorded(name, profile="full").get("numbers", {})
seen = recorded or numbers
rows = pd.DataFrame(
    [
        {"hyperparameter": one, "model": model, **each}
        for one, of_one in seen["accuracy"].items()
        for model, each in of_one.items()
    ]
)

# %% mystnb={"figure": {"caption": "How often a single slice of 5,000 weights, described by 16 statistics, names the right category; mean and standard deviation over rounds, and chance. After the machines in the paper's Fig. 4.", "name": "fig-slices"}, "image": {"alt": "Eleven bands of points with error bars. Initialisation is told by nine of ten slices; conv width, optimizer and activation lie clearly right of chance; data set, batch size and augmentation a little, and the width of fully connected layers for the forest; the rest around chance."}}
if len(rows):
    _ = plots.meta_accuracies(rows)

# %%
if len(rows):
    rows["in percent"] = list(map(exam.percent, rows["mean"], rows["std"]))
    wide = rows.pivot(
        index="hyperparameter", columns="model", values="in percent"
    ).loc[list(seen["accuracy"]), list(dict.fromkeys(rows["model"]))]
    firsts = rows.groupby("hyperparameter")[["chance", "nets"]].first()
    wide["chance"] = (100 * firsts["chance"]).map("{:.1f}".format)
    wide["nets to train"] = firsts["nets"]
    beyond = rows.pivot(index="hyperparameter", columns="model", values="p")
    wide["p, forest"] = beyond["forest"].map("{:.3f}".format)
wide if len(rows) else "too few nets"

# %% [markdown]
# As in the paper the initialisation is told best, by far ({numref}`fig-slices`), and by
# simple machines: normal weights are wide, constant ones alike, and training does not
# hide it. Elsewhere linear machines do poorly. Radial basis functions are a little
# better for seven questions of the other ten and worse for three; a forest is best for
# eight of all. What a slice tells beyond the initialisation is little and yet not
# nothing: see the p-values in the table's last column.
#
# Questions about architecture have only the nets of the main set to learn from. The
# depth of a net cannot be told from these, the widths of its layers can, that of the
# convolutions best.
#
# ## From which part?
#
# The same forest on slices of convolutions only and of fully connected layers only,
# and on nets that have both.

# %%
in_both = set(shown[shown["part"] == "conv"]["run"])
having_both = replace(pool, runs=runs[runs["run"].isin(in_both)])


def by_part(one: str) -> dict:
    """Mean accuracy of a forest on slices of each part."""
    there = having_both.nets_for(one)
    splits = rounds(there, one, sizes.n_rounds, seed=seed)
    found = {
        part: judge(forest, slices_of(part, one), splits, seed, jobs)
        for part in features.PARTS
    }
    return {part: each.mean for part, each in found.items()} | {
        "chance": found["all"].chance
    }


numbers["parts"] = {
    one: by_part(one)
    for one in asked
    if len(having_both.nets_for(one))
    # a quick build asks two of the questions
    if sizes.name != "quick" or one in ("dataset", "filter_size")
}
seen = recorded or numbers
pd.DataFrame(seen["parts"]).T.round(3)

# %% [markdown]
# The data set shows more in convolutions than in fully connected layers, as the paper
# found, and so does augmentation. The optimizer shows more in fully connected layers.
# So does the width of the convolutions, which sets the number of inputs of the first
# of them, and with it how large Glorot makes their weights. Filter size is told from
# convolutions, where it sets the same, and after how many weights a filter's rows
# repeat. That fully connected layers, which have no filters, tell it "to some extent",
# we cannot confirm: ours hardly tell more than chance.
#
# ## Which statistics count?
#
# {numref}`fig-slice-importance` has the norms over classes of the linear machines'
# coefficients, as in the paper's Fig. 17.

# %%
importances = {}
for one in asked if "linear SVM" in trainers else ():
    if one not in ARCHITECTURAL:
        examples = slices_of("all", one)
        there = shown_nets.nets_for(one)
        splits = rounds(there, one, sizes.n_rounds, seed=seed)
        found = [
            svm.importance(svm.linear(examples.of(split.train), seed + k))
            for k, split in enumerate(splits)
        ]
        importances[one] = [(each / each.mean()).tolist() for each in found]
numbers["importance"] = importances
seen = recorded or numbers

# %% mystnb={"figure": {"caption": "How much each of 16 statistics of a slice counts in linear machines, 1 being the mean of all; standard deviation over rounds. After the paper's Fig. 17.", "name": "fig-slice-importance"}, "image": {"alt": "Panels of horizontal bars, one for each of 16 statistics of weights and of their gradient, for six hyper-parameters."}}
if seen["importance"]:
    _ = plots.statistic_importance(seen["importance"], names)

# %% [markdown]
# The picture means something where the machine does, so most of all for the
# initialisation.
#
# ## Claim by claim
#
# What the paper's text says of these machines, with skill as in chapter 11: 0 is
# chance, 1 is always right.


# %%
def skill(each: dict) -> float:
    """0 is chance, 1 is always right."""
    return (each["mean"] - each["chance"]) / (1 - each["chance"])


def claims(told: dict) -> pd.DataFrame:
    """One row a claim, out of a run's numbers."""
    found, parts = told["accuracy"], told["parts"]
    linear, rbf = (
        {one: skill(of_one[model]) for one, of_one in found.items()}
        for model in MACHINES
    )
    rest = [one for one in found if one != "init"]
    poor = sum(linear[one] for one in rest) / len(rest)
    gain = sum(rbf[one] - linear[one] for one in found) / len(found)
    above = sum(of_one["RBF SVM"]["p"] < 0.05 for of_one in found.values())
    best = max(rbf, key=rbf.get)
    data, size = parts["dataset"], parts["filter_size"]
    percentiles = [k for k, each in enumerate(names) if ".p" in f".{each}"]
    shares = [
        sum(each[k] for k in percentiles) / len(percentiles)
        for of_one in told["importance"].values()
        for each in of_one
    ]
    ratio = sum(shares) / len(shares)
    rows = [
        (
            "linear machines do poorly, but for initialisation",
            "5.3; Fig. 4",
            f"mean skill {poor:.2f}",
            poor < 0.2,
        ),
        (
            "radial basis functions improve on them",
            "5.3; Fig. 4",
            f"mean skill {gain:+.2f}",
            gain > 0,
        ),
        (
            "better than guessing for most",
            "5.3; Fig. 4",
            f"p < 5 % for {above} of {len(found)}",
            above > len(found) / 2,
        ),
        (
            "best for the initialisation",
            "5.3; Fig. 4",
            f"{best}, skill {rbf[best]:.2f}",
            best == "init",
        ),
        (
            "data set shows more in convolutions",
            "5.3; Fig. 4",
            f"{data['conv']:.2f}, FC {data['fc']:.2f}",
            data["conv"] > data["fc"],
        ),
        (
            "filter size shows in FC layers, too",
            "5.3; Fig. 4",
            f"{size['fc']:.2f}, chance {size['chance']:.2f}",
            size["fc"] > size["chance"] + 0.05,
        ),
        (
            "percentiles tell most",
            "E.2; Fig. 17",
            f"importance {ratio:.2f} of the average",
            ratio > 1,
        ),
    ]
    table = pd.DataFrame(rows, columns=["claim", "paper", "ours", "agrees"])
    words = {True: "agrees", False: "contradicts"}
    return table.assign(agrees=table["agrees"].map(words))


if sizes.name != "quick":
    numbers["claims"] = claims(numbers).to_dict("records")
complete = recorded or sizes.name != "quick"
claims(seen).set_index("claim") if complete else "claims need the full run"

# %% [markdown]
# These are signs, not tests: the smaller differences may turn with other nets.
#
# ## Ask a net
#
# Enough exams: here is a tool. It has learned from all nets of both sets that
# learned something, and it reads a checkpoint file without running anything
# in it:
#
# ```sh
# python -m nwslib guess CHECKPOINT
# ```
#
# It tells each hyper-parameter with calibrated probabilities, and with how often it
# was right about nets that it had not learned from. The library brings a guesser
# along that a run of this chapter with profile `full` has made; with `--fit` you make
# your own from any sampled zoo.

# %%
model = Path(out_dir) / "results" / f"guesser-{sizes.name}.skops"
model.parent.mkdir(parents=True, exist_ok=True)
if sizes.name == "quick" and guesser_file.DEFAULT.is_file():
    model = guesser_file.DEFAULT
else:
    learned = guess.fit(
        list(pool.zoos.values()), seed=seed, thresholds=OWN_THRESHOLDS
    )
    guesser_file.save(learned, model)
guesser = guesser_file.load(model)
numbers["guesser"] = {
    "nets": guesser.n_nets,
    "bytes": model.stat().st_size,
    "judged": guesser.judged,
}
print(f"{guesser.n_nets} nets, {model.stat().st_size / 1000:.0f} kB")
pd.DataFrame(guesser.judged).T.round(3)

# %% [markdown]
# `commonest` is how often one would be right by always naming the commonest
# category.
#
# Here is a net that nobody has shown it: the better of two, freshly trained on a few
# hundred images.

# %%
fresh_plan = get_profile("quick").sampling(
    fixed_architecture=True, seed=seed + 1
)
fresh_plan = replace(
    fresh_plan,
    sources=tuple(s for s in fresh_plan.sources if s.name == "mnist"),
    inits=("glorot_uniform", "glorot_normal"),  # which mostly succeed
    shard_size=1,
)
fresh = nws.sample(
    Path(out_dir) / "zoos" / fresh_plan.name,
    fresh_plan,
    2,
    data_dir=data_dir,
    progress=False,
)
row = fresh.runs.sort_values("test_accuracy").iloc[-1]
vector = torch.tensor(
    fresh.weights([row["run"]], fresh.snapshots[-1:])[0, 0]
)
checkpoint = Path(out_dir) / "stranger.pt"
torch.save(fresh.layout.unflatten(vector), checkpoint)
said = subprocess.run(
    [sys.executable, "-m", "nwslib", "guess", checkpoint, "--model", model],
    capture_output=True,
    text=True,
)
print(said.stdout or said.stderr)
checkpoint.unlink()
row[list(guess.HYPERPARAMETERS)].to_frame("the truth")

# %% [markdown]
# With `--json` the same comes out for programs, and from Python by
# `guesser.guess(state_dict)`. Here are two that are no net of this family, or no
# longer: one with the weights of another architecture, and the same net before its
# training.

# %%
print(guesser.guess(torch.nn.Linear(8, 2).state_dict()).to_text())
first = fresh.weights([row["run"]], fresh.snapshots[:1])[0, 0]
untrained = guesser.guess(fresh.layout.unflatten(torch.tensor(first)))
print(untrained.to_text())
print(f"score {untrained.score:.2f}, limit {untrained.limit:.2f}")

# %% [markdown]
# ### Unlike anything it was trained on
#
# A classifier names a category for any weights whatever, so it should not be asked
# about nets unlike those it knows. A net that was never trained gives itself
# away: batch norm's factors are still 1, its offsets 0. For all others there is a
# test: what share of the statistics of one kind of weights lies well outside the range
# of all known nets? Its limit lets one net of a hundred be called unusual by mistake.
#
# How much it notices depends on who is known. New nets at the ends of the range are
# a little outside in many statistics, and with few nets of many architectures they
# set a high limit. So *well* outside means by a fifth of the range's width, in
# logarithms. Which cases does it notice, and how often?

# %%
LEARNERS = {"outside": unusual.outside, "distance": unusual.distance}
FOREIGN = (
    ("init", "normal"),
    ("dataset", "svhn"),
    ("optimizer", "momentum"),
    ("activation", "tanh"),
)


def known_and_foreign(which: str) -> tuple:
    """Features of a set's nets, their ids, and its cases."""
    zoo, offset = pool.zoos[which], OFFSETS[which]
    ids = (nets[which]["run"] - offset).tolist()
    last = features.of_zoo(zoo, "layerwise", ids, zoo.snapshots[-1:])
    changed = unusual.changed(zoo, seed, thresholds=OWN_THRESHOLDS)
    cases = {
        case: (rows, of + offset) for case, (rows, of) in changed.items()
    }
    return last.values, last.index["run"].to_numpy() + offset, cases


def noticed(sets: list[str]) -> dict:
    """How often nets of each case are called unusual, by both scores."""
    table = pd.concat([nets[which] for which in sets])
    if len(table) < 20:
        return {}
    values, ids, cases = zip(*(parts[which] for which in sets), strict=True)
    # a set may lack a case, such as failures
    together = {
        case: [np.concatenate(both) for both in zip(*found, strict=True)]
        for case in cases[0] | cases[-1]
        if (found := [each[case] for each in cases if case in each])
    }
    foreign = [
        each for each in FOREIGN if (table[each[0]] == each[1]).any()
    ]
    return {
        way: unusual.detected(
            learn,
            np.concatenate(values),
            np.concatenate(ids),
            together,
            table,
            foreign,
            seed,
        )
        .set_index("case")
        .to_dict("index")
        for way, learn in LEARNERS.items()
    }


parts = {
    which: known_and_foreign(which) for which in nets if len(nets[which])
}
numbers["unusual"] = noticed(["fixed"]) if "fixed" in parts else {}
numbers["unusual, both sets"] = noticed(list(parts)) if parts else {}
seen = recorded or numbers


def as_table(found: dict) -> pd.DataFrame:
    """A row a case."""
    outside, distance = (
        pd.DataFrame(found[way]).T for way in ("outside", "distance")
    )
    return pd.DataFrame(
        {
            "nets": outside["rows"].astype(int),
            "called unusual": outside["unusual"].round(2),
            "AUROC": outside["auroc"].round(2),
            "AUROC, distance": distance["auroc"].round(2),
        }
    )


as_table(seen["unusual"]) if seen["unusual"] else "too few nets"

# %% [markdown]
# That was learned from nets of one architecture. The guesser knows both sets, so the
# same question once more about these:

# %%
pooled = seen["unusual, both sets"]
as_table(pooled) if pooled else "too few nets"

# %% [markdown]
# `AUROC` is the area under the ROC curve (chapter 06): half is chance. `distance` is
# the Mahalanobis distance, the usual tool for this, for comparison.
#
# What differs grossly is always noticed: nets that were never trained, zeros, doubled
# weights, an initialisation or an activation that it has not met. Failed trainings are
# noticed rather more often than not, nets of an unknown optimizer rather less often;
# the distance is the better score for these two.
#
# Two kinds of nets pass. Weights that are shuffled, rounded to 8 bits or a little
# noisy have the statistics of the original, and by these it judges. More serious are
# nets trained on a **data set it does not know**. None of them was called unusual,
# and their guess is one of the data sets that it does know. Read "mnist" in an answer
# as "mnist, if it was one of those four".
#
# ## What it means for you
#
# - A part of a net is enough to know how it was initialised, and more than a hint of
#   how it was optimised.
# - A classifier's answer is relative to the categories that it was shown. Its
#   probabilities do not know of others, and a test for unusual inputs knows only those
#   that leave a mark in its statistics.
# - Try such a test with the changes that you fear, one by one. A low rate of false
#   alarms says nothing about what it misses.
#
# ## Try
#
# - `features.slices_of_zoo(zoo, size=500)`: how short may a slice be?
# - `python -m nwslib guess --fit YOUR_ZOO --model FILE`: a guesser for nets of
#   your own sampling.
# - Take a checkpoint of a known net, train it on, and ask again after each epoch.
#   Which answers change?
#
# ## In this chapter
#
# - Eleven hyper-parameters told from 16 statistics of 5,000 weights.
# - A command that tells how a net was trained, how sure it is, and when not to
#   ask it.

# %%
report.write_table(out_dir, "nws-slices", own, sizes.name)
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, name, numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
