# %% [markdown]
# # Seeing trajectories
#
# *If a net is a point, is its training a path, and can the eye tell one net's
# path from another's?*
#
# A path, yes; for the eye, only while nets are few. In the weight space itself
# every snapshot's nearest neighbour is a snapshot of its own net, in both zoos
# and at every scale we tried. UMAP, a projection that knows nothing of nets or
# epochs, draws a couple of dozen nets in a plane as clean separate strands. With
# the paper's 250 nets the strands run across each other, and many points of the
# picture lie next to a stranger. The structure is in the space; the picture
# has room for part of it.
#
# ## What the paper did
#
# Section 4.1 of {cite:t}`schuerholt2020version` maps all snapshots of a zoo to
# two dimensions with UMAP {cite:p}`mcinnes2018umap` (3 neighbours, minimum
# distance 0.3), once from the full weight space (the paper's Fig. 4) and once from
# its first 50 singular vectors (the paper's Fig. 5). The paper reads both by eye: the
# convolutional zoo gives smooth, clustered paths, the fully connected one
# noisier paths that can still be recognised; steps are long at first and short
# at the end. We draw the same pictures, and put numbers to what the eye sees.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the zoos, the SVD and UMAP
device: str = "cpu"  # where nets train: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_models: int = None  # overrides the profile: nets in each zoo

# %%
from nwslib.report import check_parameters

check_parameters(globals(), "profile seed device data_dir out_dir n_models")

# %%
import time

import numpy as np
import pandas as pd

from nwslib import data, plots, readings, report
from nwslib.explorer import explorer
from nwslib.profiles import get_profile
from nwslib.reduction import neighbour_shares, svd_space, umap_plane
from nwslib.trajectory import path_geometry

started = time.time()
plots.use_book_style()
sizes = get_profile(profile, n_models=n_models)
images = data.load(sizes.data, data_dir, size=14)
print(
    f"profile {sizes.name}: 2 x {sizes.n_models} nets, "
    f"{sizes.epochs} epochs"
)

# %% [markdown]
# ## The points
#
# Chapter 02's two zoos, opened from disk (or grown now, if that chapter has not
# run). Every net gives one point an epoch. The initial weights are left out:
# the paper takes a net's samples "for each epoch during training". Nets that
# diverged, if any, are left out too.

# %%
zoos = {
    net: readings.paper_zoo(
        net, sizes, images, out_dir, seed=seed, device=device
    )
    for net in ("A2", "A1")
}
points, nets, epochs = {}, {}, {}
for net, zoo in zoos.items():
    points[net], nets[net], epochs[net] = readings.snapshots(zoo)
    n, dimensions = points[net].shape
    print(
        f"{net}: {n:,} points in {dimensions:,} dimensions, "
        f"{int(zoo.runs.diverged.sum())} diverged nets left out"
    )

# %% [markdown]
# ## Step by step
#
# First the plainest view of a path, with no projection at all: the length of
# each step from one epoch to the next, in {numref}`fig-steps`. Large steps first,
# small ones later, is the pattern that the next chapter uses to put epochs in
# order. Where the curve flattens, the steps stop shrinking: what is left is the
# noise of the batches, and it hides the order.

# %% mystnb={"figure": {"caption": "Distance from each snapshot to the next, one line a net (thin) and the median over the zoo (thick). Where the lines fall, the length of a step tells its epoch; where they are flat, it does not.", "name": "fig-steps"}, "image": {"alt": "Two panels, convolutional and fully connected zoo, with the step length on a logarithmic axis against the epoch; lines fall in early epochs and level off later."}}
lengths = {}  # [nets, epochs]
for net, zoo in zoos.items():
    weights = zoo.weights(zoo.select(diverged=False))
    lengths[net] = path_geometry(weights).step
_ = plots.step_lengths(lengths)

# %% [markdown]
# ## The full space in a plane
#
# UMAP links every point to its nearest neighbours, here as few as three, and
# draws a plane in which linked points stay together. The colours of
# {numref}`fig-umap-full` are nets and are added afterwards: the projection does not
# see them.

# %%
planes = {"full": {net: umap_plane(points[net], seed) for net in zoos}}

# %% mystnb={"figure": {"caption": "UMAP of the full weight space, as the paper's Fig. 4: convolutional zoo left, fully connected zoo right. One colour a net, epochs joined by a line from first (ring) to last (filled).", "name": "fig-umap-full"}, "image": {"alt": "Two scatter plots of points joined to curves, each curve in the colour of one net; most curves are separate strands."}}
figure = plots.trajectories(
    {net: (planes["full"][net], nets[net], epochs[net]) for net in zoos}
)
figure.savefig(f"{out_dir}/trajectories.svg", metadata={"Date": None})

# %% [markdown]
# ## The 50 strongest directions
#
# The truncated singular value decomposition (SVD) keeps the 50 directions along
# which a zoo's points extend most. In {numref}`fig-umap-svd` UMAP sees these only.

# %%
reduced = {net: svd_space(points[net], 50, seed) for net in zoos}
planes["SVD 50"] = {
    net: umap_plane(reduced[net].points, seed) for net in zoos
}
for net in zoos:
    share = reduced[net].explained.sum()
    print(f"{net}: 50 directions hold {share:.1%} of the zoo's variance")

# %% mystnb={"figure": {"caption": "UMAP of the first 50 singular vectors, as the paper's Fig. 5: convolutional zoo left, fully connected zoo right.", "name": "fig-umap-svd"}, "image": {"alt": "Two scatter plots of points joined to curves, each curve in the colour of one net, drawn from the 50-dimensional reduction."}}
_ = plots.trajectories(
    {net: (planes["SVD 50"][net], nets[net], epochs[net]) for net in zoos}
)

# %% [markdown]
# ## Walk around
#
# The same planes to explore, one zoo below the other. Drag to move, pinch or
# use the buttons to zoom, click a point to pick its net, and play the epochs. By
# keyboard: Tab to the plane, then arrows, + and - move and zoom, n and p go from
# net to net, a comma and a full stop from epoch to epoch, Escape clears.


# %%
def walk(net):
    """One zoo's planes, to explore."""
    tests = zoos[net].history.query("split == 'test'")
    points = pd.DataFrame({"run": nets[net], "epoch": epochs[net]}).merge(
        tests[["run", "epoch", "accuracy"]], how="left"
    )
    points["step length"] = lengths[net].ravel()
    return explorer(
        {space: plane[net] for space, plane in planes.items()},
        points,
        title=plots.style.title_of(net),
        log=["step length"],
    )


walk("A2")

# %%
walk("A1")

# %% [markdown]
# ## What the eye sees, in numbers
#
# Pictures of thousands of points persuade easily. So we ask for every point: does
# its nearest other point belong to the same net (`same_net`), and is it the epoch
# before or after (`next_epoch`)? We ask it in the full space, in its 50-dimensional
# reduction, and in the planes.

# %%
spaces = {
    "full space": points,
    "SVD 50": {net: reduced[net].points for net in zoos},
    "plane of the full space": planes["full"],
    "plane of SVD 50": planes["SVD 50"],
}
numbers = {
    net: {
        space: neighbour_shares(where[net], nets[net], epochs[net])
        for space, where in spaces.items()
    }
    for net in zoos
}
shares = pd.DataFrame(
    {(net, space): numbers[net][space] for net in zoos for space in spaces}
).T
earlier = report.recorded("03_seeing_trajectories").get("numbers", {})
for column in ("same_net", "next_epoch"):
    shares[f"{column}, recorded"] = [
        earlier.get(net, {}).get(space, {}).get(column)
        for net, space in shares.index
    ]
shares.astype(float).round(3)

# %% [markdown]
# The recorded columns are a run at the paper's scale, 250 nets a zoo on MNIST.
# The paper prints no numbers for its two figures; what can be compared is its
# description.
#
# - *"The CNN weight space shows smooth trajectories"*: in the space, `same_net`
#   and `next_epoch` are 1: every snapshot's nearest neighbour is the epoch
#   before or after. Agrees.
# - *"FFNN trajectories are more noisy, but recognizable"*: `same_net` is 1 in the
#   space, while `next_epoch` is lower than in the convolutional zoo. Agrees.
# - *On SVD-50, "CNN trajectories are cleanly separated"*: true of the 50
#   dimensions themselves. In our plane of 250 nets it is not: for only about half of
#   its points is the nearest one of their own net. Fewer nets draw cleaner
#   pictures; a plane of 12,500 points cannot show what the space holds.
# - *"larger distances are visible at initial epochs and smaller towards the
#   end"*: measured without a projection in {numref}`fig-steps`, and for the
#   recorded run in the table below. Agrees.

# %%
steps = {
    net: np.median(of_nets, axis=0).tolist()
    for net, of_nets in lengths.items()
}  # the median net's step into each epoch


def shrinking(steps: list[float]) -> dict[str, float]:
    """Steps along a path as shares of its first."""
    n = len(steps)
    at = {"a tenth of the way": n // 10, "half way": n // 2, "end": n}
    return {name: steps[max(k, 1) - 1] / steps[0] for name, k in at.items()}


rows = {}
for net in zoos:
    rows[net, "this run"] = shrinking(steps[net])
    if "median step" in earlier.get(net, {}):
        rows[net, "recorded"] = shrinking(earlier[net]["median step"])
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# The median net's steps, as shares of its first. In the recorded run the
# convolutional zoo's steps shrink to the end. The fully connected zoo's reach
# their floor, 8 % of the first step, half way: from there on a step's length
# says nothing about its epoch, which fits the next chapter's tables.
#
# ## What it means for you
#
# If you keep checkpoints of several runs of one architecture, the nearest
# neighbour of a checkpoint is almost surely from the same run. You need no
# plane for that, and should not trust one: distances in a UMAP plane, and the
# gaps between its strands, mean little. Use the plane to look and the space to
# decide, as the next chapter does.
#
# ## Try
#
# `papermill 03_seeing_trajectories.ipynb out.ipynb -p seed 1` grows other zoos
# and lays out other planes. Which of the strands' shapes survive? (None need to:
# only neighbourhoods do.)
#
# ## In this chapter
#
# - Nets trained from different seeds follow separate paths, in both zoos, in the
#   full space and in its fifty strongest directions.
# - Steps shrink while a net still learns, then level off at the batches' noise.
# - A plane shows this for few nets and hides it for hundreds.

# %%
for net in zoos:
    numbers[net]["median step"] = steps[net]
source = report.provenance(sizes, seed, device, started)
path = report.write_results(
    out_dir, "03_seeing_trajectories", numbers, source
)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
