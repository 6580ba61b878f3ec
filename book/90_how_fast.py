# %% [markdown]
# # How fast is it?
#
# *What does it cost to train hundreds of small nets, or to cluster tens of
# thousands of snapshots, and how much of that is still waste?*
#
# Little enough to do it over lunch. On two ordinary cores, a paper's zoo of 250
# nets trains in minutes where a loop over PyTorch modules takes the better part
# of a day, and its 12,500 snapshots are clustered in the time it takes to read
# this paragraph. This chapter shows both from a recorded run of `make bench`:
# beside the usual ways to do the same work, and beside what the machine's
# arithmetic allows. Nothing is fast in general: each number below belongs to
# one machine and one size, and each says at which commit it was measured.
#
# ## What the paper did
#
# {cite:t}`schuerholt2020version` train 2 x 250 nets for 50 epochs, compare
# 12,500 snapshots a zoo with each other, and do not say what that cost. The way
# most people would repeat it is a loop: one module, one optimizer, one net after
# the other. That loop, `plain-loop` below, is what we compare with first.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the nets trained here
device: str = "cpu"  # where they train: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where results go
n_models: int = None  # overrides the profile: nets in the stack

# %%
from nwslib.report import check_parameters

check_parameters(globals(), "profile seed device data_dir out_dir n_models")

# %%
import json
import textwrap
import time
from pathlib import Path

import pandas as pd
import torch
from torch.nn import functional as F

from nwslib import data, plots, readings, report
from nwslib.nets import get_net
from nwslib.profiles import get_profile
from nwslib.train import build_stack

started = time.time()
plots.use_book_style()
pd.set_option(
    "display.max_rows", None
)  # the table of all contenders is long
sizes = get_profile(profile, n_models=n_models)
images = data.load(sizes.data, data_dir, size=14)
print(f"profile {sizes.name}: one stack of {sizes.n_models} nets")

# %% [markdown]
# ## The recorded run
#
# Contenders take turns and do the same work on the same data. A number is the
# median of at least five rounds after a warm-up, except where a task ran once,
# and the table says how far the rounds lie apart. What a contender compiles, it
# compiles before, and that time stands in a column of its own.


# %%
def recorded_bench(kind: str) -> dict:
    """A recorded bench, cpu or gpu; empty where there is none."""
    path = Path("results") / f"bench-{kind}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


bench = recorded_bench("cpu")
rows = {row["name"]: row for row in bench.get("rows", [])}
pd.Series(bench.get("machine", {}), name="recorded on").to_frame()

# %%
entries = [*rows.values(), *bench.get("growth", [])]
when = pd.DataFrame(
    {
        "measured": entry["name"],
        "commit": str(entry["measured"]["commit"])[:12],
        "date": entry["measured"]["date"],
        "torch": entry["measured"]["versions"]["torch"],
    }
    for entry in entries
)
when.set_index("measured") if entries else pd.DataFrame()

# %%
versions = {}  # of the latest measurement that has them
for entry in sorted(entries, key=lambda entry: entry["measured"]["date"]):
    found = entry["measured"]["versions"].items()
    versions |= {name: number for name, number in found if number}
told_versions = [f"{name} {number}" for name, number in versions.items()]
print(textwrap.fill(", ".join(told_versions), 70, break_on_hyphens=False))

# %% [markdown]
# {numref}`fig-speed` begins with training, the time of one step of one net.
# `general-engine` is our own path for any module, `torch.func` under `torch.compile`;
# `process-per-core` is the plain loop on all cores at once; `jax-vmap` is the same
# training written in jax, all batches in one compiled `lax.scan`, the strongest public
# alternative we know. Then the sampled nets of part III, time for one image with and
# without augmentation, where `plain-loop` is a `DataLoader` with torchvision's
# transforms. Then single linkage, where all give the same tree. The *limit* is the
# arithmetic that nobody can leave out, at the speed of a large matrix product measured
# in the same run. No program of small steps reaches it; it tells how much is left.

# %% mystnb={"figure": {"caption": "Recorded times as multiples of ours (dark blue, at 1), on a logarithmic axis: our engine for any module in light blue, peers in red, the limit of the machine's arithmetic in grey. Bars span the rounds; the numbers are medians, for training of one step of one net.", "name": "fig-speed"}, "image": {"alt": "One panel a task with a row for each contender: the limit lies left of ours, the peers to the right, the plain loop furthest."}}
compared = [
    row
    for name, row in rows.items()
    if name.startswith(("train-", "linkage-", "nws")) and row["peers"]
]
if compared:
    _ = plots.speed_ratios(compared)
else:
    print("not measured")


# %%
def told(number: float) -> str:
    """Three digits, or a whole number."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def span(times: list[float]) -> str:
    """How many rounds, the least and the greatest of their times."""
    if not times:
        return ""
    ends = dict.fromkeys(told(end) for end in (min(times), max(times)))
    return f"{len(times)}: {'-'.join(ends)}"


def table(rows: list[dict]) -> pd.DataFrame:
    """Every contender of every row, with what was recorded of it."""
    lines = {}
    for row in rows:
        times = {"ours": row["ours"], **row["peers"], "limit": row["limit"]}
        for name, t in times.items():
            if t is None:
                continue
            unit = row["unit"].partition("/")[0]
            rounds = row.get("rounds", {}).get(name, [])
            compiled = row.get("compile", {}).get(name)
            lines[row["name"], name] = {
                "time": f"{told(t)}\N{NO-BREAK SPACE}{unit}",
                "ours = 1": told(t / row["ours"]),
                "rounds": span(rounds),
                "compiles": "" if compiled is None else f"{compiled:.1f} s",
            }
    return pd.DataFrame.from_dict(lines, orient="index")


table(rows.values())

# %% [markdown]
# Some rows need a word. `import-nwslib` is what a program waits for before anything
# happens, beside torch alone. `lineage` reads 5,000 checkpoints of a million
# weights and recovers their tree (chapter 07). In the two `monitor` rows, ours is one
# observation of `TrajectoryMonitor`, `project-256` one that keeps 256 random
# combinations of the weights instead of all, and `training-step` one step of the net
# that is observed; every hundred steps, an observation costs a hundredth of that ratio.
#
# The rest is what part III's meta-classifiers cost. `features` takes a net's 480
# statistics; the peer takes them group by group with numpy and scipy. `dmc-step` is a
# step of a local deep meta-classifier at the paper's width, `dmc-step-narrow` at the
# quarter that chapters 13 to 15 use: `eager-default` is torch as it comes, `float32` is
# ours where the processor does not compute in bfloat16. `dmc-many` trains eight of an
# eighth of the width: a process a core beats one stack of grouped convolutions.
#
# `slices-N` draws a random slice of N weights, in batches of 64; `data-set` is a torch
# `Dataset` behind a `DataLoader`, `numpy` the least that cuts one slice at a time. Twenty
# times as fast as the data set was the goal; it was missed narrowly for the shortest
# slices and by half for the paper's 5,000 weights, 20 kB each, where copying alone, the
# *limit* here, leaves no room. Nor does it matter: such a batch takes a fifth of a
# millisecond, the step that it feeds eighty or more.
#
# `nws` and `nws-augmented` train one of part III's sampled nets on an image. Without
# augmentation both contenders wait for the same convolutions of torch, which ours calls
# from a process a core; with it the loop waits for its transforms. The sampler augments
# every second net's images, so what counts for a sample is the mean over both, the time
# of an image in the mix:

# %%
mixed = [rows[name] for name in ("nws", "nws-augmented") if name in rows]
if len(mixed) == 2:
    ours = sum(row["ours"] for row in mixed) / 2
    loop = sum(row["peers"]["plain-loop"] for row in mixed) / 2
    print(
        f"ours {told(ours)} us, plain loop {told(loop)} us: "
        f"{loop / ours:.1f} times as many images a second"
    )

# %% [markdown]
# What we had set out to reach, and what was reached:

# %%
pd.DataFrame(
    [
        {
            "row": row["name"],
            "what": goal["what"],
            "goal": told(goal["target"]),
            "reached": told(goal["reached"]),
            "met": "yes" if goal["met"] else "no",
        }
        for row in rows.values()
        for goal in row.get("targets", [])
    ]
)

# %% [markdown]
# The step times again, as what one waits for: 250 nets, 50 epochs of MNIST's
# 60,000 images. This is multiplied out, training steps only; a zoo is also
# tested and stored after each epoch.

# %%
batch_sizes = {"train-A1": 4, "train-A2": 12}
hours = {
    name: {
        contender: t * 1e-6 * 250 * 50 * (60_000 // batch) / 3600
        for contender, t in (
            {"ours": rows[name]["ours"]} | rows[name]["peers"]
        ).items()
    }
    for name, batch in batch_sizes.items()
    if name in rows
}
pd.DataFrame(hours).add_prefix("hours, ").round(2)

# %% [markdown]
# Where memory is the limit rather than time, this is the most that a fresh process
# held, Python and the data included:

# %%
memory = {
    name: f"{told(row['memory_mb'])} MB, {told(row['ours'])} {row['unit']}"
    for name, row in rows.items()
    if row.get("memory_mb")
}
pd.Series(memory, name="memory and time", dtype=object).to_frame()

# %% [markdown]
# ## Where the time went
#
# A step of A1 is some fifty thousand multiplications and additions: well under a
# microsecond of arithmetic. A plain loop spends hundreds of times that on
# starting operations: each of the dozens of tensor operations of a step costs
# microseconds before it computes anything. So the question is never how to
# multiply faster, but how to do nothing else.
#
# - **Stack.** All nets take a step in one operation, which shares its fixed cost
#   among them. This is `general-engine`; it works for any module. What is left
#   is memory: each operation walks through all weights, momenta and gradients of
#   250 nets, several megabytes, and nothing stays in the nearest cache.
# - **Stay with one net.** A1's weights and momentum are 17 kB. The compiled
#   kernels carry *one* net through a whole epoch before they touch the next,
#   with everything it needs in first-level cache. Nets do not talk to each other,
#   so each thread takes a block of them and never waits for another. And as a
#   net's result does not depend on its neighbours, any number of threads gives
#   the same bits.
# - **Leave out what nobody reads.** A2's max-pooling looks at 36 of the 49
#   positions of its first convolution, so 13 are never computed. Its second
#   convolution slides 3 x 3 windows over a padded 3 x 3 map: only 2 x 2 taps of
#   each window meet the map. Going back, the gradient of a pooling window passes
#   through one of its four positions. And 16 channels fill one vector register, so
#   the innermost loops run over channels.
# - **No number that costs dozens of others.** Numbers below $10^{-38}$ are
#   computed in a slow corner of the processor, and a net that collapses is made
#   of them. The kernels count them as zero, or one of chapter 02's readings would
#   take longer than all others together.
# - **Compare in bulk, decide exactly.** Single linkage needs distances between
#   all pairs of points. One float32 matrix product, tile by tile, gives all of
#   them roughly and at the machine's full speed, with a proven bound on how
#   rough. Of each tile only the least bound from every point to every strip of
#   at least 32 points is kept. Boruvka's algorithm then asks for every growing cluster
#   where the nearest point outside it can be, and measures only there, in
#   float64. So the tree is exact, ties included, and the table of all distances
#   is never stored.
#
# ## How it grows
#
# Costs at one size can mislead: a method may win small and lose large.
# {numref}`fig-growth` shows the time of one step of the whole stack against the number
# of nets, and the time of single linkage against the number of points (in 50
# dimensions, and the peers only up to 10,000 points). The *power* is the slope of a
# line fitted to the logarithms: 1 means that twice the size takes twice the time, 2
# that it takes four times as long. A power below 1 means that small sizes do not yet
# fill the machine. Fixed costs show at the small end: for a thousand points in 50
# dimensions, scipy is faster than we are. And no power below 2 makes single linkage
# cheaper than its $n^2$ distances: from 10,000 to 100,000 points, ours takes a hundred
# times as long.

# %% mystnb={"figure": {"caption": "Recorded times against size, on logarithmic axes, with the fitted power of each contender in the legend.", "name": "fig-growth"}, "image": {"alt": "Panels for training A1, training A2 and single linkage: nearly straight rising lines, one a contender."}}
grown = [
    each for each in bench.get("growth", []) if each["name"] != "sample"
]
if grown:
    _ = plots.growth(grown)
else:
    print("not measured")

# %% [markdown]
# ## On a GPU
#
# The same zoos, trained on a graphics card: an epoch of all 250 nets, and where
# it was run, the whole zoo.

# %%
gpu = recorded_bench("gpu")
if gpu:
    card, when = gpu["machine"], gpu["rows"][0]["measured"]
    print(
        f"{card['gpu']}, driver {card['driver']}, "
        f"torch {when['versions']['torch']}, {when['date']}, "
        f"commit {str(when['commit'])[:12]}"
    )

table(gpu["rows"]) if gpu else pd.DataFrame({"GPU": ["not measured"]})

# %% [markdown]
# ## Here and now
#
# What you have read so far was recorded. Here is a small comparison on the
# machine that made this page, while it did whatever else it was doing: a few
# hundred steps of A1, too few for a careful number, enough to see the order of
# magnitude. First the loop:

# %%
net, reading = get_net("A1"), readings.CHOSEN["A1"]
steps, batch = 300, reading.batch_size
n_images = len(images.train_labels)

module = net.build()
optimizer = torch.optim.SGD(
    module.parameters(),
    lr=reading.recipe.lr,
    momentum=reading.recipe.momentum,
    weight_decay=reading.recipe.weight_decay,
)
inputs = images.train_images.float() / 255
targets = F.one_hot(images.train_labels, 10).float()


def plain_loop(steps: int) -> None:
    """Train one net by the book."""
    for index in torch.randint(n_images, (steps, batch)):
        optimizer.zero_grad()
        F.mse_loss(module(inputs[index]), targets[index]).backward()
        optimizer.step()


plain_loop(20)  # warm-up
start = time.perf_counter()
plain_loop(steps)
plain = (time.perf_counter() - start) / steps

# %% [markdown]
# Then a stack. `train_stack` would do all of this in one call and also test the
# nets; here we want the steps alone.

# %%
stack = build_stack(
    net,
    reading.recipes(sizes.n_models, seed),
    images,
    reading.schedule(sizes.epochs),
    device=device,
)
order = torch.randint(
    n_images, (sizes.n_models, steps * batch), dtype=torch.int32
)
trained_on = (
    images.train_images.to(device),
    images.train_labels.to(device),
    order,
)
stack.train(*trained_on, 0)  # compiles
start = time.perf_counter()
stack.train(*trained_on, steps)
stacked = (time.perf_counter() - start) / (steps * sizes.n_models)
pd.DataFrame(
    {
        "us a step of one net": [1e6 * plain, 1e6 * stacked],
        "nets at once": [1, sizes.n_models],
    },
    index=["plain loop", "stack"],
).round(1)

# %%
print(f"in this run, one net's step is {plain / stacked:.0f} times as fast")

# %% [markdown]
# ## What it means for you
#
# - Ask questions that need hundreds of nets. With another learning rate, decay
#   or optimizer in each, they still fit one stack (`Recipe`), at the same cost.
# - Your own architecture takes the general engine: look at that contender, not at
#   the kernels, for what to expect. Compiling it takes a while, once.
# - Nets that fill a GPU on their own gain nothing from a stack. The win is the
#   fixed cost of operations, and large nets do not pay much of it.
# - Cluster all snapshots rather than a sample of them: exact single linkage of
#   tens of thousands of points is no longer the slow part.
#
# ## Try
#
# - `make bench` measures your machine and writes `_build/bench.json`. It takes
#   about an hour, most of it spent in the peers, and needs a machine that does
#   nothing else.
# - `-p n_models 250` for this chapter's last comparison: does a net's step get
#   cheaper?
#
# ## In this chapter
#
# - A training step of a small net is almost all overhead; one net at a time in
#   cache, in a compiled loop, removes most of it.
# - Every number stands beside its peers, its limit and its spread, and can be
#   measured again with one command.
# - How costs grow, with fitted powers.

# %%
numbers = {
    "plain loop, us": 1e6 * plain,
    "stack, us": 1e6 * stacked,
    "ratio": plain / stacked,
}
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "90_how_fast", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
