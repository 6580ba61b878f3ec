# %% [markdown]
# # A map of the weight space
#
# *Project the weights of a thousand nets onto a plane. Does it show how they were
# trained, and what else is it a picture of?*
#
# It shows some of it. Nets of one initialisation and one activation lie
# together, and failed ones too; data set and optimizer show less, augmentation
# and batch size hardly. But the map is drawn from something else than its title
# says. The paper counts batch norm's running statistics among the weights, and
# nearly all of the variance that the map is made of lies in them: in how far the
# images' signals spread inside the nets. In a map of the learned weights alone, the
# activation fades from the picture, and most nets are islands of their own.
#
# ## What the paper did
#
# {cite:t}`eilertsen2020classifying` (supplement B) took the convolutions of 3,000
# nets of the fixed architecture, 16,880 numbers each, at 20 points of their
# training. The 60,000 vectors were reduced to their 10 first principal
# components, and those laid out in the plane by UMAP {cite:p}`mcinnes2018umap`.
# Fig. 13 is that plane in eight colourings. The text draws four conclusions:
#
# 1. a rather small set of components holds the majority of the variance;
# 2. optimizer, activation and initialisation show clear patterns;
# 3. most initial weights lie together, and many nets of constant initialisation
#    fail, above all with the sigmoid;
# 4. small clusters off the main body are trainings that got stuck.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the sampling and of UMAP
device: str = "cpu"  # nets train on the CPU, a process a core
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_fixed_runs: int = None  # overrides the profile: nets of the fixed set

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(), "profile seed device data_dir out_dir n_fixed_runs"
)

# %%
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster

from nwslib import nws, papers, plots, report
from nwslib.clustering import single_linkage
from nwslib.explorer import explorer
from nwslib.neighbours import agreement, nearest_of_others
from nwslib.nws.conv_map import KINDS, LEARNED, conv_components
from nwslib.nws.table import threshold_of
from nwslib.profiles import get_profile
from nwslib.reduction import umap_plane

started = time.time()
plots.use_book_style()
sizes = get_profile(profile, n_fixed_runs=n_fixed_runs)
plan = sizes.sampling(fixed_architecture=True, seed=seed)
zoo = nws.sample(
    Path(out_dir) / "zoos" / plan.name,
    plan,
    sizes.n_fixed_runs,
    data_dir=data_dir,
    progress=False,
)
runs = zoo.runs[~zoo.runs["diverged"]]
left_out = len(zoo.runs) - len(runs)
print(
    f"profile {sizes.name}: {len(runs)} nets, {left_out} diverged left out"
)

# %% [markdown]
# Where this build is a small one, figures and tables below are the recorded run
# of profile `full`.

# %%
name = "10_map_of_weight_space"
recorded = {}
if sizes.name == "quick":
    recorded = report.recorded(name, profile="full").get("numbers", {})

# %% [markdown]
# ## The points
#
# One row a snapshot: what its net drew, how far its training had come, and its
# test error at that moment.

# %%
points = runs.assign(epoch=runs["kept_epochs"].str.split())
points = points.explode("epoch").astype({"epoch": int})
points["snapshot"] = points.groupby("run").cumcount()
tests = zoo.history[zoo.history["split"] == "test"]
points = points.merge(tests, on=["run", "epoch"]).assign(
    progress=lambda row: row["epoch"] / row["epochs"],
    test_error=lambda row: 1 - row["accuracy"],
)
points = points.sort_values(["run", "snapshot"], ignore_index=True)
least = {"digits": papers.NWS_THRESHOLDS["mnist"]}  # ours, for a like set
bar = points["dataset"].map(lambda dataset: threshold_of(dataset, least))
points["failed"] = points["test_accuracy"] < bar
print(f"{len(points):,} points of {points['run'].nunique()} nets")

# %% [markdown]
# ## Ten components
#
# 1,000 nets' convolutions are 1.3 GB, the paper's 3,000 are 4 GB. Incremental
# PCA reads five nets at a time and never holds more: it carries 50 components
# from batch to batch and rotates them as new nets come in, and the first 10 come
# out as from all points at once. Coordinates are centred but not scaled.
#
# We do it twice: once with all 16,880 numbers, as the paper, and once with the
# **learned** ones only, which leaves out the running mean and variance that
# batch norm keeps for each channel. No optimizer moves those; they record what
# the images' signals look like inside the net.

# %%
readings = {"all": KINDS, "learned": LEARNED}
parts = {
    reading: conv_components(zoo, runs["run"].tolist(), kinds=kept)
    for reading, kept in readings.items()
}
numbers = {
    "explained": {
        reading: part.explained.tolist() for reading, part in parts.items()
    },
    "by kind": {reading: part.by_kind for reading, part in parts.items()},
}
seen = recorded or numbers
explained = pd.DataFrame(seen["explained"], index=range(1, 11))
explained.loc["all ten"] = explained.sum()
explained.rename_axis("component").round(3).T

# %% [markdown]
# The first conclusion of the paper holds, in its reading (`all`): ten components hold
# nearly all of the variance, and most of it is in the first. In the learned weights
# they do not, and no component stands out. Where does the variance lie?

# %%
kinds = pd.DataFrame(seen["by kind"]).rename_axis("kind")
kinds.map(lambda share: "" if np.isnan(share) else f"{share:.4%}")

# %% [markdown]
# In the running variances, 56 of the 16,880 numbers. A learned weight is of the
# order of one at most. A running variance is not: with constant initial weights
# of 0.1, or normal ones as wide as 1, the 200 or 400 inputs of a filter add up to
# signals that spread over hundreds. Glorot's keep them near one. Here is the mean
# running variance of the last convolution, the median over nets, and how close to it
# the first component is.

# %%
last = max(
    (piece for piece in zoo.layout if piece.layer.startswith("conv")),
    key=lambda piece: (piece.kind == "var", piece.start),
)
spread = np.stack(
    [
        zoo.weights([run])[0, :, last.start : last.stop].mean(axis=1)
        for run in runs["run"]
    ]
)  # [runs, snapshots]
first = parts["all"].points[:, :, 0]
r = np.corrcoef(first.ravel(), spread.ravel())[0, 1]
numbers["first component"] = {f"|r| with {last.name}": abs(float(r))}
of_net = pd.Series(spread[:, -1], index=runs["init"].to_numpy())
numbers["running variance"] = of_net.groupby(level=0).median().to_dict()
print({name: round(r, 3) for name, r in seen["first component"].items()})
pd.Series(seen["running variance"]).round(1).to_frame("variance").T

# %% [markdown]
# They are nearly the same. So {numref}`fig-map-all`, below, is a map of the signals
# inside the nets rather than of weights.
#
# The learned weights have the opposite trouble. Normally distributed initial
# weights point in a direction of their own in every net, and a thousand random
# directions have no ten that hold more than the next ten.
#
# ## The plane
#
# UMAP links each point to its nearest neighbours in the ten dimensions and
# spreads the links out in a plane: {numref}`fig-map-all` has the paper's reading,
# {numref}`fig-map-learned` ours. The paper names no settings, so these are UMAP's
# own: 15 neighbours, minimum distance 0.1, with a seed.

# %%
planes = {
    reading: umap_plane(
        part.points.reshape(len(points), -1),
        seed,
        neighbours=15,
        min_dist=0.1,
    )
    for reading, part in parts.items()
}
columns = [
    *("run", "snapshot", "dataset", "lr", "augmentation", "optimizer"),
    *("activation", "init", "failed", "progress", "test_error"),
]
own = points[columns].astype(
    {"progress": "float32", "test_error": "float32"}
)
for reading, plane in planes.items():
    own[[f"x_{reading}", f"y_{reading}"]] = plane
shown = report.larger_table("nws-map", own, sizes.name)
print(f"shown: {len(shown):,} points of {shown['run'].nunique()} nets")

# %% mystnb={"figure": {"caption": "UMAP of the first ten principal components of all 16,880 numbers in the convolutions, 20 snapshots a net, in eight colourings. After the paper's Fig. 13.", "name": "fig-map-all"}, "image": {"alt": "Eight copies of one scatter plot, a few branching bodies amid many small spots. Coloured by initialisation, by activation and by test error the bodies have colours of their own, and along the largest the learning rate rises; coloured by data set, augmentation and optimizer they are mixed."}}
_ = plots.weight_map(shown[["x_all", "y_all"]], shown)

# %% mystnb={"figure": {"caption": "The same from the learned weights only, without batch norm's running statistics.", "name": "fig-map-learned"}, "image": {"alt": "Eight copies of one scatter plot: most nets are small separate spots scattered evenly over the plane, in all colours; in the middle lies a tangle of nets with constant initialisation and high test error."}}
_ = plots.weight_map(shown[["x_learned", "y_learned"]], shown)

# %% [markdown]
# Both planes to explore. Choose what colours mean, and press an entry of the legend
# to keep that group alone in colour; drag, pinch or use the buttons to move and
# zoom; click a point to pick its net. By keyboard: Tab to the plane, then arrows,
# + and - move and zoom, n and p go from net to net, a comma and a full stop from
# snapshot to snapshot, Escape clears.

# %%
explorer(
    {
        "all numbers": shown[["x_all", "y_all"]],
        "learned weights": shown[["x_learned", "y_learned"]],
    },
    shown[columns],
    title="Map of the weight space",
    step="snapshot",
    colour="init",
    paths=False,
)

# %% [markdown]
# ## How to read it
#
# With care. UMAP keeps neighbours together as well as a plane allows, and
# nothing else. Distances between clumps, their sizes and densities, and where on
# the page they lie mean nothing; another seed or another number of neighbours
# gives another picture. And a net's 20 snapshots are each other's nearest
# neighbours, more than the 15 that each point is linked to. So the picture is
# mostly made of links within nets, and a net that hangs together has one colour
# in six of the eight panels whatever the colour means. A thousand random
# beads in four colours look like a pattern, too.
#
# So we ask with numbers, and with nets kept apart.
#
# ## What shows, in numbers
#
# Take a snapshot and find the nearest snapshot **of another net**. How often was
# that net trained with the same optimizer? If the optimizer does not show, as
# often as with any other net: chance. Shares are means over nets, with 95 %
# intervals from bootstrap samples of nets; initial weights are left out, for
# they know nothing but their initialisation yet. In the ten components, where
# nothing has been squeezed, and in the plane, where the eye looks.

# %%
spaces = {
    (reading, space): place
    for reading, part in parts.items()
    for space, place in {
        "PCA-10": part.points.reshape(len(points), -1),
        "plane": planes[reading],
    }.items()
}
initial = points["snapshot"] == 0
sigmoid = points["activation"] == "sigmoid"
worst = (points["init"] == "constant") & sigmoid
asked = {  # question: (labels, whose neighbours are looked at)
    **{
        label: (points[label], ~initial)
        for label in (
            *("init", "activation", "optimizer", "dataset"),
            *("augmentation", "batch_size", "failed"),
        )
    },
    "initial weights": (initial, initial),
    "constant + sigmoid": (worst, worst & ~initial),
}


# %%
def agreements(place: np.ndarray) -> dict:
    """Of each question: share, its interval, and chance."""
    nearest = nearest_of_others(place, points["run"])
    return {
        question: vars(agreement(nearest, points["run"], labels, counted))
        for question, (labels, counted) in asked.items()
        if points["run"][counted].nunique() > 1
    }


numbers["neighbours"] = {
    f"{reading}, {space}": agreements(place)
    for (reading, space), place in spaces.items()
}


def with_interval(found: dict) -> str:
    """A share and its 95 % interval."""
    share, low, high = (f"{found[k]:.2f}" for k in ("share", "low", "high"))
    return f"{share} [{low}, {high}]".replace("0.", ".")


def as_table(by_space: dict) -> pd.DataFrame:
    """A row a question, a column a space, chance last."""
    table = pd.DataFrame(
        {
            space: {q: with_interval(found) for q, found in rows.items()}
            for space, rows in by_space.items()
        }
    )
    rows = next(iter(by_space.values()))
    chance = [f"{rows[q]['chance']:.2f}" for q in table.index]
    table["chance"] = [text.replace("0.", ".") for text in chance]
    return table


as_table(seen["neighbours"])

# %% [markdown]
# In the paper's reading (`all`), initialisation and activation show far above
# chance, which confirms the second conclusion for these two; the optimizer shows
# less, even less than the data set does, and augmentation and batch size hardly. The
# plane loses some of what the ten components hold, the activation above all. In the
# learned weights most of the activation is gone; the initialisation stays.
#
# The third conclusion holds, too, and has a simple reason: batch norm's running
# variances start at 1 in every net, whatever its weights. So all nets begin at
# nearly one place on this map, and in the `learned` reading, where initial
# weights count, they do not: only nets that begin with the same constant do.
# And nets of constant initialisation and sigmoid have each other for neighbours.
#
# ## Islands
#
# Do the small clusters off the main body consist of trainings that got stuck? An
# island here is a piece of the plane that is nowhere closer than 0.5 to the
# rest, five times UMAP's minimum distance; the largest piece is the main body.
# A net is on an island if most of its snapshots are.


# %%
def islands(reading: str) -> dict:
    """Pieces of a plane; failures on and off the largest one."""
    plane = shown[[f"x_{reading}", f"y_{reading}"]].to_numpy()
    piece = fcluster(single_linkage(plane), 0.5, criterion="distance")
    off = pd.Series(piece != np.bincount(piece).argmax())
    nets = pd.DataFrame({"off": off, "failed": shown["failed"]})
    nets = nets.groupby(shown["run"].to_numpy()).mean()
    on_island = nets["off"] > 0.5
    return {
        "pieces": len(set(piece)),
        "nets on islands": int(on_island.sum()),
        "of them failed": nets["failed"][on_island].mean(),
        "nets on the main body": int((~on_island).sum()),
        "of those failed": nets["failed"][~on_island].mean(),
    }


numbers["islands"] = {reading: islands(reading) for reading in readings}
pd.DataFrame.from_dict(numbers["islands"], orient="index").round(2)

# %% [markdown]
# In the paper's reading the fourth conclusion holds in part: nets on islands have
# failed much more often than those of the largest piece. But where three of four nets
# are on islands there is no main body to speak of, and two of five nets on islands
# are no failures. In the learned weights it is the other way round: the largest piece
# is that of the constant initialisations, nearly all of which failed, and the
# successful are islands, each net its own.

# %% [markdown]
# ## What it means for you
#
# - Before you call a picture one of weights, look where the variance comes from.
#   One kind of number on a larger scale is enough to make all of it.
# - Leave out what an optimizer does not move, or scale it, before you compare
#   nets by distance. Chapters 03 and 04 had it easier: their nets have no batch
#   norm.
# - Check a pattern in a projection with neighbours from other groups, in the
#   space that it was drawn from. If the number is at chance, so is the pattern.
#
# ## Try
#
# - `umap_plane(..., neighbours=50)`, or another `seed`: which features of the
#   picture stay?
# - `kinds=("var",)`: how much of the first map do the running variances alone
#   give?
# - `kinds=("weight",)` of the last snapshot only, each net divided by the norm
#   of its weights.
#
# ## In this chapter
#
# - PCA of a zoo that need not fit into memory, and UMAP: the paper's Fig. 13.
# - Its conclusions held against neighbours from other nets, with intervals.
# - What the first component is: not weights, but the spread of signals.

# %%
report.write_table(out_dir, "nws-map", own, sizes.name)
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, name, numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
