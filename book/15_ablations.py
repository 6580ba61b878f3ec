# %% [markdown]
# # Ablations
#
# *How much of a net does one need, and which of its numbers?*
#
# It depends on who reads it. **A forest on tokens learns from sixteen nets or fewer to name
# optimizer, activation and initialisation nine times in ten**; deep classifiers that
# have learned from four times as many hardly tell the first two. That is the last of three
# experiments. The others, on slices of 100 to 20,000 weights and on nets without
# batch norm, ask deep classifiers only. Where these hardly tell anything, nothing that one
# takes away can make a difference that shows: with our few nets all claims about them
# stay undecided.
#
# ## What the paper did
#
# Two experiments of {cite:t}`eilertsen2020classifying` (supplement F.2 and F.3). One
# trains local deep meta-classifiers for slices of 100 to 20,000 weights (Fig. 18). The
# other asks what batch norm has to do with it: it samples nets without batch norm, and it
# takes batch norm's numbers and the biases out of weight vectors before a classifier
# sees them (Fig. 19). A third question is ours: how many nets does each kind of
# meta-classifier need to learn from?

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the sampling, of first weights and of the rounds
device: str = "cpu"  # what DMCs train on: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos, DMCs and results go
n_fixed_runs: int = None  # overrides the profile: nets of the fixed set
n_main_runs: int = None  # overrides the profile: nets of the main set
n_plain_runs: int = None  # overrides the profile: nets without batch norm
n_deep_rounds: int = None  # overrides the profile: rounds of the DMCs
local_epochs: int = None  # overrides the profile: epochs of local DMCs
global_epochs: int = None  # overrides the profile: epochs of global DMCs

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir n_fixed_runs n_main_runs "
    "n_plain_runs n_deep_rounds local_epochs global_epochs",
)

# %%
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from nwslib import plots, report
from nwslib.meta import dmc, exam, models, tokens
from nwslib.meta.protocol import judge, labelled, rounds
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
pd.set_option("display.max_colwidth", None)  # claims are long
sizes = get_profile(
    profile,
    n_fixed_runs=n_fixed_runs,
    n_main_runs=n_main_runs,
    n_plain_runs=n_plain_runs,
    n_deep_rounds=n_deep_rounds,
    local_epochs=local_epochs,
    global_epochs=global_epochs,
)
small = sizes.name == "quick"
room = exam.open_exam(
    sizes, out_dir, data_dir=data_dir, device=device, seed=seed
)
recipes = exam.recipes(sizes, device)
ASKED = ("dataset", "augmentation", "optimizer", "activation", "init")
among = ("init",) if small else ASKED
slices = room.questions("fixed", "main", slices=True, among=among)
print(f"questions: {', '.join(slices)}")

# %% [markdown]
# ## How short may a slice be?
#
# The same nets, the same training, other lengths ({numref}`fig-slice-size`). So that the
# number of weights stays about the same, layers 6 to 11 have max-pools only while more
# than 50 places are left (the rule is ours, the paper does not print its own; it gives
# Table 3 for 5,000):

# %%
SIZES = (100, 500, 2000, 5000, 20_000)
pd.DataFrame(
    {
        f"{size:,}": {
            "pools": sum(layer.pool for layer in spec.layers),
            "weights, full width": f"{spec.n_weights:,}",
        }
        for size in SIZES
        for spec in [dmc.local_spec(5, size)]
    }
)

# %%
lengths = (500, 5000) if small else SIZES
of_size = {
    size: room.train(slices, replace(recipes["local"], size=size))
    for size in lengths
}
numbers = {
    "size": {
        str(size): {
            one: {"DMC": room.taken(one, splits, dmcs[one])}
            for one, splits in slices.items()
        }
        for size, dmcs in of_size.items()
    }
}
name = "15_ablations"
recorded = {}
if small:
    recorded = report.recorded(name, profile="full").get("numbers", {})
seen = recorded or numbers


def by(found: dict, label: str) -> pd.DataFrame:
    """One table of several exams, with what differs as a column."""
    return pd.concat(
        [
            exam.summary(each).assign(**{label: int(k)})
            for k, each in found.items()
        ]
    )


# %% mystnb={"figure": {"caption": "How often a local DMC is right by the length of its slices, a logarithmic axis; mean and standard deviation over rounds, and chance (dashed). After the paper's Fig. 18.", "name": "fig-slice-size"}, "image": {"alt": "Five panels with a line each. That of the initialisation lies far above chance and is nearly flat; the others waver around chance and rise a little to the right."}}
sized = by(seen["size"], "size")
_ = plots.accuracy_curves(sized, "size", "weights in a slice")

# %% [markdown]
# The paper calls the relation logarithmic, and steeper for the activation than for the
# data set. A straight line through each panel, in points a tenfold longer slice:


# %%
def line(rows: pd.DataFrame) -> pd.Series:
    """Slope a factor of ten, and the share of variance explained."""
    x = np.log10(rows["size"])
    fit = np.polyfit(x, rows["mean"], 1)
    rest = rows["mean"] - np.polyval(fit, x)
    spread = ((rows["mean"] - rows["mean"].mean()) ** 2).sum()
    return pd.Series(
        {"slope": fit[0], "r2": 1 - (rest**2).sum() / max(spread, 1e-12)}
    )


lines = pd.DataFrame(
    {one: line(rows) for one, rows in sized.groupby("hyperparameter")}
).T
lines.assign(slope=100 * lines["slope"]).round(2)

# %% [markdown]
# Most lines rise, none by more than two standard errors. What is told at all, the
# initialisation, is told from a hundred weights nearly as well as from 20,000.
#
# ## Without batch norm
#
# For the second experiment we sample nets of the fixed architecture that have no batch
# norm. They begin with Glorot's weights, for from the others few would learn; all else each
# draws as the fixed set's net of its number. Beside them stand the fixed set's nets of
# Glorot's weights, equally many. Each classifier is then asked twice about its test nets
# ({numref}`fig-batch-norm`): with their vectors as they are, and **stripped** of biases
# and of all that batch norm keeps.

# %%
both = exam.open_exam(
    sizes,
    out_dir,
    sets=("fixed", "plain"),
    data_dir=data_dir,
    device=device,
    seed=seed,
)
glorot = both.pool.runs[both.pool.runs["init"].str.startswith("glorot")]
WITH = {"fixed": "batch norm", "plain": "no batch norm"}
counts = glorot.groupby(["set", "dataset"]).size().unstack()
counts.rename(WITH)


# %%
def paired(one: str) -> dict[str, list]:
    """Rounds of both sets, with equally many nets of each class."""
    sizes_of = glorot.groupby(["set", one]).size().unstack(fill_value=0)
    least = sizes_of.loc[:, (sizes_of >= both.least).all()]
    if len(sizes_of) < 2 or least.shape[1] < 2:
        return {}
    count = int(least.to_numpy().min())
    there = glorot[glorot[one].isin(least.columns)]
    chosen = there.groupby(["set", one]).head(count)
    return {
        which: rounds(
            chosen[chosen["set"] == which], one, both.n_rounds, seed=seed
        )
        for which in WITH
    }


stripped = both.pool.store(
    sorted(both.store.index["snapshot"].unique())[-1:], kinds=("weight",)
)
numbers["batch norm"] = {}
pairs = {one: paired(one) for one in ("dataset", "batch_size", *ASKED[1:4])}
pairs = {one: of_sets for one, of_sets in pairs.items() if of_sets}
if small:
    pairs = dict(list(pairs.items())[:1])
for which, words in WITH.items():
    asked = {one: of_sets[which] for one, of_sets in pairs.items()}
    dmcs = both.train(asked, recipes["local"], f"{which}-")
    for one, splits in asked.items():
        numbers["batch norm"].setdefault(one, {}).update(
            {
                words: both.taken(one, splits, dmcs[one]),
                f"{words}, stripped": both.taken(
                    one, splits, dmcs[one], stripped
                ),
            }
        )
seen = recorded or numbers

# %% mystnb={"figure": {"caption": "Local DMCs for nets with and without batch norm, asked about whole vectors and about vectors without biases and batch norm (hatched); chance is dashed. After the paper's Fig. 19.", "name": "fig-batch-norm"}, "image": {"alt": "Five groups of four bars, all close to the dashed line of chance and with error bars that overlap."}}
normed = exam.summary(seen["batch norm"])
if len(normed):
    _ = plots.grouped_accuracies(
        normed.rename(columns={"model": "kind"}),
        normed.groupby("hyperparameter")["chance"].first(),
        list(dict.fromkeys(normed["model"])),
    )

# %%
exam.as_table(seen["batch norm"]) if len(normed) else "too few nets"

# %% [markdown]
# If hatched bars are as high as the plain ones beside them, the evidence is in filters
# and weight matrices, and not in what batch norm keeps of the training images. In the
# recorded run they are. But so are any bars near chance, as these are, with twelve to
# twenty nets to learn from: of the 60 without batch norm hardly more than half learned
# something, and both sets are equally large.
#
# ## How many nets does one need?
#
# Chapters 11 and 13 have other kinds of meta-classifiers for whole nets. Which of them needs how
# many nets to learn from? For {numref}`fig-data-size` the test nets stay, the training
# nets become fewer; a smaller share's are among a larger one's.

# %%
SHARES = (0.5, 1.0) if small else (0.25, 0.5, 1.0)
globally = room.questions("fixed", among=among)
fixed = room.pool.zoos["fixed"]
ids = room.pool.runs.query("set == 'fixed'")["run"].tolist()
described, of = tokens.of_zoo(fixed, ids, fixed.snapshots[-1:])
flat = described.reshape(len(described), -1)  # [nets, layers * numbers]


def learned_from(share: float) -> dict:
    """Exam of all three kinds with a share of the training nets."""
    asked = {
        one: [exam.fewer(s, room.pool.runs, one, share) for s in splits]
        for one, splits in globally.items()
    }
    prefix = f"share-{share:g}-" if share < 1 else ""
    of_whole = room.train(asked, recipes["global"], prefix)
    of_slices = room.train(asked, recipes["local"], f"{prefix}fixed-")
    return {
        one: {
            "global DMC": room.taken(one, splits, of_whole[one]),
            "local DMC, vote": room.voted(one, splits, of_slices[one]),
            "forest, tokens": exam.record(
                judge(
                    models.forest,
                    labelled(flat, of, room.pool.runs, one),
                    splits,
                    seed,
                )
            ),
        }
        for one, splits in asked.items()
    }


numbers["nets"] = {f"{share:g}": learned_from(share) for share in SHARES}
seen = recorded or numbers
curve = pd.concat([exam.summary(each) for each in seen["nets"].values()])

# %% mystnb={"figure": {"caption": "Test accuracy by the number of training nets, for three kinds of meta-classifiers of whole nets; mean and standard deviation over rounds, and chance (dashed).", "name": "fig-data-size"}, "image": {"alt": "Five panels with three lines each. The forest on tokens is on top, near 1.0 for three questions and rising for two; both kinds of deep classifiers stay below and nearly flat."}}
if len(curve):
    _ = plots.accuracy_curves(curve, "n_train", "nets to learn from")

# %% [markdown]
# Each line rises as far as its kind of classifier profits from more nets; where two of
# them cross, the one that is behind becomes the one to take. Here none cross but for
# augmentation, from its fewest nets. The forest has what it can learn about optimizer,
# activation and initialisation from the first few, and goes on learning about data set
# and augmentation. The deep classifiers' lines are nearly flat: where they would meet
# the forest's lies far beyond our nets.
#
# ## Claim by claim


# %%
def slope_error(one: str) -> float:
    """Standard error of a line's slope, from those of its points."""
    errors = [
        exam.error(each[one]["DMC"]) for each in seen["size"].values()
    ]
    x = np.log10([float(size) for size in seen["size"]])
    x -= x.mean()
    return float(np.sqrt(np.sum((x * errors) ** 2)) / np.sum(x**2))


def small_change(gap: tuple[float, float], most: float = 0.05) -> str:
    """Verdict on a difference that is said to be small."""
    size, error = abs(gap[0]), gap[1]
    return exam.verdict(-size, error, -most)


def claims() -> list[dict]:
    """One row a claim of supplements F.2 and F.3."""
    found = seen["batch norm"].values()
    without = exam.average(
        exam.gap(of["no batch norm"], of["batch norm"]) for of in found
    )
    stripped = {
        kind: exam.average(
            exam.gap(of[f"{kind}, stripped"], of[kind]) for of in found
        )
        for kind in WITH.values()
    }
    errors = {one: slope_error(one) for one in lines.index}
    rising = [
        exam.verdict(lines["slope"][one], errors[one]) for one in errors
    ]
    grows = "undecided"
    if "contradicts" in rising:
        grows = "contradicts"
    elif set(rising) == {"agrees"} and lines["r2"].median() > 0.8:
        grows = "agrees"
    both = ("activation", "dataset")
    steeper = lines["slope"]["activation"] - lines["slope"]["dataset"]
    changes = {small_change(gap) for gap in stripped.values()}
    rows = [
        (
            "accuracy grows with the logarithm of the slice's length",
            "F.2; Fig. 18",
            f"{rising.count('agrees')} of {len(rising)} rise; a line "
            f"explains {lines['r2'].min():.0%} to {lines['r2'].max():.0%}",
            grows,
        ),
        (
            "steeper for the activation than for the data set",
            "F.2; Fig. 18",
            " and ".join(
                exam.points((lines["slope"][one], errors[one]))
                for one in both
            )
            + " a factor of ten",
            exam.verdict(steeper, np.hypot(*(errors[one] for one in both))),
        ),
        (
            "batch norm makes little difference",
            "F.3; Fig. 19",
            f"{exam.points(without)} without it",
            small_change(without),
        ),
        (
            "stripping changes little",
            "F.3; Fig. 19",
            f"{exam.points(stripped['batch norm'])} with batch norm, "
            f"{exam.points(stripped['no batch norm'])} without",
            "contradicts"
            if "contradicts" in changes
            else "undecided"
            if "undecided" in changes
            else "agrees",
        ),
    ]
    names = ("claim", "paper", "ours", "agrees")
    return [dict(zip(names, row, strict=True)) for row in rows]


complete = {"activation", "dataset"} <= set(lines.index) and len(normed)
numbers["claims"] = claims() if complete and not small else []
pd.DataFrame(claims()) if complete else "claims need the full run"

# %% [markdown]
# ## What it means for you
#
# - Draw such a curve of your own before you collect more checkpoints: if it is flat, more of
#   the same will not help.
# - To know whether a classifier reads the weights or a by-product of training, strip
#   the by-product from the test nets. No second training is needed.
#
# ## Try
#
# - `pool.store(kinds=("weight", "bias"))`: strip only what batch norm keeps.
# - `python -m nwslib sample ZOO --plain`: nets without batch norm, as many as you have
#   time for.
#
# ## In this chapter
#
# - Local meta-classifiers of short and of long slices.
# - Nets without batch norm, and vectors stripped of it.
# - How much each kind of meta-classifier learns from how many nets.

# %%
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, name, numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
