# %% [markdown]
# # Deep meta-classifiers
#
# *Someone chose the statistics of the last chapters by hand. What does a net see that
# reads the weights themselves?*
#
# In principle all that statistics see, and the order of the weights besides. But that
# takes more nets to learn from than we have. From the few dozen nets of our recorded
# run, deep meta-classifiers learn to tell the initialisation, and of whole nets a little
# of the optimizer and the augmentation. **Forests on statistics, from the same nets, name
# optimizer and activation of every test net.** The paper, with 16,070 weight vectors to
# learn from, has deep classifiers ahead. This page has its nets, to the weight, one of
# them in training, and the exam that all meta-classifiers take on the same nets.
#
# ## What the paper did
#
# {cite:t}`eilertsen2020classifying` (sections 5.1 to 5.3, supplement F) train
# **deep meta-classifiers**, DMCs for short: one-dimensional convolutional nets whose
# input is a weight vector as it is. A *global* one reads all 92,868 weights of the
# fixed architecture, a *local* one a slice of 5,000 weights from anywhere, so that
# it serves nets of any architecture. Both have over ten million weights of
# their own (their Table 3). A local one is shown a fresh random slice each time, which
# makes many examples of few nets.
#
# The paper shows the accuracies in figures (Fig. 2 and 4) and prints none. We train
# the same nets, put them beside the machines of chapters 11 and 12 **on the same
# nets**, and check what the text says. Then we do what the paper leaves to the future:
# put the answers of many slices together to one answer about the net.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the sampling, of first weights and of the rounds
device: str = "cpu"  # what DMCs train on: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos, DMCs and results go
n_fixed_runs: int = None  # overrides the profile: nets of the fixed set
n_main_runs: int = None  # overrides the profile: nets of the main set
n_deep_rounds: int = None  # overrides the profile: rounds of the DMCs
local_epochs: int = None  # overrides the profile: epochs of local DMCs
global_epochs: int = None  # overrides the profile: epochs of global DMCs

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir n_fixed_runs n_main_runs "
    "n_deep_rounds local_epochs global_epochs",
)

# %%
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from nwslib import features, papers, plots, report
from nwslib.meta import dmc, exam, models, svm, tokens
from nwslib.meta.pool import HYPERPARAMETERS
from nwslib.meta.protocol import Split, judge, labelled
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
pd.set_option("display.max_colwidth", None)  # claims are long
sizes = get_profile(
    profile,
    n_fixed_runs=n_fixed_runs,
    n_main_runs=n_main_runs,
    n_deep_rounds=n_deep_rounds,
    local_epochs=local_epochs,
    global_epochs=global_epochs,
)
small = sizes.name == "quick"
room = exam.open_exam(
    sizes, out_dir, data_dir=data_dir, device=device, seed=seed
)
runs = room.pool.runs
runs.groupby("set").size().rename("nets that learned something").to_frame()

# %% [markdown]
# ## Ten million weights to read ninety thousand
#
# Layer by layer, as Table 3 of the paper prints them: convolutions over five
# neighbouring places, each followed by ReLU, batch norm and mostly a max-pool, then
# fully connected layers with dropout.

# %%
specs = {"global": dmc.global_spec(5), "local": dmc.local_spec(5)}
layers = {
    kind: pd.Series(
        {
            layer.name: f"{layer.inputs} → {layer.outputs}"
            + (", pool" if layer.pool else "")
            for layer in spec.layers
        }
    )
    for kind, spec in specs.items()
}
pd.DataFrame(layers).reindex(layers["global"].index).fillna("")

# %% [markdown]
# Do they add up to what the paper prints, with batch norm's four numbers a unit?

# %%
numbers = {"weights": {kind: s.n_weights for kind, s in specs.items()}}
counts = pd.DataFrame(
    {"paper": papers.DMC_WEIGHTS, "ours": numbers["weights"]}
)
counts["verdict"] = np.where(
    counts["paper"] == counts["ours"], "agrees", "differs"
)
counts

# %% [markdown]
# To the weight. The paper trained a local one for two hours on a GPU. On two cores
# ours have to be smaller: all layers, but a quarter of the channels and units, and fewer
# epochs. Where the processor can compute in bfloat16, numbers with eight bits for their
# digits, they do; their weights stay in float32. Two more changes are for narrow nets
# only. Of so few units none can be spared, so there is no dropout. And weights differ in
# size by orders of magnitude, where they are batch norm's statistics: a narrow net that
# reads them as they are sees little but the largest. Ours reads
# sign(w) log(1 + |w| / 0.01).

# %%
recipes = exam.recipes(sizes, device)
pd.DataFrame(
    {
        kind: {
            "width": recipe.width,
            "weights": recipe.spec(5).n_weights,
            "epochs": recipe.epochs,
            "dropout": recipe.dropout,
            "log unit": recipe.log_unit,
            "bfloat16": recipe.autocast,
        }
        for kind, recipe in recipes.items()
    }
).T

# %% [markdown]
# ## How one learns
#
# All snapshots lie in memory one after the other, as one long vector, with a table of
# where each begins. A batch of slices is a single copy, wherever they begin. Apart
# from that, training is the loop that everyone knows. Here it is, for a few epochs,
# on the question that most nets of this build can answer.

# %%
among = ("init",) if small else HYPERPARAMETERS
whole_nets = room.questions("fixed", among=set(among) & set(exam.GLOBAL))
slices = room.questions("fixed", "main", slices=True, among=among)
pd.DataFrame(
    {
        kind: {one: len(splits[0].train) for one, splits in asked.items()}
        for kind, asked in (("global", whole_nets), ("local", slices))
    }
).rename_axis("nets to train").astype("Int64")

# %%
shown = next(iter(slices))
examples = room.pool.examples(room.store, shown, last=2)
examples = examples.of(slices[shown][0].train)
classes, labels = np.unique(examples.labels, return_inverse=True)
labels = torch.from_numpy(labels).to(device)
net = dmc.build(recipes["local"].spec(len(classes)), seed).to(device)
adam = torch.optim.Adam(net.parameters(), lr=1e-3)
generator = torch.Generator().manual_seed(seed)
losses = []
for _ in range(10):
    order = torch.randperm(len(labels), generator=generator)
    for batch in order.split(64):
        if len(batch) > 1:  # batch norm needs two
            x = room.store.slices_of(  # [batch, 5000]
                examples.features[batch], generator, dmc.LOCAL_LENGTH
            )
            loss = F.cross_entropy(net(x), labels[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
print(f"{shown}: {len(examples)} snapshots, classes {classes.tolist()}")
print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} after 10 epochs")

# %% [markdown]
# The library's loop adds the paper's schedule of learning rates, checkpoints that a
# killed training continues from, and one process a core for many trainings at once.
#
# ## Whole nets: global DMCs
#
# Six questions about nets of the fixed architecture, by the rules of chapter 11. Four
# answer in {numref}`fig-global-dmc`, having learned from the same nets: the DMC, from
# the last four snapshots of each; the paper's linear machine on 480 statistics;
# chapter 11's forests, one on these statistics and one on tokens.

# %%
begun = time.time()
global_dmcs = room.train(whole_nets, recipes["global"])
numbers["seconds"] = {"global": time.time() - begun}
fixed = room.pool.zoos["fixed"]
ids = runs.loc[runs["set"] == "fixed", "run"].tolist()
statistics = features.of_zoo(fixed, "layerwise", ids, fixed.snapshots[-1:])
described, _ = tokens.of_zoo(fixed, ids, fixed.snapshots[-1:])
views = {
    "linear SVM, 480": (svm.linear, statistics.values),
    "forest, 480": (models.forest, statistics.values),
    "forest, tokens": (
        models.forest,
        described.reshape(len(described), -1),  # [nets, layers * numbers]
    ),
}


def others(one: str, splits: list[Split]) -> dict:
    """Chapter 11's meta-classifiers on the same nets."""
    return {
        model: exam.record(
            judge(
                train,
                labelled(values, statistics.index, runs, one),
                splits,
                seed,
            )
        )
        for model, (train, values) in views.items()
    }


numbers["global"] = {
    one: {"global DMC": room.taken(one, splits, global_dmcs[one])}
    | others(one, splits)
    for one, splits in whole_nets.items()
}
name = "13_deep_meta_classifiers"
recorded = {}
if small:
    recorded = report.recorded(name, profile="full").get("numbers", {})
seen = recorded or numbers

# %% mystnb={"figure": {"caption": "How often meta-classifiers of whole nets name the right category for nets they have not seen; mean and standard deviation over rounds, and chance. After the paper's Fig. 2.", "name": "fig-global-dmc"}, "image": {"alt": "Six bands of points with error bars, one for each hyper-parameter, and a line at chance. Both forests lie to the right of the global DMC in all bands, at 1.0 for optimizer and activation; the DMC is clearly right of chance for the initialisation only."}}
_ = plots.meta_accuracies(exam.summary(seen["global"]))

# %%
exam.as_table(seen["global"])

# %% [markdown]
# A build of profile `quick` trains for one question only, and shows the recorded run's
# numbers. In these the DMC tells the initialisation as well as the linear machine does, and
# has a hint of optimizer and augmentation. Data set, batch size and activation it does not
# tell from chance. Forests are ahead of it in all six questions.
#
# ## Slices: local DMCs
#
# Eleven questions, three DMCs each: for slices from anywhere, from convolutions only,
# from fully connected layers only. All learn from the same nets, those of both sets
# whose convolutions have 5,000 weights or more; questions about architecture are put
# to the main set alone. Each test net is asked about ten slices. Beside the DMCs,
# {numref}`fig-local-dmc` has a forest and the paper's machine with radial basis
# functions, on 16 statistics of ten slices a net, as in chapter 12.

# %%
PARTS = ("all",) if small else features.PARTS
begun = time.time()
local_dmcs = {
    part: room.train(slices, replace(recipes["local"], part=part))
    for part in PARTS
}
numbers["seconds"]["local"] = time.time() - begun


has_room = runs["n_conv_weights"] >= dmc.LOCAL_LENGTH
sixteen = room.pool.slices(dmc.LOCAL_LENGTH, runs=runs[has_room], seed=seed)
values = sixteen.drop(columns="run").to_numpy()
MACHINES = {"RBF SVM, 16": svm.rbf, "forest, 16": models.forest}


def from_slices(one: str, splits: list[Split]) -> dict:
    """DMCs and machines that read slices of the same nets."""
    given = labelled(values, sixteen[["run"]], runs, one)
    words = {"all": "DMC", "conv": "DMC, convolutions", "fc": "DMC, FC"}
    return {
        words[part]: room.taken(one, splits, dmcs[one])
        for part, dmcs in local_dmcs.items()
    } | {
        model: exam.record(judge(train, given, splits, seed))
        for model, train in MACHINES.items()
    }


numbers["local"] = {
    one: from_slices(one, splits) for one, splits in slices.items()
}
seen = recorded or numbers

# %% mystnb={"figure": {"caption": "How often a single slice of 5,000 weights names the right category: DMCs for slices from anywhere, from convolutions and from fully connected layers, and machines on 16 statistics of slices from anywhere; mean and standard deviation over rounds, and chance. After the paper's Fig. 4.", "name": "fig-local-dmc"}, "image": {"alt": "Eleven bands of points with error bars and a line at chance. For the initialisation all points lie right of chance, the machines on statistics furthest; most others lie around it, those about architecture with wide bars."}}
_ = plots.meta_accuracies(exam.summary(seen["local"]))

# %%
exam.as_table(seen["local"])

# %% [markdown]
# From slices, too, the DMCs tell nothing for certain but the initialisation, from all
# parts alike, and machines on 16 statistics are ahead of them. Questions about
# architecture have ten or twelve nets to learn from and half as many to be tested on,
# for they are put to the main set alone: those points are noise. In the paper DMCs are
# ahead, with 16,070 weight vectors to learn from: how fast ours gain from more nets is
# what chapter 15 asks.
#
# ## From slices back to the net
#
# "By aggregating information from the full weight vector using local DMCs, there is
# potential to learn more": the paper leaves it at that. So here it is. A local DMC is
# asked about 32 slices at even places of a net. In a **vote** the probabilities that it
# gives are multiplied, as if slices were independent witnesses. In the second
# way a logistic regression **learns** in which of eight regions of a net to
# trust it how much. About nets that it has learned from a DMC is far too sure, so each
# half of the training nets is told by a DMC trained on the other half. All in
# {numref}`fig-whole-net` learn from the same nets of the fixed set as the global DMC
# and the forests above.

# %%
begun = time.time()
voters = room.train(whole_nets, recipes["local"], "fixed-")
numbers["seconds"]["voters"] = time.time() - begun
numbers["whole"] = {
    one: {
        "a single slice": room.taken(one, splits, voters[one]),
        "vote": room.voted(one, splits, voters[one]),
        "learned": room.aggregated(one, splits, voters[one], "fixed-"),
        **{
            model: numbers["global"][one][model]
            for model in ("global DMC", "forest, 480", "forest, tokens")
        },
    }
    for one, splits in whole_nets.items()
}
seen = recorded or numbers

# %% mystnb={"figure": {"caption": "What becomes of a local DMC's answers when many slices of a net are put together, beside meta-classifiers that read whole nets; same nets, mean and standard deviation over rounds, and chance.", "name": "fig-whole-net"}, "image": {"alt": "Six bands of points with error bars and a line at chance. A single slice, votes, learned votes and the global DMC lie close together, the two forests far to the right."}}
_ = plots.meta_accuracies(exam.summary(seen["whole"]))

# %%
exam.as_table(seen["whole"])

# %% [markdown]
# A vote needs nothing but more time to ask, and gains a few points, within the error. To
# learn whom to trust takes nets of its own, and gains no more. Where a slice tells
# nothing, many of them tell nothing either.
#
# What it cost: seconds of training for each question and round, on this machine and with
# as many processes as it has cores.

# %%
trainings = {
    "global": len(whole_nets) * room.n_rounds,
    "local": len(slices) * room.n_rounds * len(PARTS),
    "voters": len(whole_nets) * room.n_rounds,
}
numbers["seconds"] = {
    kind: total / trainings[kind]
    for kind, total in numbers["seconds"].items()
}
seen = recorded or numbers
pd.Series(seen["seconds"], name="seconds a training").round(1).to_frame()

# %% [markdown]
# ## Claim by claim


# %%
def claims() -> list[dict]:
    """One row a claim of sections 5.2, 5.3 and 6."""
    by_net, by_slice, whole = seen["global"], seen["local"], seen["whole"]
    told = {one: exam.skill(of["global DMC"]) for one, of in by_net.items()}
    hidden = told.pop("batch_size")
    missed = [
        one
        for one, of in by_net.items()
        if told.get(one, 1) * (1 - of["global DMC"]["chance"])
        < 2 * exam.error(of["global DMC"])
    ]
    to_svm = exam.average(
        exam.gap(of["global DMC"], of["linear SVM, 480"])
        for of in by_net.values()
    )
    to_rbf = exam.average(
        exam.gap(of["DMC"], of["RBF SVM, 16"]) for of in by_slice.values()
    )
    skills = {one: exam.skill(of["DMC"]) for one, of in by_slice.items()}
    first, second = sorted(skills, key=skills.get, reverse=True)[:2]
    spread = np.hypot(
        *(
            exam.error(of["DMC"]) / (1 - of["DMC"]["chance"])
            for of in (by_slice[first], by_slice[second])
        )
    )
    lead = skills["init"] - skills[second if first == "init" else first]
    lost = {
        one: exam.gap(by_net[one]["global DMC"], by_slice[one]["DMC"])
        for one in ("init", "dataset")
    }
    data, size = by_slice["dataset"], by_slice["filter_size"]
    in_parts = exam.gap(data["DMC, convolutions"], data["DMC, FC"])
    guessing = size["DMC, FC"]["chance"]
    beyond = (
        float(np.mean(size["DMC, FC"]["accuracies"])) - guessing,
        exam.error(size["DMC, FC"]),
    )
    voting = exam.average(
        exam.gap(of["vote"], of["a single slice"]) for of in whole.values()
    )
    rows = [
        (
            "a global DMC tells all but the batch size",
            "5.2; Fig. 2",
            f"skill {min(told.values()):.2f} or more, {hidden:.2f}; "
            + (f"at chance: {', '.join(missed)}" if missed else ""),
            "contradicts" if missed else "agrees",
        ),
        (
            "it is better than a linear SVM on 480 statistics",
            "5.2; Fig. 2",
            f"{exam.points(to_svm)} on average",
            exam.verdict(*to_svm),
        ),
        (
            "local DMCs are clearly superior to SVMs",
            "5.3; Fig. 4",
            f"{exam.points(to_rbf)} to radial basis functions",
            exam.verdict(*to_rbf),
        ),
        (
            "initialisation dominates locally",
            "5.3; Fig. 4",
            f"skill {skills['init']:.2f}, the best other one "
            f"{skills['init'] - lead:.2f}",
            exam.verdict(lead, spread),
        ),
        (
            "initialisation is more of a local property than the data set",
            "5.3; Fig. 4",
            f"slices lose {exam.points(lost['init'])}, "
            f"data set {exam.points(lost['dataset'])}",
            exam.verdict(
                lost["dataset"][0] - lost["init"][0],
                np.hypot(lost["dataset"][1], lost["init"][1]),
            ),
        ),
        (
            "the data set shows more in convolutions",
            "5.3; Fig. 4",
            f"{exam.points(in_parts)} to FC layers",
            exam.verdict(*in_parts),
        ),
        (
            "filter size shows in FC layers, too",
            "5.3; Fig. 4",
            f"{exam.points(beyond)} to chance",
            exam.verdict(*beyond),
        ),
        (
            "many slices together tell more",
            "6",
            f"{exam.points(voting)} by a vote",
            exam.verdict(*voting),
        ),
    ]
    names = ("claim", "paper", "ours", "agrees")
    return [dict(zip(names, row, strict=True)) for row in rows]


complete = bool(recorded) or not small
numbers["claims"] = [] if small else claims()
pd.DataFrame(claims()) if complete else "claims need the full run"

# %% [markdown]
# ## What it means for you
#
# - With few checkpoints, start from statistics (chapters 11 and 12). They learn in
#   seconds, from tens of nets.
# - A net that reads raw weights wants them on one scale. Some of batch norm's are far
#   larger than all others; their logarithms cost one line.
# - Ask about many slices and let them vote: it costs no training. It does not make up
#   for a classifier that has seen too few nets.
#
# ## Try
#
# - `-p profile full -p n_deep_rounds 3`: the whole exam, for a machine that has hours.
# - `Recipe(log_unit=0.0)`: raw weights, as in the paper. How far does the loss fall, and what
#   of that is left when batch norm uses its running statistics?
# - `Recipe(part="fc")`: what do fully connected layers alone tell?
#
# ## In this chapter
#
# - Deep meta-classifiers with the printed number of weights, and narrower ones.
# - One exam for all meta-classifiers: the same nets, the same rounds.
# - Whole nets told from many slices, by a vote or by a learned aggregation.

# %%
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, name, numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
