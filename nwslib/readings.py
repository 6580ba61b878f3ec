"""The two zoos' training set-ups, and the readings of what Table 1 leaves open.

Table 1 of the version-control paper fixes A1 well enough to train. For A2 its words
"SGD on MSE" with weight decay 0.1 have several readings, and the plainest one does
not learn. :data:`A2_READINGS` lists those we tried; chapter 02 measures them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nwslib.data import ImageSet
from nwslib.nets import NetSpec, get_net
from nwslib.profiles import Profile
from nwslib.sampling import grow
from nwslib.train import Recipe, Schedule, Trained, train_stack
from nwslib.trajectory import assign
from nwslib.zoo import Zoo


@dataclass(frozen=True)
class Reading:
    """One way to read a column of Table 1.

    Attributes
    ----------
    name : str
        Short label for tables and figures.
    recipe : Recipe
        For seed 0; :meth:`recipes` gives the others.
    batch_size : int
    loss : str
        A key of :data:`nwslib.recipe.LOSSES`.
    standardise : bool
        Whether inputs have mean 0 and deviation 1.
    """

    name: str
    recipe: Recipe
    batch_size: int
    loss: str = "mse"
    standardise: bool = True

    def recipes(self, n_models: int, seed: int = 0) -> list[Recipe]:
        """One recipe a model; ``seed`` shifts all of them to fresh seeds."""
        first = seed * 1_000_000
        return [replace(self.recipe, seed=first + k) for k in range(n_models)]

    def varied_recipes(self, n_models: int, seed: int = 0) -> list[Recipe]:
        """One recipe a model, each with hyper-parameters of its own.

        Drawn independently: SGD or Adam; SGD's learning rate from a tenth to ten
        times this reading's and its momentum 0, 0.5 or 0.9; Adam's learning rate
        from 1e-4 to 1e-2; weight decay from a hundredth to three times this
        reading's; one of three initialisations. Ranges are log-uniform.

        A recipe depends on its own seed alone, so a larger zoo begins with a
        smaller one's; the seeds are none that :meth:`recipes` gives.
        """
        first = seed * 1_000_000 + 500_000
        return [self._varied(first + k) for k in range(n_models)]

    def _varied(self, seed: int) -> Recipe:
        rng = np.random.default_rng(seed)
        optimizer = ("sgd", "adam")[rng.integers(2)]
        sgd = optimizer == "sgd"
        middle = self.recipe.lr if sgd else 1e-3
        return Recipe(
            seed=seed,
            optimizer=optimizer,
            lr=float(middle * 10 ** rng.uniform(-1, 1)),
            momentum=float(rng.choice([0.0, 0.5, 0.9])) if sgd else 0.9,
            weight_decay=float(self.recipe.weight_decay * 10 ** rng.uniform(-2, 0.5)),
            init=str(
                rng.choice(["kaiming_normal", "kaiming_uniform", "xavier_normal"])
            ),
        )

    def schedule(self, epochs: int) -> Schedule:
        """Return the schedule that keeps every epoch."""
        return Schedule(
            epochs, self.batch_size, loss=self.loss, standardise=self.standardise
        )


A1_READING = Reading(
    "SGD, mean MSE", Recipe(optimizer="sgd", lr=0.03, weight_decay=3e-4), batch_size=4
)


def _a2(name: str, optimizer: str, decay: float, **schedule: object) -> Reading:
    recipe = Recipe(optimizer=optimizer, lr=3e-4, weight_decay=decay)
    return Reading(name, recipe, batch_size=12, **schedule)


#: Readings of A2's column: all keep its learning rate, momentum and batch size.
A2_READINGS = (
    _a2("SGD, mean, decay 0.1 (as printed)", "sgd", 0.1),
    _a2("SGD, class sum, decay 0.1", "sgd", 0.1, loss="mse-class-sum"),
    _a2("SGD, sum, decay 0.01", "sgd", 0.01, loss="mse-sum"),
    _a2("SGD, mean, no decay", "sgd", 0.0),
    _a2("SGD, class sum, no decay", "sgd", 0.0, loss="mse-class-sum"),
    _a2("Adam, L2 0.1", "adam", 0.1),
    _a2("Adam, no decay", "adam", 0.0),
    _a2("AdamW, decay 0.1", "adamw", 0.1),
    _a2("AdamW, decay 0.1, pixels 0-1", "adamw", 0.1, standardise=False),
    *(
        _a2(
            f"SGD, class sum, decay {decay:g}, pixels 0-1",
            "sgd",
            decay,
            loss="mse-class-sum",
            standardise=False,
        )
        for decay in (0.1, 0.03, 0.01, 0.0)
    ),
)

#: The reading that each zoo of this book is grown with.
CHOSEN = {"A1": A1_READING, "A2": A2_READINGS[11]}


def measure(
    reading: Reading,
    images: ImageSet,
    n_models: int,
    epochs: int,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, float]:
    """Train a few A2 nets by one reading and score them as Table 2 does.

    Returns
    -------
    dict
        ``accuracy`` (mean test accuracy after the last epoch), ``diverged``
        (number of nets) and the scores of the full space, see
        :meth:`nwslib.trajectory.Assignment.scores`, which are left out if fewer
        than two nets stayed finite.
    """
    recipes = reading.recipes(n_models, seed)
    trained = train_stack(
        get_net("A2"), recipes, images, reading.schedule(epochs), progress=progress
    )
    return {
        "accuracy": float(trained.accuracy["test"][:, -1].mean()),
        "diverged": int(trained.diverged.sum()),
        **_scores(trained),
    }


def _scores(trained: Trained) -> dict[str, float]:
    finite = trained.weights[torch.from_numpy(~trained.diverged), 1:].numpy()
    models, epochs, size = finite.shape  # the initial weights are no epoch
    if models < 2:
        return {}
    nets = np.repeat(np.arange(models), epochs)
    return assign(
        finite.reshape(-1, size), nets, np.tile(np.arange(1, epochs + 1), models)
    ).scores()


def paper_zoo(
    net: str,
    profile: Profile,
    images: ImageSet,
    out_dir: str | Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    readings: dict[str, Reading] = CHOSEN,
) -> Zoo:
    """Grow or open one of the paper's two zoos at a profile's size.

    Parameters
    ----------
    net : {"A1", "A2"}
    profile : Profile
    images : ImageSet
        At 14 x 14 pixels.
    out_dir : path
        The zoo goes to ``out_dir/zoos``.
    seed : int
        Shifts the seeds of all nets.
    device : str
    readings : dict
        The reading of each net.

    Raises
    ------
    ValueError
        For an unknown net, or images that do not fit it.
    """
    architecture, reading = get_net(net), readings[net]
    recipes = reading.recipes(profile.n_models, seed)
    return _grown(architecture, reading, recipes, profile, images, out_dir, device)


def varied_zoo(
    net: str,
    profile: Profile,
    images: ImageSet,
    out_dir: str | Path,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Zoo:
    """Grow or open a zoo whose nets all have hyper-parameters of their own.

    Parameters, place and errors are those of :func:`paper_zoo`; the recipes are
    :meth:`Reading.varied_recipes`. Batch size and loss are the chosen reading's.
    """
    architecture, reading = get_net(net), CHOSEN[net]
    recipes = reading.varied_recipes(profile.n_varied_models, seed)
    return _grown(architecture, reading, recipes, profile, images, out_dir, device)


def _grown(
    architecture: NetSpec,
    reading: Reading,
    recipes: list[Recipe],
    profile: Profile,
    images: ImageSet,
    out_dir: str | Path,
    device: str,
) -> Zoo:
    return grow(
        Path(out_dir) / "zoos",
        architecture,
        recipes,
        images,
        reading.schedule(profile.epochs),
        device=device,
    )


def snapshots(zoo: Zoo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay a zoo out as points: every epoch but the initial weights, net by net.

    Diverged nets are left out.

    Returns
    -------
    points : ndarray of float32, shape [nets * epochs, weights]
    nets, epochs : ndarray of int, shape [nets * epochs]
    """
    runs = zoo.select(diverged=False)
    kept = [epoch for epoch in zoo.snapshots if epoch > 0]
    points = zoo.weights(runs, kept)  # [nets, epochs, weights]
    return (
        points.reshape(-1, points.shape[-1]),
        np.repeat(runs, len(kept)),
        np.tile(kept, len(runs)),
    )
