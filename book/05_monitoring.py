# %% [markdown]
# # Monitoring: what a path's shape tells about training
#
# *Can you tell from weights alone how far a training has come, how good the net
# is, and when to stop?*
#
# Partly. The shape of a path tells what a net is *doing*. While it travels, it
# turns by 20° to 70° from one epoch to the next; once it only shakes about a
# point it turns by 120°, just as unrelated noise would. Among nets trained with
# different settings the shape also tells how well they do: a forecast that sees
# weights and nothing else takes away much of the error in test accuracy, and in
# the improvement still ahead, nearly as much as one that sees the training
# loss. Stopping such nets by the turning angle saves about as many epochs as
# waiting for that loss to level off, or more. Among nets that differ in their seed
# only, the shape tells less: there step length, curvature and smoothness go with
# loss and accuracy mostly because all of them go with time. And only part of what
# was learned on one kind of net holds for the other.
#
# ## What the paper claims
#
# {cite:t}`schuerholt2020monitoring` show that snapshots of one training lie on
# a path of their own, and go on: "We hypothesize that curvature and smoothness
# of the trajectories as well as step length along it may contain information on
# the state of training as well as potential domain shifts" (for the shifts see
# chapter 06). Their poster adds why: an epoch's update "directly relates to the
# training loss", so steps should shrink as the loss does. Neither says what
# curvature and smoothness are, and neither tests the hypothesis. We do both.

# %% tags=["parameters"]
profile: str = "quick"  # sizes: quick, full or paper
seed: int = 0  # of the zoos
device: str = "cpu"  # where nets train: cpu, cuda, ...
data_dir: str = None  # folder of image files, else $NWSLIB_DATA
out_dir: str = "../_build/out"  # where zoos and results go
n_models: int = None  # overrides the profile: nets in each zoo
n_varied_models: int = None  # the same, nets with recipes of their own
allowed: float = 0.5  # points of accuracy that stopping may cost

# %%
from nwslib.report import check_parameters

check_parameters(
    globals(),
    "profile seed device data_dir out_dir n_models n_varied_models allowed",
)

# %%
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from nwslib import data, forecast, plots, progress, readings, report
from nwslib.monitor import TrajectoryMonitor, read_log
from nwslib.profiles import get_profile

started = time.time()
plots.use_book_style()
sizes = get_profile(
    profile, n_models=n_models, n_varied_models=n_varied_models
)
images = data.load(sizes.data, data_dir, size=14)
print(
    f"profile {sizes.name}: 2 x {sizes.n_models} nets of one recipe, "
    f"2 x {sizes.n_varied_models} of their own, {sizes.epochs} epochs"
)

# %% [markdown]
# ## Four zoos
#
# The paper's two zoos differ in the seed only. That is the hard case, and not
# the common one: whoever watches trainings changes learning rates between them.
# So beside each zoo of **one recipe** we grow one of **own recipes**, in which
# every net draws its own: SGD or Adam, a learning rate from a range of two decades,
# momentum, weight decay and initialisation.

# %%
zoos = {}
for net in ("A1", "A2"):
    zoos[net] = {
        "one recipe": readings.paper_zoo(
            net, sizes, images, out_dir, seed=seed, device=device
        ),
        "own recipes": readings.varied_zoo(
            net, sizes, images, out_dir, seed=seed, device=device
        ),
    }

# %% [markdown]
# ## What is measured
#
# After every epoch, from the snapshots so far and nothing else:
#
# | quantity | |
# | --- | --- |
# | step length | distance from the snapshot before |
# | turning angle | between the last two steps; 0° straight on |
# | curvature | turning angle over the mean length of those steps {cite:p}`crane2017glimpse` |
# | smoothness | mean cosine of all turning angles so far {cite:p}`benhamou2004reliably` |
# | straightness | distance from the start over distance travelled {cite:p}`batschelet1981circular` |
# | distance travelled, distance from start | |
# | dimension | how many directions the last five snapshots spread in: their participation ratio {cite:p}`gao2017theory`; 1 on a line, at most 4 |
#
# The first seven need no more than three weight vectors in memory
# (`nwslib.trajectory.PathFollower`). Each is measured in the whole net and in
# every layer.
#
# Accuracy is on the test images after the epoch; training loss is the mean over
# the epoch's batches, each taken as it was trained on.


# %%
def watch(zoo):
    """Traces, accuracy, loss and recipes of a zoo's nets, in one order."""
    runs = zoo.select(diverged=False)
    traced = progress.traces(zoo.weights(runs), zoo.layout)
    moving = np.isfinite(forecast.features(traced, [progress.WINDOW]))
    kept = moving.all(axis=(1, 2))  # nets that stood still have no angles
    table = zoo.runs.set_index("run").loc[runs][kept]

    def history(split: str, measure: str) -> np.ndarray:
        rows = zoo.history[zoo.history["split"] == split]
        wide = rows.pivot(index="run", columns="epoch", values=measure)
        return wide.loc[table.index].to_numpy(dtype=float)

    return {
        "traced": {
            part: {name: values[kept] for name, values in shape.items()}
            for part, shape in traced.items()
        },
        "accuracy": 100 * history("test", "accuracy"),  # in points
        "loss": np.log(history("train", "loss")),  # NaN at epoch 0
        "recipes": table,
    }


watched = {
    (net, kind): watch(zoo)
    for net, kinds in zoos.items()
    for kind, zoo in kinds.items()
}
pd.DataFrame(
    {
        f"{net}, {kind}": {
            "nets": len(zoo["accuracy"]),
            "left out": len(zoos[net][kind]) - len(zoo["accuracy"]),
            "lowest": zoo["accuracy"][:, -1].min(),
            "median": np.median(zoo["accuracy"][:, -1]),
            "highest": zoo["accuracy"][:, -1].max(),
        }
        for (net, kind), zoo in watched.items()
    }
).T.round(1).astype({"nets": int, "left out": int}).rename_axis(
    "test accuracy at the end, points"
)

# %% [markdown]
# ## What wandering looks like
#
# A number needs something to be compared with. Two paths go nowhere. A **random
# walk** turns by 90° at every step (in many dimensions), has smoothness 0 and,
# over a long time, dimension 2.5 {cite:p}`antognini2018pca`. A net that has
# arrived and is shaken by the noise of its batches is not even that: its
# snapshots scatter about a point, each step partly undoes the last, and the
# angle is 120°, the smoothness -0.5, the dimension as large as it can be.
# {numref}`fig-path-shapes` holds our nets against both.

# %% mystnb={"figure": {"caption": "How paths change shape over training, medians and bands from the 10th to the 90th percentile over nets; whole weight vectors. Dashed: a random walk. Dotted: noise about a point.", "name": "fig-path-shapes"}, "image": {"alt": "Five rows of curves over epochs for two kinds of net: test accuracy rises, step length falls, turning angle first falls and later rises, for the fully connected net up to the level of noise about a point, smoothness and dimension accordingly."}}
ideal = {
    name: progress.trace(path)
    for name, path in progress.ideal_paths(sizes.epochs + 1).items()
}
shown = ("step", "turning", "smoothness", "dimension")
_ = plots.path_shapes(
    {
        net: {
            kind: {
                "accuracy": watched[net, kind]["accuracy"],
                **{
                    q: watched[net, kind]["traced"]["whole"][q]
                    for q in shown
                },
            }
            for kind in kinds
        }
        for net, kinds in zoos.items()
    },
    {
        name: {q: values[q] for q in shown if q != "step"}
        for name, values in ideal.items()
    },
)

# %% [markdown]
# On MNIST (the recorded run, here and below), A1 is the textbook case. Its paths
# are straight for some ten epochs, then pass 90°, and end within a few degrees of
# 120°, with a dimension close to the highest possible: nothing is left but noise
# about a point, and the accuracy stands still. A2, whose steps are much shorter,
# still turns by only 40° at the end and moves along a line. But travelling is not
# improving: its accuracy has stood still since epoch 15 or so. On the digits, where
# an epoch has forty times fewer steps, paths stay straight for many more epochs.
#
# ## Within a net, over time
#
# Over the epochs of each net we take Spearman's rank correlation of every quantity
# with the training loss ({numref}`fig-within-loss`) and with the test accuracy
# ({numref}`fig-within-accuracy`), and average it over nets, with a 95 % interval.
# Any two things that only ever rise correlate perfectly, and nearly everything in
# training only ever rises or falls. So each correlation stands three times:
#
# - **raw**;
# - **less time**: from both sides, the mean of all *other* nets at the epoch is
#   taken away. What is left asks: does a net whose steps are longer than usual
#   *for this epoch* also do better than usual for this epoch?
# - **changes**: from one epoch to the next, on both sides.
#
# Intervals are bootstraps over nets {cite:p}`efron1993introduction`, because a
# net's epochs are not independent of each other.

# %%
first = progress.WINDOW - 1  # from here on all quantities are defined


def over_time(zoo: dict, part: str, measure: str) -> dict:
    """Correlations of each quantity with a measure, in three ways."""
    target = zoo[measure][:, first:]
    found = {}
    for quantity in progress.QUANTITIES:
        values = progress.logged(quantity, zoo["traced"][part][quantity])
        values = values[:, first:]
        found[quantity] = {
            "raw": progress.within(values, target),
            "less time": progress.within(
                progress.without_time(values), progress.without_time(target)
            ),
            "changes": progress.within(np.diff(values), np.diff(target)),
        }
    return found


within = {
    (net, kind, part, measure): over_time(zoo, part, measure)
    for (net, kind), zoo in watched.items()
    for part in zoo["traced"]
    for measure in ("loss", "accuracy")
}


def within_figure(kind: str, measure: str):
    """Both nets' correlations beside each other."""
    return plots.correlations(
        {net: within[net, kind, "whole", measure] for net in zoos}
    )


# %% mystnb={"figure": {"caption": "Rank correlation of each quantity with the training loss over a net's epochs, averaged over the nets of one recipe. White: the interval over nets holds zero.", "name": "fig-within-loss"}, "image": {"alt": "Two tables of coloured numbers, one for each kind of net: strong raw correlations with the training loss in all rows, weaker ones once time is taken away."}}
_ = within_figure("one recipe", "loss")

# %% mystnb={"figure": {"caption": "The same with test accuracy.", "name": "fig-within-accuracy"}, "image": {"alt": "Two tables of coloured numbers: raw correlations with test accuracy are moderate, and most vanish once time is taken away."}}
_ = within_figure("one recipe", "accuracy")

# %% [markdown]
# The correlations with test accuracy in numbers, with intervals.


# %%
def as_table(rows: dict) -> pd.DataFrame:
    """Estimates as text, quantities as rows."""
    table = pd.DataFrame(
        {
            column: {name: str(entry) for name, entry in values.items()}
            for column, values in rows.items()
        }
    )
    return table.rename(index=lambda name: name.replace("_", " "))


as_table(
    {
        f"{net}, {column}": {
            quantity: row[column]
            for quantity, row in within[
                net, "one recipe", "whole", "accuracy"
            ].items()
        }
        for net in zoos
        for column in ("raw", "less time")
    }
)

# %% [markdown]
# Is the signal hidden in one layer? {numref}`fig-within-layers` goes layer by
# layer: test accuracy, time taken away.

# %% mystnb={"figure": {"caption": "Rank correlation with test accuracy over a net's epochs, time taken away, whole net and layer by layer; one recipe.", "name": "fig-within-layers"}, "image": {"alt": "Two tables of coloured numbers, a column for the whole net and one for each layer; small numbers throughout."}}
_ = plots.correlations(
    {
        net: {
            quantity: {
                part.partition(":")[2] or part: within[
                    net, "one recipe", part, "accuracy"
                ][quantity]["less time"]
                for part in watched[net, "one recipe"]["traced"]
            }
            for quantity in progress.QUANTITIES
        }
        for net in zoos
    }
)

# %% [markdown]
# And does it survive when every net has its own learning rate?
# {numref}`fig-within-own` has test accuracy again, for own recipes.

# %% mystnb={"figure": {"caption": "Rank correlation of each quantity with test accuracy over a net's epochs, averaged over nets with recipes of their own.", "name": "fig-within-own"}, "image": {"alt": "Two tables of coloured numbers: raw correlations with test accuracy, and what is left of them once time is taken away, for nets with own recipes."}}
_ = within_figure("own recipes", "accuracy")

# %% [markdown]
# The first column of {numref}`fig-within-loss` is what the paper expected: steps
# shrink as the training loss does, and nearly everything else goes with the loss as
# well. The second column is the sobering one. On MNIST, once what all nets share at
# an epoch is taken away, step length, turning angle and curvature say next to
# nothing about the test accuracy ({numref}`fig-within-accuracy`), in both zoos: none
# of these correlations is over .12. What stays is distance: a net that has travelled
# further than the others at its age has, by a little (.2 and .3), the better
# accuracy and, by more (.5 and .75), the lower loss. No layer hides a stronger
# signal.
#
# With recipes of their own more survives ({numref}`fig-within-own`), and the
# distance from the start stands out: a net that lags behind the others in distance
# lags in accuracy, and catches up in both.
#
# ## Across nets, at one time
#
# Now time is fixed: at one epoch, do nets whose paths look different also
# differ in accuracy, **now**, at the **end**, or in the improvement still
# **ahead**? {numref}`fig-across-one` and {numref}`fig-across-own` answer. Training
# loss, in the last row, is what one would look at otherwise.


# %%
def at_epoch(zoo: dict, epoch: int) -> dict:
    """Correlations over nets at one epoch."""
    accuracy = zoo["accuracy"]
    targets = {
        "now": accuracy[:, epoch],
        "end": accuracy[:, -1],
        "ahead": accuracy[:, -1] - accuracy[:, epoch],
    }
    signals = {
        quantity: progress.logged(quantity, values)[:, epoch]
        for quantity, values in zoo["traced"]["whole"].items()
    }
    signals["training loss"] = zoo["loss"][:, epoch]
    return {
        name: {
            target: progress.across(values, outcome)
            for target, outcome in targets.items()
        }
        for name, values in signals.items()
    }


moment = 10  # epochs
across = {key: at_epoch(zoo, moment) for key, zoo in watched.items()}

# %% mystnb={"figure": {"caption": "Rank correlation over nets of one recipe at epoch 10: accuracy now, at the end, and the improvement ahead. White: the interval holds zero.", "name": "fig-across-one"}, "image": {"alt": "Two tables of coloured numbers: few cells are coloured, except those of the training loss."}}
_ = plots.correlations({net: across[net, "one recipe"] for net in zoos})

# %% mystnb={"figure": {"caption": "The same over nets with recipes of their own.", "name": "fig-across-own"}, "image": {"alt": "Two tables of coloured numbers: far more cells are coloured than for nets of one recipe."}}
_ = plots.correlations({net: across[net, "own recipes"] for net in zoos})

# %% [markdown]
# Two columns of {numref}`fig-across-own` with their intervals:

# %%
as_table(
    {
        f"{net}, {target}": {
            name: row[target]
            for name, row in across[net, "own recipes"].items()
        }
        for net in zoos
        for target in ("now", "ahead")
    }
)

# %% [markdown]
# With one recipe, most of {numref}`fig-across-one` is white or pale, and the training
# loss tells more than any property of the path. (Of so many cells, two or three are
# coloured by chance.) With own recipes ({numref}`fig-across-own`) the table fills. On
# MNIST the two kinds of net agree in every sign of the last column: nets that at
# epoch 10 already turn sharply, are less smooth, less straight and further from
# their start have less ahead.
# That is no wonder. A path's shape betrays the learning rate, and the learning
# rate decides how fast a net gets where it is going. Whether the shape says
# more than the settings do is the next question.
#
# ## Forecasts without test data
#
# A correlation is not yet a forecast. From what is known at epochs 5, 10, 15,
# ... we forecast two things: the test accuracy now, and the improvement still
# ahead. Every forecast is of a net that the model has not seen (five folds,
# divided by net). Two models forecast: a ridge regression, and a forest of
# extremely randomised trees {cite:p}`geurts2006extremely`. What they may know,
# besides the time:
#
# | known | needs |
# | --- | --- |
# | geometry | weights only |
# | recipe | nothing but its own settings (own recipes only) |
# | training loss | the training data |
# | test accuracy | what we want to do without: the upper bound |
#
# The **skill** is the share that is taken away of the squared error of a forecast
# by time alone (the mean of all other nets at that epoch): 1 is perfect, 0 no
# better than the time.

# %%
epochs = np.arange(5, sizes.epochs, 5)


def outcomes(zoo: dict) -> np.ndarray:
    """Accuracy now and improvement ahead, [nets, epochs, 2], in points."""
    now = zoo["accuracy"][:, epochs]
    return np.stack([now, zoo["accuracy"][:, -1:] - now], axis=-1)


def known(zoo: dict, kind: str) -> dict:
    """What forecasts may know, each [nets, epochs, features]."""
    geometry = forecast.features(zoo["traced"], epochs)
    loss = zoo["loss"][:, epochs, None]
    sets = {
        "geometry": geometry,
        "training loss": loss,
        "geometry, loss": np.concatenate([geometry, loss], axis=-1),
        "test accuracy": zoo["accuracy"][:, epochs, None],
    }
    if kind == "own recipes":
        settings = pd.get_dummies(
            zoo["recipes"][["optimizer", "init"]], dtype=float
        ).assign(
            lr=np.log(zoo["recipes"]["lr"]),
            decay=np.log(zoo["recipes"]["weight_decay"]),
            momentum=zoo["recipes"]["momentum"],
        )
        recipe = np.repeat(
            settings.to_numpy()[:, None], len(epochs), axis=1
        )
        sets["recipe"] = recipe
        sets["geometry, recipe"] = np.concatenate([geometry, recipe], -1)
    return sets


def score(true: np.ndarray, predicted: np.ndarray) -> dict:
    """Error in points and skill, of both outcomes."""
    alone = progress.others_mean(true)
    return {
        f"{measure}, {target}": judge
        for k, target in enumerate(("now", "ahead"))
        for measure, judge in (
            ("error", forecast.error(true[..., k], predicted[..., k])),
            (
                "skill",
                forecast.skill(
                    true[..., k], predicted[..., k], alone[..., k]
                ),
            ),
        )
    }


predicted, scores = {}, {}
for (net, kind), zoo in watched.items():
    true = outcomes(zoo)
    scores[net, kind] = {
        "time alone": score(true, progress.others_mean(true))
    }
    for name, inputs in known(zoo, kind).items():
        for model in forecast.MODELS:
            guess = forecast.forecast(inputs, true, epochs, model)
            predicted[net, kind, name, model] = guess
            scores[net, kind][f"{name} ({model})"] = score(true, guess)

# %% [markdown]
# One recipe first: only the seed differs. Forecasts by trees, error in points
# of accuracy.


# %%
def forecast_table(kind: str, target: str) -> pd.DataFrame:
    """Skills and errors of one outcome, both nets, trees."""
    return as_table(
        {
            f"{net}, {measure}": {
                name.removesuffix(" (trees)"): row[f"{measure}, {target}"]
                for name, row in scores[net, kind].items()
                if not name.endswith("(linear)")
            }
            for net in zoos
            for measure in ("skill", "error")
        }
    )


forecast_table("one recipe", "now").rename_axis("accuracy now")

# %%
forecast_table("one recipe", "ahead").rename_axis("improvement ahead")

# %% [markdown]
# And with recipes of their own.

# %%
forecast_table("own recipes", "now").rename_axis("accuracy now")

# %%
forecast_table("own recipes", "ahead").rename_axis("improvement ahead")

# %% [markdown]
# Does it take trees? Skill of the geometry in a linear formula and in trees:

# %%
as_table(
    {
        f"{target}, {model}": {
            f"{net}, {kind}": scores[net, kind][f"geometry ({model})"][
                f"skill, {target}"
            ]
            for net, kind in watched
        }
        for target in ("now", "ahead")
        for model in forecast.MODELS
    }
)

# %% mystnb={"figure": {"caption": "Improvement ahead, in points of test accuracy: forecast from the geometry of the path alone by trees that never saw the net, and what came. On the dashed line a forecast is right.", "name": "fig-forecasts"}, "image": {"alt": "Four scatter plots of improvement that came over improvement forecast; points follow the diagonal for nets with own recipes and much less for nets of one recipe."}}
_ = plots.forecasts(
    {
        net: {
            kind: (
                outcomes(watched[net, kind])[..., 1],
                predicted[net, kind, "geometry", "trees"][..., 1],
            )
            for kind in kinds
        }
        for net, kinds in zoos.items()
    },
    epochs,
)

# %% [markdown]
# For **one recipe** the training loss is the better guide. On MNIST the geometry
# takes away .65 (A1) and .25 (A2) of the squared error in the accuracy *now*, the
# loss .81 and .44. The improvement *ahead* ({numref}`fig-forecasts`) can in A1 hardly
# be forecast by anything, the test accuracy included, which takes away .18: what
# differs between these nets by then is mostly chance.
#
# For **own recipes** weights are enough. On MNIST the geometry takes away .72 (A1)
# and .86 (A2) of the squared error in accuracy, nearly what the loss does, and of
# the error in the improvement ahead about as much as the training loss or the test
# accuracy does, or more: someone who watches only weights knows about as well as
# someone with a test set whether a net has still to improve. It is more than
# the settings tell: the recipe alone is worse, and added to the geometry it
# changes nothing. A path knows its learning rate.
#
# ## Which quantity carries it?
#
# {numref}`fig-single-quantities` has the same forecast of accuracy now, with one
# quantity at a time, in the whole net and all layers.

# %% mystnb={"figure": {"caption": "Skill of forecasting the accuracy now from a single quantity (trees), and from all. Lines: 95 % intervals over nets.", "name": "fig-single-quantities"}, "image": {"alt": "Horizontal bars of forecast skill for each quantity, for nets of one recipe and of own recipes, one panel a kind of net."}}
single = {
    (net, kind): {
        quantity: score(
            outcomes(zoo),
            forecast.forecast(
                forecast.features(zoo["traced"], epochs, [quantity]),
                outcomes(zoo),
                epochs,
            ),
        )
        for quantity in progress.QUANTITIES
    }
    | {"all": scores[net, kind]["geometry (trees)"]}
    for (net, kind), zoo in watched.items()
}
_ = plots.skill_bars(
    {
        net: {
            kind: {
                name: row["skill, now"]
                for name, row in single[net, kind].items()
            }
            for kind in kinds
        }
        for net, kinds in zoos.items()
    }
)

# %% [markdown]
# With recipes of their own, the two distances carry nearly all of it, in A2 the
# step length too. Curvature, which the paper names first, tells least. With one
# recipe, the distance from the start leads again; in A2 no quantity does much.
#
# ## Does it carry over?
#
# A forecast is of more use if it can be learned from other people's nets. Rows: the
# zoo that trees learned from, by the geometry of the whole net (layers differ between
# the two kinds). Columns: the zoo they are tried on. Numbers: rank correlation
# of forecast and true accuracy over nets, averaged over the epochs; within a
# zoo, nets are forecast by the other nets as before.


# %%
def whole_net(zoo: dict) -> np.ndarray:
    """Features that every architecture has."""
    return forecast.features(zoo["traced"], epochs, parts=["whole"])


carried = {}
for source, zoo in watched.items():
    learned = forecast.fit(whole_net(zoo), outcomes(zoo), epochs)
    for target, other in watched.items():
        if source == target:
            guess = forecast.forecast(whole_net(zoo), outcomes(zoo), epochs)
        else:
            guess = learned(whole_net(other))
        true = outcomes(other)
        alone = progress.others_mean(true)
        carried[source, target] = {
            "rank, now": progress.across(true[..., 0], guess[..., 0]),
            "skill, ahead": forecast.skill(
                true[..., 1], guess[..., 1], alone[..., 1]
            ),
        }


def carried_table(measure: str) -> pd.DataFrame:
    """Learned from (rows) and tried on (columns)."""
    return as_table(
        {
            ", ".join(target): {
                ", ".join(source): carried[source, target][measure]
                for source in watched
            }
            for target in watched
        }
    )


carried_table("rank, now")

# %% [markdown]
# And the skill in forecasting the improvement ahead. It asks for more than
# order: the level must be right too.

# %%
carried_table("skill, ahead")

# %% [markdown]
# Each zoo is best forecast by its own nets. Something carries, but not something
# to rely on. On MNIST, what is learned from A2 with one recipe puts A2's nets with
# own recipes nearly as well in order as what is learned from those themselves, yet
# knows less than half as much of the improvement ahead. A1 with own recipes teaches
# half of what can be known about A2; A2 teaches nothing about the improvement in
# A1. Many other forecasts are worse than the time alone, for distances in 1376
# weights are not distances in 2160. A forecast has to be learned on nets of the same
# architecture, as varied as those it is for.
#
# ## When to stop
#
# A net that wanders has little to gain. That suggests a rule which looks at
# weights alone: **stop when the mean of the last five turning angles passes a
# threshold.** Its rivals look at the change over five epochs, and stop when the
# distance from the start no longer grows, when the training loss no longer
# falls, or when the test accuracy no longer rises, which needs test data
# {cite:p}`prechelt1998early`. The last rival is a fixed **epoch**.
#
# What a net *gives up* is the accuracy that it would still have gained by the last
# epoch, never less than nothing. Each rule's threshold is the one that saves the
# most epochs on the nets of four folds while these give up at most half a point on
# average (`allowed`); the fifth fold judges. {numref}`fig-stopping` shows all
# thresholds.

# %%
window = progress.WINDOW


def rules(zoo: dict) -> dict:
    """Signals that rise as a training ends, each [nets, epochs + 1]."""
    shape, accuracy = zoo["traced"]["whole"], zoo["accuracy"]
    return {
        "turning angle": forecast.trailing_mean(shape["turning"], window),
        "distance from start": -forecast.change(
            progress.logged("from_start", shape["from_start"]), window
        ),
        "training loss": forecast.change(zoo["loss"], window),
        "test accuracy": -forecast.change(
            forecast.trailing_mean(accuracy, 3), window
        ),
        "epoch": np.broadcast_to(
            np.arange(accuracy.shape[1], dtype=float), accuracy.shape
        ),
    }


over = "turning over 90°"
stopped = {}
for (net, kind), zoo in watched.items():
    accuracy = zoo["accuracy"]
    stops = {
        name: forecast.stop_early(signal, accuracy, allowed)
        for name, signal in rules(zoo).items()
    }
    stops[over] = forecast.first_above(
        rules(zoo)["turning angle"], np.pi / 2
    )
    for name, stop in stops.items():
        lost = forecast.shortfall(accuracy, stop)
        stopped[net, kind, name] = {
            "epochs saved": progress.mean_over_nets(sizes.epochs - stop),
            "points given up": progress.mean_over_nets(lost),
            "over 1 point": progress.mean_over_nets(lost > 1),
        }


def stop_table(kind: str) -> pd.DataFrame:
    """What each rule saves and costs."""
    names = dict.fromkeys(name for _, _, name in stopped)
    return as_table(
        {
            f"{net}, {measure}": {
                name: stopped[net, kind, name][measure] for name in names
            }
            for net in zoos
            for measure in ("epochs saved", "points given up")
        }
    )


stop_table("one recipe")

# %%
stop_table("own recipes")

# %% mystnb={"figure": {"caption": "What rules of early stopping save and cost: each line runs through the thresholds of one rule. Lower right is better; the dashed line is what is allowed.", "name": "fig-stopping"}, "image": {"alt": "Four panels of curves of points given up over epochs saved, one curve a rule."}}
curves = {
    net: {
        kind: {
            name: forecast.trade_off(
                signal, watched[net, kind]["accuracy"]
            )[1:]
            for name, signal in rules(watched[net, kind]).items()
        }
        for kind in kinds
    }
    for net, kinds in zoos.items()
}
_ = plots.stopping(curves, allowed)

# %% [markdown]
# One threshold needs no calibration at all: 90°, above which a path goes back
# more than it goes on. The table has the share of nets that pass it, their median
# epoch, and what they give up if they stop there; beside that, the improvement
# still ahead, at that same epoch, of the nets that never pass it.


# %%
def wandering(zoo: dict) -> dict:
    """Nets that turn by more than 90 degrees, and the others."""
    accuracy = zoo["accuracy"]
    stop = forecast.first_above(rules(zoo)["turning angle"], np.pi / 2)
    passed = stop < sizes.epochs
    epoch = int(np.median(stop[passed])) if passed.any() else sizes.epochs
    lost = forecast.shortfall(accuracy, stop)[passed]
    ahead = (accuracy[:, -1] - accuracy[:, epoch])[~passed]
    return {
        "nets": progress.mean_over_nets(passed),
        "epoch": epoch if passed.any() else "",
        "points given up": progress.mean_over_nets(lost),
        "others' points ahead": progress.mean_over_nets(ahead),
    }


wanderers = {", ".join(key): wandering(zoo) for key, zoo in watched.items()}
pd.DataFrame(wanderers).T.astype(str).rename_axis("turning over 90°")

# %% [markdown]
# With one recipe, no rule is much better than a fixed epoch: such nets are ready at
# about the same time. With own recipes a fixed epoch is far behind, and the turning
# angle saves at least as many epochs as a plateau of the training loss, at a
# price that the intervals do not tell apart. The distance from the start does
# equally well. The test accuracy is too noisy to be watched from epoch to epoch.
#
# The untuned threshold sorts nets too. On MNIST, nets that pass 90° give up half
# a point or less on average, while nets that do not pass it still have several
# times as much ahead. On the digits it is too bold: with a hundred steps in an
# epoch, the noise of the batches turns a path around while it still drifts to
# better places. Angles are measured between snapshots, and these must be far
# enough apart for the drift to show.
#
# Two more limits. Learning rates here are constant: a net that shakes about a
# point may well improve if its rate falls, which we did not try. What has come
# to its end is the training *at this learning rate*. And a straight path
# promises nothing, as A2 shows.
#
# ## Claim by claim
#
# A correlation holds (*yes*) if its interval excludes zero after time is taken
# away, with the sign it had before; it is a *clock* if it was there only before,
# and *reversed* if the sign has changed. The number is the correlation less time. A
# forecast holds if its skill is above zero. The verdict is on the recorded run,
# where there is one.


# %%
def yes(holds: bool) -> str:
    """A verdict in words."""
    return "yes" if holds else "no"


claims = {}
for net in zoos:
    one = watched[net, "one recipe"]["traced"]["whole"]
    shorter = np.diff(one["step"][:, 1:]) < 0
    smooth = progress.mean_over_nets(one["smoothness"][:, -1])
    claims["paths are smooth", net] = smooth, yes(smooth.sign > 0)
    claims["each step is shorter than the last", net] = (
        progress.mean_over_nets(shorter.mean(axis=1)),
        yes(shorter.mean() > 0.95),
    )
    for quantity, measure in (
        ("step", "loss"),
        ("step", "accuracy"),
        ("curvature", "accuracy"),
        ("smoothness", "accuracy"),
    ):
        row = within[net, "one recipe", "whole", measure][quantity]
        left, raw = row["less time"], row["raw"]
        if left.sign:
            holds = "yes" if left.sign == raw.sign else "reversed"
        else:
            holds = "clock" if raw.sign else "no"
        name = f"{quantity} length" if quantity == "step" else quantity
        claims[f"{name} tells {measure}", net] = left, holds
    for kind in zoos[net]:
        for target, what in (
            ("now", "accuracy"),
            ("ahead", "what is ahead"),
        ):
            skill = scores[net, kind]["geometry (trees)"][
                f"skill, {target}"
            ]
            claims[f"shape tells {what}, {kind}", net] = (
                skill,
                yes(skill.sign > 0),
            )


# %%
def plain(entry):
    """Nested results as JSON values: an estimate is [value, low, high]."""
    if isinstance(entry, dict):
        return {
            key
            if isinstance(key, str)
            else ", ".join(map(str, key)): plain(e)
            for key, e in entry.items()
        }
    if isinstance(entry, progress.Estimate):
        return [round(n, 3) for n in (entry.value, entry.low, entry.high)]
    return entry


numbers = {
    "claims": {
        claim: {"ours": plain(ours), "holds": holds}
        for claim, (ours, holds) in (
            (", ".join(key), found) for key, found in claims.items()
        )
    }
}
before = report.recorded("05_monitoring").get("numbers", {})


def told(numbers: dict, claim: str) -> str:
    """An estimate out of a results file, as in the tables."""
    found = numbers.get("claims", {}).get(claim)
    return str(progress.Estimate(*found["ours"])) if found else ""


judged = before.get("claims", numbers["claims"])
pd.DataFrame(
    {
        "recorded": {c: told(before, c) for c in numbers["claims"]},
        "this run": {c: told(numbers, c) for c in numbers["claims"]},
        "holds?": {c: judged[c]["holds"] for c in numbers["claims"]},
    }
)

# %% [markdown]
# So the hypothesis holds in part. Shape does tell the state of training, but the
# three quantities that the paper names do so mainly as clocks; what is left of
# them is small, and distances tell more. "Smooth" is right for A2 and, over a
# whole training on MNIST, wrong for A1, whose steps undo each other in the end.
# And steps get shorter in the long run, not from each epoch to the next.
#
# ## Watch a training live
#
# All of the above is measured afterwards. `TrajectoryMonitor` follows a net while
# it trains: every few training steps it measures how the weights have moved since
# its last look, in the whole net and by layer, writes a line to a log and raises
# named alarms. It needs no data, no labels and no second net, and three lines in
# anyone's training loop, marked below. The net here is an ordinary PyTorch one;
# {numref}`fig-monitor-log` draws its log. After a thousand steps its images are
# turned by 90°, and nobody tells the monitor.

# %%
log = Path(out_dir) / "monitored.jsonl"
log.unlink(missing_ok=True)  # else this run would be appended to the last
threads = torch.get_num_threads()
torch.set_num_threads(1)  # so small a net has no work for more
torch.manual_seed(seed)
net = nn.Sequential(
    nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10)
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
monitor = TrajectoryMonitor(net, every=10, log=log)  # two: construct
for step in range(1500):
    drawn = torch.randint(len(images.train_labels), (32,))
    x = images.train_images[drawn].float() / 255
    if step >= 1000:
        x = x.rot90(1, (2, 3))
    loss = F.cross_entropy(net(x), images.train_labels[drawn])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    monitor.step()  # three: call (one was the import)
torch.set_num_threads(threads)
for alarm in monitor.alarms:
    print(f"step {alarm.step}, {alarm.name}: {alarm.message}")

# %% mystnb={"figure": {"caption": "The log of one training: lengths of the steps between observations, of the whole net and of its layers, and the turning angle. Dashed: alarms with their names. The images were turned by 90° after a thousand steps.", "name": "fig-monitor-log"}, "image": {"alt": "Two line plots over training steps: step lengths fall and jump up by more than tenfold at step one thousand, where a dashed line is marked jump; the turning angle wavers about 90 degrees and falls to 30 for a moment after it."}}
_ = plots.monitor_log(read_log(log))

# %% [markdown]
# | alarm | raised when |
# | --- | --- |
# | `not-finite` | a weight or a running statistic is NaN or infinite |
# | `frozen` | nothing moved, or a layer that wants gradients did not |
# | `jump` | the step is far longer than the net's last twenty |
# | `turn` | the path turns far more than at the last twenty |
# | `balance` | the layers' shares of the step are unlike those of the last twenty |
#
# The last three compare a net with its own past, in *robust deviations*: distances
# from the median of the last twenty, in units of their median absolute deviation,
# scaled like a standard deviation. How often they are false, and what they notice,
# was counted on small nets of five kinds with four optimizers and five
# learning-rate schedules (`tests/benchmarks/alarm_rates.py`).

# %%
rates = report.recorded("alarm-rates", profile="digits")["numbers"]
false = rates["false alarms per 100 observations"]["all"]["all"]
noticed = rates["share of changes noticed"]
print(f"false alarms in 100 observations: {false['any']:.2f}")
pd.DataFrame(noticed).T[["any", "jump", "turn", "balance"]].rename_axis(
    "share of changes noticed, by any alarm and by each"
)

# %% [markdown]
# The length of the step does nearly all the work, and the turning angle, which
# the paper hoped for, little. A decaying learning rate is no alarm, because
# shorter steps are none; one that is multiplied by hand is. Chapter 06 asks the
# same of many nets and many changes.
#
# Save the monitor's state beside the checkpoint, and a training that was killed
# goes on as if nothing had happened, log included:
#
# ```python
# state = {"net": net.state_dict(), "monitor": monitor.state_dict()}
# torch.save(state, "last.pt")
# ...
# state = torch.load("last.pt", weights_only=True)
# monitor.load_state_dict(state["monitor"])
# ```
#
# For large nets, `project=256` keeps 256 random combinations of each tensor in
# place of three weight vectors (12 bytes a weight). In Lightning and in the
# Hugging Face `Trainer` the monitor is a callback; neither package is a
# dependency, so the hooks come without the base class:
#
# ```python
# from lightning.pytorch import Callback
# from nwslib.monitor import LightningHooks
#
# class Monitor(LightningHooks, Callback):
#     pass
#
# Trainer(callbacks=[Monitor(every=100, log="run.jsonl")])
# ```
#
# ```python
# from transformers import TrainerCallback
# from nwslib.monitor import TransformersHooks
#
# class Monitor(TransformersHooks, TrainerCallback):
#     pass
#
# Trainer(..., callbacks=[Monitor(every=100, log="run.jsonl")])
# ```
#
# ## What it means for you
#
# Let `TrajectoryMonitor` log step length, turning angle and distance from the
# start. Read them so:
#
# - *Turning well below 90°*: the net travels. That is no promise that it
#   improves.
# - *Turning above 90°, averaged over five snapshots*: little more will come at
#   this learning rate, provided that snapshots are thousands of steps apart.
# - *Forecasts*: if you train many nets of one architecture with different
#   settings, fit a forest to the traces of the finished ones. It tells of the
#   next one, early and without data, about what its training loss would.
# - *Same settings, other seed*: look at the training loss. The shape knows
#   less.
#
# ## Try
#
# - `-p allowed 1`: what does a point of accuracy buy?
# - `-p n_varied_models 200`: do forecasts get better with more nets to learn
#   from?
#
# ## In this chapter
#
# - Eight quantities of a path, epoch by epoch, beside two paths that go nowhere.
# - Within nets most correlation is time; across nets most is the learning rate.
# - Forecasts from weights alone, judged on unseen nets, against the clock, the
#   training loss, the recipe and the test accuracy.
# - Rules for stopping, and what they save and cost.
# - A monitor for trainings under way, in three lines.

# %%
numbers |= {
    "within": plain(
        {
            f"{net}, {kind}, {measure}": rows
            for (net, kind, part, measure), rows in within.items()
            if part == "whole"
            and (kind, measure) != ("own recipes", "loss")
        }
    ),
    "across": plain(across),
    "forecast": plain(
        {
            zoo: {
                k: v for k, v in rows.items() if not k.endswith("(linear)")
            }
            for zoo, rows in scores.items()
        }
    ),
    "single": plain(
        {
            key: {name: row["skill, now"] for name, row in rows.items()}
            for key, rows in single.items()
        }
    ),
    "carried": plain(
        {
            f"{', '.join(source)} to {', '.join(target)}": found
            for (source, target), found in carried.items()
        }
    ),
    "stopped": plain(stopped),
    "wanderers": plain(wanderers),
}
source = report.provenance(sizes, seed, device, started)
path = report.write_results(out_dir, "05_monitoring", numbers, source)
print(f"numbers: {path.name}, after {source['seconds']:.0f} s")
