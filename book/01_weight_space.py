# %% [markdown]
# # What is a weight space
#
# *What does it mean to call a neural net a point, and what does the distance
# between two such points say?*
#
# Write a net's weights one after the other, always in the same order, and you
# have a vector; all vectors of that length are the net's *weight space*. Nothing
# is lost: the vector gives the net back, bit for bit. Distance in this space is
# less innocent. Nets from different seeds lie almost equally far from each
# other, and one and the same function sits at thirteen trillion points. What
# makes the space useful nevertheless is that training moves a net in small
# steps, so that its snapshots, the weights saved along the way, line up into a
# path. This chapter measures all of that on nets that the next three chapters use.
#
# ## What the paper did
#
# For {cite:t}`schuerholt2020version`, as for
# {cite:t}`unterthiner2020predicting` before them, a net is "a flattened vector
# of model weights". Their two nets, A1 (fully connected) and A2
# (convolutional), are small. The tables of their results name the full weight
# spaces by their dimensions: 2160 for A1 (Table 3) and 1376 for A2 (Table 2).

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # shifts the seeds of all nets
device: str = "cpu"  # where nets train: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_models: int = None  # overrides the profile: nets in the zoo
epochs: int = None  # overrides the profile: epochs of each net

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(), "profile seed device data_dir out_dir n_models epochs"
)

# %%
import math
import tempfile
import time

import pandas as pd
import torch
from scipy.spatial.distance import pdist
from torch import nn

from nwslib import data, papers, plots, readings, report
from nwslib.flatten import Layout
from nwslib.nets import A1, A2, initialise
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
sizes = get_profile(profile, n_models=n_models, epochs=epochs)
images = data.load(sizes.data, data_dir, size=14)
generator = torch.Generator().manual_seed(seed)
print(f"profile {sizes.name}: {sizes.n_models} nets, {sizes.epochs} epochs")
print(f"images: {images.name}, {images.size} x {images.size} pixels")

# %% [markdown]
# ## A list of tensors
#
# A1 takes an image of 14 x 14 pixels and has two hidden layers of ten units.
# PyTorch keeps its weights as one matrix a layer: a row for each unit, a column
# for each of the unit's inputs.

# %%
net = initialise(A1(), "kaiming_normal", generator)
for name, tensor in net.state_dict().items():
    print(name, list(tensor.shape))

# %% [markdown]
# By hand, the net becomes a vector in three lines: the matrices in order, each
# one row by row, joined.

# %%
matrices = [net.fc1.weight, net.fc2.weight, net.fc3.weight]
rows = [matrix.detach().flatten() for matrix in matrices]
vector = torch.cat(rows)

print(f"{len(vector)} numbers, the first three: {vector[:3]}")

# %% [markdown]
# `Layout` does the same for any net, and remembers which stretch of the vector
# is which tensor.

# %%
layout = Layout.of(net)
torch.equal(layout.flatten(net), vector)

# %% [markdown]
# Its table, for both of the paper's nets; {numref}`fig-layout` draws it to scale:

# %%
layouts = {"A1": layout, "A2": Layout.of(A2())}
pd.DataFrame(
    [
        (name, piece.name, list(piece.shape), piece.start, piece.size)
        for name, each in layouts.items()
        for piece in each
    ],
    columns=["net", "tensor", "shape", "starts at", "weights"],
).set_index(["net", "tensor"])

# %% mystnb={"figure": {"caption": "The weight vectors of A1 and A2, one block a tensor, drawn to one scale. A1's first layer holds nine tenths of its weights; in A2 the second convolution dominates.", "name": "fig-layout"}, "image": {"alt": "Two horizontal strips divided into coloured blocks. A1: fc1 1960 weights, fc2 and fc3 100 each. A2: conv1 144, conv2 1152, fc 80."}}
_ = plots.layout_strip(layouts)

# %% [markdown]
# ## The paper's dimensions
#
# Do these add up to what the paper prints? Only without biases. The paper does
# not say that its nets have none, but with one bias a unit neither sum comes
# out.

# %%
biases = {
    name: sum(piece.shape[0] for piece in each)
    for name, each in layouts.items()
}
counted = pd.DataFrame(
    {
        "paper": papers.N_WEIGHTS,
        "ours": {name: each.size for name, each in layouts.items()},
        "with biases": {
            name: each.size + biases[name] for name, each in layouts.items()
        },
    }
)
counted["verdict"] = [
    report.verdict(row.paper, row.ours, tolerance=0)
    for row in counted.itertuples()
]
counted

# %% [markdown]
# ## And back
#
# A vector is a net only if the way back exists. Here is a second A1, with other
# weights, that takes the vector's: from then on its outputs are those of the
# first net, bit for bit.

# %%
mean, std = data.pixel_statistics(images)
mean, std = mean[:, None, None], std[:, None, None]  # [channels, 1, 1]
pixels = ((images.test_images / 255 - mean) / std).float()

with torch.no_grad():
    other = initialise(A1(), "kaiming_normal", generator)
    print("before:", torch.equal(other(pixels), net(pixels)))
    layout.load(vector, other)
    print("after: ", torch.equal(other(pixels), net(pixels)))

# %% [markdown]
# ## Parts of the vector
#
# Often only some coordinates matter. `select` gives those of a layer, of a
# kind, or of both. A1 has one kind, `weight`. A layer with batch normalisation
# shows more: besides weights and biases a scale (gamma), a shift (beta), and a
# running mean and variance, which no gradient ever touches.

# %%
vector[layout.select(layer="fc2")].shape

# %%
block = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8))
blocks = Layout.of(block)
pd.Series(
    {kind: len(blocks.select(kind=kind)) for kind in blocks.kinds},
    name="coordinates",
).to_frame()

# %% [markdown]
# ## A trained net, looked at
#
# Now for trained nets. `paper_zoo` trains a *zoo* of A1, nets that differ in
# their seed only, and keeps every net's weights before training (epoch 0) and
# after each epoch. Chapter 02 explains how; it uses the same zoo, which is grown
# here if it is not on disk yet, and opened otherwise.

# %%
zoo = readings.paper_zoo(
    "A1", sizes, images, out_dir, seed=seed, device=device
)
runs = zoo.runs[~zoo.runs.diverged]
weights = torch.from_numpy(zoo.weights(runs.run))
print("[nets, epochs, weights]:", list(weights.shape))

# %% [markdown]
# Each row of `weights` is one net's path. The end of the first path is a point
# of 2160 coordinates; put back into a net, it classifies as well as the zoo's
# table says.

# %%
trained = weights[0, -1]  # [2160]
with torch.no_grad():
    outputs = layout.load(trained, other)(pixels)  # [images, 10]
hits = outputs.argmax(1) == images.test_labels
print(f"accuracy of the vector: {hits.float().mean():.3f}")
print(f"accuracy in the table:  {runs.test_accuracy.iloc[0]:.3f}")

# %% [markdown]
# The first 1960 coordinates belong to ten hidden units, with a weight for each
# of 196 pixels, so {numref}`fig-weight-images` can show each unit's weights as an
# image. Red are pixels that raise the unit's activity, blue those that lower it.

# %% mystnb={"figure": {"caption": "The first 1960 coordinates of a trained A1: ten hidden units, 14 x 14 weights each, one scale for all.", "name": "fig-weight-images"}, "image": {"alt": "Ten small square images in red and blue, one for each hidden unit; neighbouring pixels tend to have similar colours."}}
_ = plots.weight_images(
    layout, trained, "fc1.weight", image=(14, 14), columns=5
)

# %% [markdown]
# ## Two nets at one distance
#
# How far apart are two nets before training? Kaiming's initialisation
# {cite:p}`he2015delving` draws each weight independently, with mean 0 and
# variance $\sigma_i^2 = 2 / n$, where $n$ is the number of inputs of its unit.
# The difference of two such weights has variance $2\sigma_i^2$, and squared
# differences add up to the squared distance $D^2$. In expectation this gives
#
# $$ \mathrm{E}\,D^2 = 2 \sum_i \sigma_i^2, $$
#
# and, to first order, $D$ spreads around the root of that with standard
# deviation $\sqrt{\sum_i \sigma_i^4 / \sum_i \sigma_i^2}$.


# %%
def expected_distance(layout: Layout) -> tuple[float, float]:
    """Mean and spread of the distance of two Kaiming-normal nets."""
    variances = torch.cat(
        [
            torch.full((piece.size,), 2 / math.prod(piece.shape[1:]))
            for piece in layout
        ]
    )
    total = variances.sum()
    spread = (variances.square().sum() / total).sqrt()
    return (2 * total).sqrt().item(), spread.item()


initial = pdist(weights[:, 0])  # one distance for each pair of nets
theory = expected_distance(layout)
print(f"{len(initial)} pairs of nets, distance before training")
print(f"expected: {theory[0]:.2f}, spread {theory[1]:.2f}")
print(f"measured: {initial.mean():.2f}, spread {initial.std():.2f}")
print(f"nearest pair {initial.min():.2f}, farthest {initial.max():.2f}")

# %% [markdown]
# No pair is close, and no pair is much farther than any other. In a plane,
# random points are now near, now far; in many dimensions the thousands of
# squared differences average out, which is called *concentration of measure*
# {cite:p}`vershynin2018high`. The more weights, the sharper the distance, as
# {numref}`fig-concentration` shows for nets of A1's form with more or fewer hidden
# units.

# %%
distances, concentration = {}, {}
for width in (2, 10, 50, 250):
    form = nn.Sequential(
        nn.Linear(196, width, bias=False),
        nn.Linear(width, width, bias=False),
        nn.Linear(width, 10, bias=False),
    )
    wide = Layout.of(form)
    drawn = [
        wide.flatten(initialise(form, "kaiming_normal", generator))
        for _ in range(40)
    ]
    pairs = pdist(torch.stack(drawn))
    expected, spread = expected_distance(wide)
    distances[f"{width} hidden units, {wide.size:,} weights"] = pairs
    concentration[width] = {
        "weights": wide.size,
        "expected": expected,
        "measured": pairs.mean(),
        "expected spread": spread / expected,
        "measured spread": pairs.std() / pairs.mean(),
    }

# %% mystnb={"figure": {"caption": "Distances between 40 freshly initialised nets, for four widths of A1's hidden layers. The distance grows with the number of weights, the spread does not: soon every pair is at one and the same distance.", "name": "fig-concentration"}, "image": {"alt": "Four histograms above each other on one axis; from top to bottom, with more weights, the distances move right and the histogram narrows to a spike."}}
_ = plots.distance_histograms(distances)

# %% [markdown]
# In numbers, by width, with the spread as a share of the distance:

# %%
pd.DataFrame(concentration).T.round(3).astype({"weights": int})

# %% [markdown]
# The measured spread comes from few nets, so trust its first digit only. A1's
# spread, a few per cent, is wider than 2160 coordinates of one variance would
# give. Its three layers contribute equally to $D^2$ (each has ten units, and the
# variance undoes the number of inputs), so two thirds of $D^2$ hang on the 200
# weights of the two small ones.
#
# ## Training does not bring nets together
#
# All nets of the zoo learn the same task from the same images, and learn it
# about equally well. Do they meet?

# %%
steps = (weights[:, 1:] - weights[:, :-1]).norm(dim=-1)  # [nets, epochs]
whole = (weights[:, -1] - weights[:, 0]).norm(dim=-1)  # [nets]
between = pdist(weights[:, -1])
accuracy = runs.test_accuracy
print(f"test accuracy: {accuracy.mean():.3f}, spread {accuracy.std():.3f}")
print(f"two nets, before training: {initial.mean():.2f} on average")
print(f"two nets, after training:  {between.mean():.2f} on average")
print(f"nearest two trained nets:  {between.min():.2f}")
print(f"one net, longest step of one epoch: {steps.max():.2f}")

# %% [markdown]
# They do not. Nets that started far apart end far apart; equally good nets are
# not neighbours. But within one run, points do follow each other closely, and
# that is what the next chapters live on: even the longest step of any net is
# shorter than the distance between the nearest two trained ones.
#
# ## One function, many points
#
# Far apart need not mean different. Number A1's hidden units in another order:
# permute the rows of one matrix, and the columns of the next in the same way.
# Every sum in the net keeps its terms, so the net computes what it computed
# before {cite:p}`chen1993geometry`. In weight space it is somewhere else.


# %%
def reordered(
    vector: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> torch.Tensor:
    """A1 with the units of its hidden layers in another order."""
    matrix = layout.unflatten(vector)
    return layout.flatten(
        {
            "fc1.weight": matrix["fc1.weight"][first],
            "fc2.weight": matrix["fc2.weight"][second][:, first],
            "fc3.weight": matrix["fc3.weight"][:, second],
        }
    )


# %%
copy = reordered(
    trained,
    torch.randperm(10, generator=generator),
    torch.randperm(10, generator=generator),
)
with torch.no_grad():
    outputs_of_copy = layout.load(copy, other)(pixels)
difference = (outputs_of_copy - outputs).abs().max()
print(f"largest output: {outputs.abs().max():.2f}")
print(f"largest difference of any output: {difference:.1e}")
print(f"distance to the copy: {(copy - trained).norm():.2f}")
print(f"such copies: 10! x 10! = {math.factorial(10) ** 2:,}")

# %% [markdown]
# The outputs agree to rounding (sums are taken in another order), and the copy
# lies about as far away as a net from another seed. {numref}`fig-distances` puts
# all these distances on one axis, with a few hundred more copies.

# %%
orders = torch.rand(300, 2, 10, generator=generator).argsort(-1)
copies = torch.stack([reordered(trained, *pair) for pair in orders])
to_copies = (copies - trained).norm(dim=-1)
measured = {
    "two nets, before training": initial,
    "two nets, after training": between,
    "one trained net and reordered copies of it": to_copies.numpy(),
    "one net, before and after training": whole.numpy(),
    "one net, from one epoch to the next": steps.numpy(),
}

# %% mystnb={"figure": {"caption": "Distances in A1's weight space. Different nets are far apart, before and after training, and so are the points of the third row, although they all are one and the same function. Points are close only along one net's path.", "name": "fig-distances"}, "image": {"alt": "Five histograms above each other on one axis. Two nets before training, two nets after training and reordered copies of one net lie close together at the right; one net before and after training lies to the left of two trained nets, single epochs far to the left."}}
_ = plots.distance_histograms(measured)

# %% [markdown]
# ## Why paths work nevertheless
#
# So distance in weight space is not distance in behaviour: it takes one function
# for two. Could a net, as it trains, slip into such a copy of itself? It would
# have to carry at least two of its units all the way to each other's place. To
# see whether that happens, describe each hidden unit by its incoming and
# outgoing weights, and look for it an epoch later: is the nearest unit, among
# the ten, still the same one?

# %%
matrix = layout.unflatten(weights)  # each [nets, epochs, rows, columns]
fc1, fc2, fc3 = (matrix[f"fc{k}.weight"] for k in (1, 2, 3))
units = {
    "hidden layer 1": torch.cat([fc1, fc2.mT], -1),  # [..., 10, 196 + 10]
    "hidden layer 2": torch.cat([fc2, fc3.mT], -1),  # [..., 10, 10 + 10]
}
kept = {}
for layer, unit in units.items():
    nearest = torch.cdist(unit[:, 1:], unit[:, :-1]).argmin(-1)
    found = nearest == torch.arange(10)  # [nets, epochs, 10]
    kept[layer] = found.double().mean().item()
    print(f"{layer}: {kept[layer]:.2%} of {found.numel():,} found again")

# %% [markdown]
# Nearly every unit keeps its place. The copies are there, but training does not
# go to them, so along a path the distance means what one hopes: how far the net
# has come. Between paths it says only "not the same run", and for that it is
# sharp.
#
# ## What it means for you
#
# The same works for your own checkpoints. `Layout.of` takes any `state_dict`,
# so a net's code is not needed. Here is a small net with batch normalisation,
# saved to files as usual, before and after a look at some images: no
# optimizer, no training step.

# %%
mine = nn.Sequential(
    nn.Conv2d(1, 8, 3),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(8 * 12 * 12, 10),
)
initialise(mine, "kaiming_normal", generator)
with tempfile.TemporaryDirectory() as folder:
    torch.save(mine.state_dict(), f"{folder}/before.pt")
    mine(pixels[:64])
    torch.save(mine.state_dict(), f"{folder}/after.pt")
    before = torch.load(f"{folder}/before.pt", weights_only=True)
    after = torch.load(f"{folder}/after.pt", weights_only=True)

own = Layout.of(before)
moved = own.flatten(after) - own.flatten(before)
pd.DataFrame(
    {
        "coordinates": {k: len(own.select(kind=k)) for k in own.kinds},
        "moved by": {
            k: moved[own.select(kind=k)].norm().item() for k in own.kinds
        },
    }
).round(3)

# %% [markdown]
# No weight changed, yet the point moved: in training mode every forward pass
# updates the running statistics. Three habits follow.
#
# - Compare checkpoints of one layout only, and decide first which kinds count.
# - Give a distance something to be compared with. For two nets that were
#   initialised independently, the square root of twice the summed variances is
#   the natural yardstick: most steps of an epoch, in the last row of
#   {numref}`fig-distances`, are small beside it.
# - Never read a large distance as a difference in behaviour. Reordered units are
#   enough to cause one.
#
# ## Try
#
# - `papermill 01_weight_space.ipynb out.ipynb -p seed 1` takes other nets. Which
#   of the printed numbers stay?
# - Initialise with `"xavier_uniform"` instead (its variance is
#   $2 / (n_\text{in} + n_\text{out})$) and predict the distance first.
# - Two trained nets might be reordered copies of nearly the same net. Match
#   their units, layer by layer, with `scipy.optimize.linear_sum_assignment`,
#   as {cite:t}`ainsworth2023git` do: how much of the distance goes away?
#
# ## In this chapter
#
# - A net is a vector, exactly and both ways; without biases the two nets have
#   2160 and 1376 weights, as the paper prints.
# - Independently initialised nets are almost equally far from each other, at a
#   distance that can be computed before drawing them.
# - Training from different seeds gives equally good nets that stay far apart,
#   and reordering a net's units gives the same function as far away.
# - A net's own path is made of shorter steps than those between nets, and its
#   hidden units keep their places on it. So snapshots can be told apart.

# %%
numbers = {
    "weights": {name: each.size for name, each in layouts.items()},
    "expected_distance": {"mean": theory[0], "spread": theory[1]},
    "concentration": concentration,
    "distances": {
        name: {
            "mean": float(values.mean()),
            "min": float(values.min()),
            "max": float(values.max()),
        }
        for name, values in measured.items()
    },
    "units_found_again": kept,
}
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "01_weight_space", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
