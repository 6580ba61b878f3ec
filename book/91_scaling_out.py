# %% [markdown]
# # Scaling out
#
# *Sixteen thousand nets: how, on which machines, and how long?*
#
# Trainings do not talk to each other, so they spread over any number of
# processes or machines, and the zoo that comes back is the same, bit for bit. Two
# processes on two cores do nearly twice the work of one. What one machine does in
# weeks is a matter of days for a small cluster, and the arithmetic below says how
# many.
#
# ## What the paper did
#
# {cite:t}`eilertsen2020classifying` trained 16,000 nets. Their text says neither on
# what nor how long; their Fig. 6 draws how the times are distributed. Chapter 08
# repeats the sampling at a smaller scale. This chapter is about the larger one.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the sampling
device: str = "cpu"  # nets train on the CPU, a process a core
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where results go

# %%
from nwslib.report import check_parameters

check_parameters(globals(), "profile seed device data_dir out_dir")

# %%
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nwslib import nws, plots, report
from nwslib.nws import executors
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
sizes = get_profile(profile)

# %% [markdown]
# ## One zoo, three ways
#
# An *executor* says where nets are trained. Ours are `local()`, a process a core,
# and `dask()`, the workers of a [Dask](https://distributed.dask.org) scheduler;
# `here` trains in this very process. Four small nets, each way:

# %%
plan = nws.Plan(
    sources=(nws.Source("digits", train=200, test=50),),
    budget=nws.Budget(max_epochs=3, snapshots=2),
    seed=seed,
    shard_size=1,
)

ways = {
    "here": executors.here,
    "processes": executors.local(2),
    "Dask": executors.dask(),
}
zoos = {}
with tempfile.TemporaryDirectory() as folder:
    for name, executor in ways.items():
        zoo = nws.sample(
            Path(folder) / name, plan, 4, executor=executor, progress=False
        )
        zoos[name] = zoo.weights()  # [runs, snapshots, weights]
same = {name: np.array_equal(zoos["here"], w) for name, w in zoos.items()}
print("equal to the last bit:", same)

# %% [markdown]
# Each net draws from streams of random numbers that follow from the sampling's
# seed and the net's own number, and trains on one thread. So it does not matter
# where it is trained, beside what, or in which order. Only one process writes. A
# worker that dies takes one shard with it, and Dask gives that to another one.
#
# ## How well it spreads
#
# The recorded bench: 24 nets, sampled by one and by two processes, starting the
# processes included. *Efficiency* is the time that one process takes, divided by the
# time that several take and by their number.

# %%
path = Path("results") / "bench-cpu.json"
bench = json.loads(path.read_text("utf-8")) if path.is_file() else {}
growths = {entry["name"]: entry for entry in bench.get("growth", [])}
rows = {entry["name"]: entry for entry in bench.get("rows", [])}


def efficiency(growth: dict) -> pd.DataFrame:
    """Seconds and efficiency by executor and number of processes."""
    lines = {}
    for executor, pairs in growth["times"].items():
        (_, alone), *_ = pairs
        for processes, seconds in pairs:
            lines[executor, processes] = {
                "seconds": round(seconds, 1),
                "efficiency": round(alone / (processes * seconds), 2),
            }
    return pd.DataFrame(lines).T.rename_axis(["executor", "processes"])


spread = efficiency(growths["sample"]) if "sample" in growths else None
pd.DataFrame({"recorded": ["not yet"]}) if spread is None else spread

# %% [markdown]
# And what a process does in the first place: the time to train one image, beside
# the loop that one would write (`DataLoader`, `nn.Sequential`, `torch.optim`, one
# net at a time on all threads), on the whole machine, without and with
# augmentation. Without it both spend most of their time in the same convolutions,
# and there is not much to gain; the goal of 2.5 times was missed. With it the loop
# waits for transforms that are made one image after the other, and half of all
# runs are augmented.

# %%
pd.DataFrame(
    {
        name: {
            "ours, us an image": round(rows[name]["ours"], 1),
            "plain loop": round(rows[name]["peers"]["plain-loop"], 1),
            "times as fast": round(
                rows[name]["peers"]["plain-loop"] / rows[name]["ours"], 2
            ),
            "limit": round(rows[name]["limit"], 1),
        }
        for name in ("nws", "nws-augmented")
        if name in rows
    }
).T

# %% [markdown]
# ## Sixteen thousand
#
# The paper's two sets, trained on whole data sets. The images that a net sees are
# known but for the number of epochs, which early stopping decides; between 20,
# the least, and 100 is a guess that covers most. The rate of a core is measured
# (above). That of a GPU is not, so the table asks what rate it would take.

# %%
TRAIN = {  # images, a tenth of them for validation (supplement A.1)
    "mnist": 60_000, "cifar10": 50_000, "svhn": 73_257,
    "stl10": 5_000, "fashion": 60_000,
}  # fmt: skip
mean_images = 0.9 * np.mean(list(TRAIN.values()))
runs = 16_000
core_rate = None
if "nws" in rows:
    both = [rows[name]["ours"] for name in ("nws", "nws-augmented")]
    core_rate = 1e6 / np.mean(both) / bench["machine"]["cores"]


def days(epochs: int, rate: float, units: int) -> float:
    """Days for all runs at so many images a second and unit."""
    return runs * epochs * mean_images / (rate * units) / 86_400


print(f"{mean_images:,.0f} images an epoch on average")
if core_rate:
    print(f"{core_rate:,.0f} images a second and core, measured")

# %%
rates = {"CPU core, measured": core_rate} if core_rate else {}
rates |= {
    f"GPU at {rate:,} images/s, assumed": rate
    for rate in (20_000, 100_000, 500_000)
}
pd.DataFrame(
    {
        (kind, units): {
            f"{epochs} epochs": f"{days(epochs, rate, units):,.1f} days"
            for epochs in (20, 50, 100)
        }
        for kind, rate in rates.items()
        for units in ((64, 1024) if "CPU" in kind else (1, 8, 64))
    }
).T.rename_axis(["trained on", "units"])

# %% [markdown]
# On a GPU, single nets of this size would leave it idle. There
# `nwslib.nws.stack.train_stack` trains nets that share a shape as one stack, each
# with its own learning rate, optimizer, data set and early end, and gives the
# same nets to rounding.
#
# ## On a cluster
#
# A scheduler, workers on as many machines as you have, and the same command:
#
# ```sh
# dask scheduler                                   # on one machine
# dask worker tcp://HOST:8786 --nthreads 1 --nworkers 16   # on each
# python -m nwslib sample ZOO --profile paper --main \
#   --executor dask://HOST:8786
# ```
#
# Images are sent once to each worker; the folder of images is needed only where
# the command runs. With SLURM, [dask-jobqueue](https://jobqueue.dask.org) asks for
# the workers:
#
# ```python
# from dask_jobqueue import SLURMCluster
# from nwslib import nws
# from nwslib.nws import executors
# from nwslib.profiles import get_profile
#
# if __name__ == "__main__":
#     cluster = SLURMCluster(
#         cores=16, processes=16, memory="32GB", walltime="12:00:00"
#     )
#     cluster.scale(jobs=20)
#     plan = get_profile("paper").sampling(fixed_architecture=False)
#     nws.sample(
#         "zoo", plan, 13_000,
#         executor=executors.dask(cluster.scheduler_address),
#     )
# ```
#
# When the time of the jobs is over, start it again: it continues.
#
# ## What it means for you
#
# - Let work that does not talk be single-threaded processes. Two threads in one
#   process gain little on nets of this size; two processes nearly double it.
# - Give each run a stream of random numbers of its own. That is all it takes for
#   results that do not depend on where they were computed.
# - Let one process write, in whole files, and workers hold nothing: then
#   anything may die at any time.
#
# ## Try
#
# - `executors.local(4)` on a machine with more cores.
# - Kill a worker while `python -m nwslib sample ZOO --executor dask` runs.
#
# ## In this chapter
#
# - The same zoo in one process, in many, and by Dask.
# - Measured efficiency on one machine; the arithmetic for 16,000 nets.

# %%
numbers = {
    "equal": same,
    "core rate": core_rate,
    "core-days, 50 epochs": core_rate and days(50, core_rate, 1),
}
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "91_scaling_out", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
