# %% [markdown]
# # Where and when
#
# *A slice tells how a net was trained. Does it matter where in the net it is torn out,
# and how far the training had come?*
#
# In the paper it does, for every hyper-parameter in a way of its own. In ours it does for
# the initialisation: **a machine that reads statistics tells it best in the middle of a
# net and worst at both ends**, before training already, and training takes as much away
# in all places. That it fades *faster* in the first and last layers, as the paper finds,
# our maps neither show nor refute: those of the deep classifiers, which learned from a few
# dozen nets, are too noisy. This page draws how often a classifier is right, for every
# place and every moment, and judges what the paper's text says of such maps.
#
# ## What the paper did
#
# A local meta-classifier can be asked about a slice from any place of a net and from any
# moment of its training. {cite:t}`eilertsen2020classifying` do so all over and draw how
# often it is right: **performance maps**, the place in the weight vector to the right,
# the progress of training downwards (Fig. 5, 20 and 21). The classifiers are those of
# chapter 13. They have learned from the last two snapshots of their training nets only;
# everything above the bottom row is new to them, and so are the nets.
#
# The figures have colours, no numbers, so that we check what the text says of them.

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
n_places: int = 32  # columns of a map

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir n_fixed_runs n_main_runs "
    "n_deep_rounds local_epochs n_places",
)

# %%
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from nwslib import features, plots, report
from nwslib.meta import exam, maps, svm
from nwslib.meta.pool import ARCHITECTURAL, HYPERPARAMETERS
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
)
small = sizes.name == "quick"
room = exam.open_exam(
    sizes, out_dir, data_dir=data_dir, device=device, seed=seed
)
slices = room.questions(
    "fixed",
    "main",
    slices=True,
    among=("init",) if small else HYPERPARAMETERS,
)
recipe = exam.recipes(sizes, device)["local"]
PARTS = ("all",) if small else features.PARTS
print(f"questions: {len(slices)}, parts: {len(PARTS)}, places: {n_places}")

# %% [markdown]
# ## One map
#
# The classifiers of chapter 13, found where that left them. In each round the test
# nets' snapshots, all twenty of them, are sliced at the same relative places.
# {numref}`fig-maps-training` has the questions about training,
# {numref}`fig-maps-architecture` those about architecture.

# %%
dmcs = {
    part: room.train(slices, replace(recipe, part=part)) for part in PARTS
}
paths = room.pool.store(file=room.folder / "paths.bin", device=device)
places = np.linspace(0, 1, n_places if not small else 12)


def map_of(one: str, part: str) -> np.ndarray:
    """Mean over rounds: [snapshots, places]."""
    examples = room.pool.examples(paths, one)
    return maps.pooled(
        [
            maps.performance_map(
                classifier,
                paths,
                examples.of(split.test),
                places,
                recipe.size,
                part,
            )
            for classifier, split in zip(
                dmcs[part][one], slices[one], strict=True
            )
        ]
    ).accuracy


numbers = {
    "maps": {
        one: {part: map_of(one, part).round(3).tolist() for part in PARTS}
        for one in slices
    },
    "nets": {
        one: sum(len(split.test) for split in splits)
        for one, splits in slices.items()
    },
    "chance": {
        one: 1
        / room.pool.runs.loc[
            room.pool.runs["run"].isin(splits[0].train), one
        ].nunique()
        for one, splits in slices.items()
    },
}
name = "14_where_and_when"
recorded = {}
if small:
    recorded = report.recorded(name, profile="full").get("numbers", {})
seen = recorded or numbers


# %% mystnb={"figure": {"caption": "How often local DMCs are right by place (right) and progress (down, initial weights on top), for the six hyper-parameters that say how a net was trained. Columns: slices from anywhere, from convolutions, from fully connected layers. Above each map its least and greatest accuracy, which its colours span. After the paper's Fig. 5 and 20.", "name": "fig-maps-training"}, "image": {"alt": "Six rows of three coloured maps, one row a hyper-parameter, speckled with noise. Those of the initialisation are above chance everywhere, the others around it."}}
def shown(names: list[str]) -> dict:
    """The maps of some hyper-parameters, if there are any."""
    return {one: seen["maps"][one] for one in names if one in seen["maps"]}


training = shown(list(exam.GLOBAL))
_ = plots.performance_maps(training or seen["maps"], seen["chance"])

# %% mystnb={"figure": {"caption": "The same for the five hyper-parameters of the architecture. After the paper's Fig. 21.", "name": "fig-maps-architecture"}, "image": {"alt": "Five rows of three coloured maps, speckled with noise. That of conv width over all weights is dark at the left and bright from a third of the way on."}}
architecture = shown(list(ARCHITECTURAL))
if architecture:
    _ = plots.performance_maps(architecture, seen["chance"])

# %% [markdown]
# A map that is brighter at the top tells of something that training wears away, as one
# would expect of the initialisation; one that is brighter at the bottom of
# something that training writes. Stripes from top to bottom are places where the
# evidence sits. In our recorded maps most of this drowns in noise, for the questions
# about training have a few dozen test nets and those about architecture four to six. The
# initialisation is told everywhere and to the end; for the others the classifiers of
# chapter 13 are hardly better than guessing, wherever they are asked.
#
# ## A machine's map
#
# Is it the DMC that sees this, or would statistics do? The paper's Fig. 5f has the
# initialisation's map of a support vector machine on 16 statistics of slices;
# {numref}`fig-map-svm` is ours.


# %%
def machine_map(one: str) -> np.ndarray:
    """Of a machine that has learned from ten slices of each net."""
    split = slices[one][0]
    examples = room.pool.examples(room.store, one, 1).of(split.train)
    ten = examples.where(np.repeat(np.arange(len(examples)), 10))
    generator = torch.Generator().manual_seed(seed)
    torn = room.store.slices_of(ten.features, generator, recipe.size)
    learned = replace(ten, features=features.whole(torn.cpu().numpy()))
    return maps.performance_map(
        svm.rbf(learned, seed),
        paths,
        room.pool.examples(paths, one).of(split.test),
        places,
        recipe.size,
        features=features.whole,
    ).accuracy


numbers["svm"] = {}
if "init" in slices and not small:
    numbers["svm"]["init"] = machine_map("init").round(3).tolist()
seen = recorded or numbers

# %% mystnb={"figure": {"caption": "The map of the initialisation by a support vector machine with radial basis functions on 16 statistics of each slice, over the whole net. After the paper's Fig. 5f.", "name": "fig-map-svm"}, "image": {"alt": "One coloured map, bright in the middle from top to bottom. Near the left end and at the right end it is darker, and gets darker downwards."}}
if seen["svm"]:
    _ = plots.performance_maps(
        {one: {"all": values} for one, values in seen["svm"].items()},
        seen["chance"],
    )

# %% [markdown]
# Its accuracy at the two ends of a net and in between, before training and after it:

# %%
ended = {}
if seen["svm"]:
    told = np.asarray(seen["svm"]["init"])
    tenth = told.shape[1] // 10
    parts = {
        "first tenth": told[:, :tenth],
        "middle": told[:, tenth:-tenth],
        "last tenth": told[:, -tenth:],
    }
    ended = {name: each.mean(axis=1) for name, each in parts.items()}
pd.DataFrame(ended).iloc[[0, -1] if ended else []].round(2)

# %% [markdown]
# In the recorded run it is worse at both ends from the first weights on, and training
# takes a tenth away everywhere. That rests on 18 test nets: each number may be off by a
# tenth.
#
# A small build skips this map, and shows the recorded run's.
#
# ## Claim by claim
#
# What the text says of its maps, held against ours. The first and last tenth of the
# weight vector stand for the first and last layers. A claim is undecided if the numbers
# are within two standard errors, a test net counting once: they would need more nets.


# %%
def part_of(one: str, part: str = "all") -> np.ndarray:
    """A map [progress, places]."""
    return np.asarray(seen["maps"][one][part])


def ends(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over the first tenth of the places, the middle, the rest."""
    tenth = max(1, values.shape[-1] // 10)
    return tuple(
        float(each.mean())
        for each in (
            values[..., :tenth],
            values[..., tenth:-tenth],
            values[..., -tenth:],
        )
    )


def claims() -> list[dict]:
    """One row a claim of sections 5.3 and F.4."""
    init, chance = part_of("init"), seen["chance"]

    def off(one: str, terms: int) -> float:
        """Standard error of a sum of accuracies, a net counting once."""
        share = part_of(one).mean()
        return float(
            np.sqrt(terms * share * (1 - share) / seen["nets"][one])
        )

    lost = init[0] - init[-1]  # from initial to final weights
    first, middle, last = ends(lost)
    in_conv, in_fc = (
        float(np.mean(part_of("init", part)[0] - part_of("init", part)[-1]))
        for part in ("conv", "fc")
    )
    begin, rest, _ = ends(part_of("optimizer")[-5:])
    profiles = {
        one: part_of(one)[-5:].mean(axis=0)
        for one in ("optimizer", "activation")
    }
    alike = float(np.corrcoef(list(profiles.values()))[0, 1])
    seen_both = all(
        profile.mean() - chance[one] > 2 * off(one, 1)
        for one, profile in profiles.items()
    )
    conv, fc = (
        part_of("filter_size", part)[-5:] for part in ("conv", "fc")
    )
    above = float((fc.mean(axis=0) > chance["filter_size"]).mean())
    least = float(init[-5:].mean(axis=0).min())
    rows = [
        (
            "initialisation fades faster in the first layers",
            "5.3; Fig. 5c",
            f"lost {first:.2f} there, {middle:.2f} in the middle",
            exam.verdict(first - middle, off("init", 4)),
        ),
        (
            "and in the last layers",
            "5.3; Fig. 5c",
            f"lost {last:.2f} there, {middle:.2f} in the middle",
            exam.verdict(last - middle, off("init", 4)),
        ),
        (
            "that is contained in the convolutions",
            "F.4; Fig. 20",
            f"lost {in_conv:.2f} in convolutions, {in_fc:.2f} in FC layers",
            exam.verdict(in_conv - in_fc, off("init", 4)),
        ),
        (
            "patterns of the initialisation are left everywhere",
            "5.3; Fig. 5c",
            f"least accuracy at the end {least:.2f}, "
            f"chance {chance['init']:.2f}",
            exam.verdict(least - chance["init"], off("init", 1)),
        ),
        (
            "optimizer: a peak close to the first layers",
            "5.3; Fig. 5b",
            f"{begin:.2f} there, {rest:.2f} after",
            exam.verdict(begin - rest, off("optimizer", 2)),
        ),
        (
            "maps of optimizer and activation are alike",
            "F.4; Fig. 20",
            f"correlation over places {alike:.2f}"
            + ("" if seen_both else ", of maps at chance"),
            "undecided"
            if not seen_both
            else "agrees"
            if alike > 0.5
            else "contradicts",
        ),
        (
            "filter size: convolutions are superior",
            "F.4; Fig. 21",
            f"{conv.mean():.2f}, FC layers {fc.mean():.2f}",
            exam.verdict(conv.mean() - fc.mean(), off("filter_size", 2)),
        ),
        (
            "a large part of the FC layers reflects the filter size",
            "F.4; Fig. 21",
            f"above chance at {above:.0%} of the places, "
            f"{fc.mean():.2f} on average",
            exam.verdict(
                fc.mean() - chance["filter_size"], off("filter_size", 1)
            ),
        ),
    ]
    names = ("claim", "paper", "ours", "agrees")
    return [dict(zip(names, row, strict=True)) for row in rows]


complete = {"init", "optimizer", "activation", "filter_size"} <= set(
    seen["maps"]
) and "fc" in seen["maps"]["init"]
numbers["claims"] = claims() if complete and not small else []
pd.DataFrame(claims()) if complete else "claims need the full run"

# %% [markdown]
# ## What it means for you
#
# - A map costs no training: one local classifier is asked everywhere. For your own
#   checkpoints, `maps.performance_map` takes any classifier of slices, or of their statistics.
# - Read a map's range first (it stands above it), then its colours: they span that
#   range, however small.
#
# ## Try
#
# - `-p n_places 100`: do stripes get narrower than a slice?
# - `maps.performance_map(...).table()`: every accuracy with its number of nets, for intervals
#   of your own.
#
# ## In this chapter
#
# - Performance maps of local classifiers, over place and progress.
# - The same for a machine that reads statistics of slices.

# %%
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, name, numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
