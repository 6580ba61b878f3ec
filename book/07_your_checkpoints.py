# %% [markdown]
# # Your own checkpoints
#
# *A folder full of checkpoints, names and dates lost: which came from which?*
#
# Weights tell. Which checkpoints are one training run's, and how many runs there
# are, comes out almost without an error: on MNIST 248 and 245 families for 250
# nets each. Their order comes out nearly as well, if one asks all distances at
# once and not only the shortest, as the paper does (chapter 04). Copies in fewer
# bits are recognised with certainty. Branches, where a net was copied and trained
# on, are found when they went somewhere else, their parent to within a checkpoint
# or two; a branch that saw more of the same data stays in its twin's company and
# passes for a part of its run.
#
# ```sh
# papermill 07_your_checkpoints.ipynb mine.ipynb -p checkpoints FOLDER
# python -m nwslib lineage FOLDER --out DIR   # files only, no chapter
# ```
#
# ## What others did
#
# {cite:t}`schuerholt2020version` propose weight space as the basis of version
# control for nets, assign snapshots to nets, and order them by decreasing
# distance to the nearest. They take the number of nets as given and every net as
# a chain. {cite:t}`horwitz2025unsupervised` recover trees: which published model
# was fine-tuned from which, by a spanning tree of weight distances, its direction
# by the kurtosis of weights (how heavy the tails of their distribution are).
# Each of their nets is a finished model; ours are a training's checkpoints, and
# below we see what kurtosis tells of those.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the zoos, and of the example folder
device: str = "cpu"  # where nets train: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_models: int = None  # overrides the profile: nets in each zoo
checkpoints: str = None  # folder of your own, else an example is made

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir n_models checkpoints",
)

# %%
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import kurtosis

from nwslib import (
    data,
    papers,
    plots,
    readings,
    report,
    retraining,
    shifts,
)
from nwslib.checkpoints import find
from nwslib.lineage import recover, write_lineage
from nwslib.lineage.example import write_example
from nwslib.lineage.trials import branch_trials, relatives
from nwslib.nets import get_net
from nwslib.profiles import get_profile
from nwslib.trajectory.trials import (
    compare_cues,
    compare_methods,
    link_calibration,
)

started = time.time()
plots.use_book_style()
sizes = get_profile(profile, n_models=n_models)
images = data.load(sizes.data, data_dir, size=14)
pd.set_option("display.max_colwidth", None)
given = recover(checkpoints) if checkpoints else None  # first of all
print(
    f"profile {sizes.name}: 2 x {sizes.n_models} nets, "
    f"{sizes.epochs} epochs; checkpoints: {checkpoints or 'an example'}"
)

# %% [markdown]
# ## Nets whose history is known
#
# The two zoos of chapter 02. Everything below is measured on them before it is
# believed about a folder where nobody knows the truth.

# %%
zoos, weights = {}, {}  # weights: [nets, epochs + 1, weights]
for net in ("A1", "A2"):
    zoos[net] = readings.paper_zoo(
        net, sizes, images, out_dir, seed=seed, device=device
    )
    weights[net] = zoos[net].weights(zoos[net].select(diverged=False))
    print(f"{net}: {weights[net].shape[0]} nets")

# %% [markdown]
# And nets that went two ways: each is taken up again in the middle of its
# training, without the optimizer's state, as one takes up a checkpoint. Six ways
# to go on:
#
# - `same data`: the usual images in another order;
# - `lower rate`: the same, at a tenth of the learning rate;
# - `class missing`: nine of the ten digits;
# - `rotated`: images turned by 60°;
# - `labels permuted`: every digit gets another one's name;
# - `photographs`: patches of two photographs instead of digits.

# %%
LEFT_AT = min(sizes.epochs, 20) // 2  # epoch at which a net goes two ways
EPOCHS = 5  # of the second way
pixels, labels = images.train_images, images.train_labels
other_names = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
same, condition = retraining.all_of(pixels, labels), retraining.Condition
ways = {
    "same data": condition(same),
    "lower rate": condition(same, lr=0.1),
    "class missing": condition(
        retraining.without_class(pixels, labels, images.n_classes)
    ),
    "rotated": condition(
        retraining.all_of(shifts.rotate(pixels, 60), labels)
    ),
    "labels permuted": condition(
        retraining.all_of(pixels, other_names[labels])
    ),
    "photographs": condition(
        retraining.all_of(*shifts.photo_patches(len(labels), 14, seed))
    ),
}


def take_up(net: str) -> retraining.Start:
    """Some of a zoo's nets as they were at epoch ``LEFT_AT``."""
    taken = torch.tensor(weights[net][: sizes.n_shift_models, LEFT_AT])
    nothing = torch.zeros_like(taken)
    reading = readings.CHOSEN[net]
    return retraining.Start(
        get_net(net),
        reading,
        tuple(reading.recipes(len(taken), seed)),
        images,
        retraining.Plan(images=len(labels)),
        device,
        weights=taken[:, None].numpy(),
        accuracy=np.full((len(taken), 1), np.nan),
        state=(taken, nothing, nothing),
        steps=0,
    )


branches = {
    (net, way): retraining.continue_training(
        take_up(net), way, change, after=EPOCHS
    ).weights  # [nets, EPOCHS, weights]
    for net in zoos
    for way, change in ways.items()
}

# %% [markdown]
# ## The folder
#
# Yours, if you gave one. Else an example such as people have: nested folders,
# names that say nothing, two architectures, four formats, some runs and one
# branch. One checkpoint is there twice, one in half precision, one quantised to
# 8 bits. One net is related to nothing. One file would run code if it were
# loaded carelessly, and one was cut short.

# %%
truth = None
if checkpoints is None:
    folder = Path(out_dir) / "example-checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    every = max(sizes.epochs // 10, 1)
    runs, layouts = {}, {net: zoos[net].layout for net in zoos}
    for net in zoos:
        for k in range(min(2, len(weights[net]) - 1)):
            run = weights[net][k, ::every]
            runs[f"{net}, net {k}"] = (layouts[net], run)
    went_on = branches["A1", "rotated"][0]
    runs["A1, net 0, rotated"] = (layouts["A1"], went_on)
    runs["A1, another net"] = (layouts["A1"], weights["A1"][-1, -1:])
    truth = write_example(
        folder,
        runs,
        {"A1, net 0, rotated": ("A1, net 0", LEFT_AT // every)},
        seed,
    )
else:
    folder = Path(checkpoints)
print(f"{len(find(folder)[0])} checkpoints")

# %% [markdown]
# One call. It reads every file once, without running anything a file brings
# along, and looks neither at names and dates nor at counters that a checkpoint
# holds.

# %%
lineage = given or recover(folder)
written = write_lineage(
    lineage, Path(out_dir) / "lineage", plots.lineage_pictures(lineage)
)
print(
    f"{len(lineage.runs)} runs and branches, {len(lineage.links)} links, "
    f"{len(lineage.rejected)} rejected"
)
print("written:", ", ".join(path.name for path in written))

# %% mystnb={"figure": {"caption": "The folder's lineage: a lane is a run or a branch, a shade an architecture. Copies hang below their original.", "name": "fig-lineage"}, "image": {"alt": "Horizontal lanes of dots joined by lines; where the folder has a branch, a lane leaves another one in its middle; copies hang below dots as small open marks, unrelated checkpoints stand alone as crosses."}}
_ = plots.lineage_tree(lineage)

# %% [markdown]
# What {numref}`fig-lineage` draws is also in `lineage.csv`, a row for each
# checkpoint, and in `lineage.json` as runs and links. The first rows of the table:

# %%
table = lineage.table()
shown = table[["path", "run", "kind", "parent", "confidence"]].head(9)
shown.round(2).astype(object).fillna("")

# %% [markdown]
# How many checkpoints are there of each kind?

# %%
table.groupby("kind").size().rename("checkpoints").to_frame()

# %% [markdown]
# And what was refused, why, and what to do about it:

# %%
pd.DataFrame(
    [(each.path, each.reason) for each in lineage.rejected],
    columns=["rejected", "reason"],
)

# %% [markdown]
# ## Was it right?
#
# Of the example we know.


# %%
def compare(lineage, truth) -> pd.DataFrame:
    """What was planted beside what was found."""
    link_to = {link.child: link for link in lineage.links}
    run_of = {p: run.id for run in lineage.runs for p in run.checkpoints}
    found = dict(zip(table["path"], table["kind"], strict=True))
    # Which of two equal files is called the copy is nobody's mistake.
    twin = {t.path: t.parent for t in truth if t.kind == "duplicate"}
    twin |= {parent: path for path, parent in twin.items()}
    rows = []
    for planted in truth:
        path = planted.path
        alike = {path, twin.get(path)}
        parents = {link_to[p].parent for p in alike if p in link_to} - alike
        wanted = {planted.parent} - alike - {None}
        rows.append(
            {
                "run": planted.run,
                "found as": run_of[path],
                "parent": not wanted or bool(wanted & parents),
                "kind": planted.kind in {found.get(p) for p in alike},
            }
        )
    table_ = pd.DataFrame(rows)
    return table_.groupby("run", sort=False).agg(
        checkpoints=("found as", "size"),
        found_as=("found as", lambda ids: ", ".join(sorted(set(ids)))),
        right_parents=("parent", "mean"),
        right_kinds=("kind", "mean"),
    )


if truth is None:
    print("nobody knows: these checkpoints are yours.")
None if truth is None else compare(lineage, truth).round(2)

# %% [markdown]
# ## How runs are told apart
#
# Take each snapshot's weights, less each layer's mean, and the cosine of any two
# snapshots. Nets that were initialised apart have nothing in common, however long
# they train: hidden units have no natural order, so what one net's unit does,
# another one's does elsewhere. A net keeps much of its direction from one
# checkpoint to the next. So two snapshots count as related if their cosine is
# six times what chance gives, and at least 0.1; single linkage does the rest.
# Nobody tells how many nets there are. In the whole zoos, initial weights
# included:

# %%
related = {}
for net, points in weights.items():
    nets = np.repeat(np.arange(len(points)), points.shape[1])
    related[net] = relatives(
        points.reshape(len(nets), -1), nets, zoos[net].layout
    )
pd.DataFrame(
    {
        net: {
            "nets": len(weights[net]),
            "families found": found.families,
            "purity": found.purity,
            "cosine: least of own neighbours": found.own,
            "cosine: related from": found.least,
            "cosine: greatest of different nets": found.others,
        }
        for net, found in related.items()
    }
).round(3)

# %% [markdown]
# Among a few dozen nets no two are mistaken for one. Among 250 a few are: their
# snapshots make 81 million pairs, the nets are small, and the most alike of all
# strangers come out a little over the limit.
#
# ## How a run is put in order
#
# The paper's rule, decreasing distance to the nearest, uses one number of each
# snapshot. The others use the whole table of distances. *Towards the end* and
# *nearest next* are simple ways to do so; *principal coordinate* takes the one
# direction in which the run extends most; *shortest path* is the travelling
# salesman's; *spectral* and *log-lag seriation* come from archaeology, where
# finds are put in a row so that the more two differ, the further apart they
# stand. Log-lag seriation, the one used here, seeks the order with the greatest
# sum of distance times log(1 + places between). The last four are turned so that
# the end that lies further from everything comes first: nets take long steps
# first.
#
# Kendall's $\tau$ is 1 for the right order and -1 for its reverse. The paper's
# two measures, ordered initial epochs and the share of ordered epochs, count ties
# fairly here; the printed numbers seem not to (chapter 04). Means over nets.

# %%
epochs = np.arange(1, sizes.epochs + 1)
methods = {
    net: compare_methods(
        list(weights[net][:, 1:]), [epochs] * len(weights[net])
    )
    for net in zoos
}
columns = {
    "tau": "tau",
    "ordered_initial": "initial epochs",
    "ordered_pairs": "ordered",
}


def order_table(net: str) -> pd.DataFrame:
    """The three measures of every method, and two of the paper's print."""
    digits = {"tau": 3, "ordered_initial": 1, "ordered_pairs": 3}
    found = methods[net][list(columns)]
    print_ = vars(papers.CLUSTER_TABLES[net][0])
    found.loc["decreasing distance, printed"] = pd.Series(print_)
    return (
        found.round(digits)
        .rename(columns=columns)
        .astype(object)
        .fillna("")
    )


order_table("A1")

# %%
order_table("A2")

# %% [markdown]
# ## Which end is first
#
# Distances do not tell a path from its reverse; something has to be added. Four
# ways to say that nets slow down, and the kurtosis of the weights, which should
# grow with training. The table has the share of nets whose direction comes out
# right, given the order but not which way it runs: for the whole run, and for its
# second half alone, where steps hardly shrink any more.


# %%
def directions(points: np.ndarray) -> pd.Series:
    """Share of runs [nets, n, weights] that a cue turns the right way."""
    found = compare_cues(
        list(points), [range(points.shape[1])] * len(points)
    )
    ends = kurtosis(points[:, [0, -1]], axis=-1)  # [nets, 2]
    found["kurtosis grows"] = float((ends[:, 1] > ends[:, 0]).mean())
    return found


half = sizes.epochs // 2
direction = pd.DataFrame(
    {
        f"{net}, {part}": directions(weights[net][:, first:])
        for net in zoos
        for part, first in (("whole", 0), ("late", half + 1))
    }
)
direction.round(2)

# %% [markdown]
# The mean distance of each end to everything else uses all of the run, and is
# what decides here. Kurtosis mostly grows, but not on all data and not in every
# kind of net; distances are right more often.
#
# ## How sure a link is
#
# A link between neighbours goes wrong when two snapshots trade places. Every
# other snapshot has a say in that: is it nearer to the one that stands on its
# side? How clearly they speak becomes the link's confidence. {numref}`fig-calibration`
# holds it against the truth, for single runs of the zoos, once in order.

# %% mystnb={"figure": {"caption": "Share of links that join an epoch to the next, by confidence; a dot's size is its share of all links. On the dashed line confidence is what it says, above it too modest.", "name": "fig-calibration"}, "image": {"alt": "Two panels, one for each zoo: share of right links over confidence, rising from lower left to upper right, most of it on or above the diagonal."}}
calibrated = {
    net: link_calibration(
        list(weights[net][:, 1:]), [epochs] * len(weights[net])
    )
    for net in zoos
}
_ = plots.calibration(calibrated)

# %% [markdown]
# ## Branches
#
# Two paths that part go on at right angles to each other: in a thousand
# dimensions, any two unrelated directions do. So a checkpoint from which three
# ways lead, no two of them in one direction, is a fork. Everything else is taken
# for one path, since noise alone never looks like that. How often is a fork
# found? Nets of both zoos with 21 checkpoints and a branch of 5 that leaves
# after half of them.

# %%
trunks = {net: w[:, : 2 * LEFT_AT + 1] for net, w in weights.items()}
trees, links = {}, []
for (net, way), branch in branches.items():
    trees[net, way], found = branch_trials(
        trunks[net][: len(branch)], LEFT_AT, branch
    )
    links.append(found)
for net, trunk in trunks.items():
    trees[net, "no branch"], found = branch_trials(trunk, 0, trunk[:, :0])
found_share = pd.DataFrame(
    {
        (net, way): {
            "apart": tree["apart"].mean(),
            "parent": tree["parent"].mean(),
            "near": tree["near"].mean(),
            "root": tree["root"].mean(),
            "one run": (tree["strands"] == 1).mean(),
        }
        for (net, way), tree in trees.items()
    }
).T
found_share.round(2)

# %% [markdown]
# Shares of nets. *Apart*: the branch is one of the runs found, not a checkpoint
# more or less. *Parent*: it leaves from the right checkpoint; *near*: from that or
# a neighbour of it. *Root*: the earliest checkpoint is found. *One run*: no fork is
# seen. For nets without a branch only the last two mean something: noise is not
# taken for a fork.
#
# Forks are found where branches learn something else; that a digit is missing is
# seen nearly every time in A1, half the time in A2. More of the same cannot be seen: two
# nets that go the same way lie closer to each other than to their own last
# checkpoints, and only what differs between them parts at right angles.
#
# {numref}`fig-branch-calibration` shows how sure the links of all these trees are.

# %% mystnb={"figure": {"caption": "The same for the trees with a branch: steps within runs, and the links from which branches leave.", "name": "fig-branch-calibration"}, "image": {"alt": "Two panels, steps and branches: share of right links over confidence with the diagonal as the ideal."}}
links = pd.concat(links)


def binned(found: pd.DataFrame) -> pd.DataFrame:
    """Links, mean confidence and share of right ones in fifths."""
    fifth = pd.cut(found["confidence"], np.linspace(0, 1, 6))
    bins = found.groupby(fifth, observed=True)
    return pd.DataFrame(
        {
            "links": bins.size(),
            "confidence": bins["confidence"].mean(),
            "right": bins["right"].mean(),
        }
    )


by_kind = {
    f"{kind}s" if kind == "step" else "branches": binned(found)
    for kind, found in links.groupby("kind", sort=False)
}
_ = plots.calibration(by_kind)

# %% [markdown]
# Steps are about as sure as they say. A link from which a branch leaves is right
# about every other time, and its confidence hardly tells when; mostly it is wrong
# by one checkpoint.
#
# ## What breaks it
#
# - **More of the same.** A copy that trains on the same data at the same rate
#   moves along with its twin. Both come out as one run, or in pieces. A branch at
#   a much lower rate cannot be told from a few more checkpoints of the path.
# - **A long way off.** The further a branch's first checkpoint is from its run, as
#   after learning something else at a high rate, the less do small differences in
#   distance tell which checkpoint it left. The branch is found; its parent is only
#   about right.
# - **Long gaps.** Two checkpoints of one run are related as long as their cosine
#   exceeds what chance gives. Small nets that train long forget their
#   initial weights; if nothing between is there, they come out as strangers.
# - **Speeding up.** Learning rates that are warmed up over many checkpoints, or
#   that come back in cycles, break the rule that early steps are longer. The
#   order stays; its direction may turn.
# - **A lost ancestor.** Nets fine-tuned from one that is not in the folder are
#   related, and one of them will pass for the others' parent.
# - **Averages** of several nets are related to all of them, and tie their
#   families together. **Permuted** hidden units make a net a stranger to itself;
#   so does **pruning** most of it, and re-initialising layers. **Integers** with
#   scales beside them, as some programs store quantised weights, are another
#   architecture here; weights that were made numbers again are recognised.
#
# ## What it means for you
#
# Trust the grouping and the copies. Trust an order as far as its confidence
# says. Look at branches in the picture, and take a branch's parent as *about
# here*. Whatever names and dates you still have were not used: hold them against
# the result, and where both agree you can be rather sure.
#
# ```python
# from nwslib.lineage import recover
#
# lineage = recover("my/checkpoints")
# lineage.table()  # path, run, position, kind, parent, distance, confidence
# ```
#
# Five thousand checkpoints of a million weights take minutes and a few GB of
# memory on two cores; appendix *How fast is it?* has the numbers. Weights that
# would not fit are shortened by random signs {cite:p}`charikar2002finding`, which
# keeps distances to half a percent.
#
# ## Try
#
# - A folder of your own.
# - Rename every file of the example and run `recover` again: nothing changes but
#   the names.
# - Leave every second checkpoint out of a run: the order gets better. Why?
#
# ## In this chapter
#
# - The number of runs and their members come from cosines; none is told.
# - Seven ways to put a run in order, in Kendall's tau and the paper's measures.
# - Branches are found where three ways lead off at right angles; which ones are
#   not found.
# - A confidence for each link, held against the truth.

# %%
numbers = {
    "relatives": {net: vars(found) for net, found in related.items()},
    "order": {net: methods[net].T.to_dict() for net in methods},
    "direction": direction.to_dict(),
    "link_calibration": {
        net: calibrated[net].to_dict("records") for net in calibrated
    },
    "branches": {
        net: {
            way: found_share.loc[net, way].to_dict()
            for way in (*ways, "no branch")
        }
        for net in zoos
    },
    "tree_calibration": {
        kind: bins.to_dict("records") for kind, bins in by_kind.items()
    },
}
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "07_your_checkpoints", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
