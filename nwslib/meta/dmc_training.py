"""Training deep meta-classifiers.

Eilertsen et al., "Classifying the classifier" (2020), supplement F.1: Adam, mini-
batches of 64, a slice at a fresh random place for each row of each mini-batch, of
every class equally many rows. Nets that training is stopped by are whole nets.

Everything random in an epoch follows from the seed and the epoch's number, so that a
training that was interrupted continues as if it had not been.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nwslib import _bars, _files
from nwslib._device import has_bfloat16
from nwslib.meta import dmc
from nwslib.meta.dmc_classifier import AT_ONCE, DeepClassifier, Recipe
from nwslib.meta.protocol import Examples
from nwslib.meta.weight_store import WeightStore

#: Adam's learning rate, the factor that lowers it, and how often it does.
RATE, DECAY, N_DECAYS = 1e-3, 0.95, 50
# Slices of each row that training is stopped by.
_LOOKS = 4
# What a checkpoint has beside net and optimiser.
_STATE = ("history", "least", "stale", "best")


def train(
    store: WeightStore,
    examples: Examples,
    recipe: Recipe = Recipe(),  # noqa: B008
    seed: int = 0,
    *,
    checkpoint: str | Path | None = None,
    save_every: int = 10,
    threads: int = 1,
    progress: bool = False,
) -> DeepClassifier:
    """Train a DMC on the device of a store.

    Parameters
    ----------
    store : WeightStore
    examples : Examples
        Features are row numbers of the store, [rows], as
        ``labelled(np.arange(len(store)), store.index, zoo.runs, hyperparameter)``
        makes them.
    recipe : Recipe
    seed : int
        Of first weights, rows, slices, dropout, and of the nets left out. On a CPU,
        equal seeds and numbers of threads give equal results.
    checkpoint : path, optional
        File to save to, and to continue from if it is there. It stays: asked for
        again, a training that ended is read from it.
    save_every : int
        Epochs between saves; the last is always saved.
    threads : int
        Of the CPU.
    progress : bool
        Show a bar.

    Returns
    -------
    DeepClassifier

    Raises
    ------
    ValueError
        If a slice does not fit, there is only one class, too few rows or nets, the
        checkpoint is damaged or of another training, or the loss is not finite.
    """
    check(store, examples, recipe, seed, save_every)
    device = torch.device(store.device)
    classes = np.unique(examples.labels)
    spec = recipe.spec(len(classes))
    learned, left_out = _divided(examples, recipe.stop_share, seed)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} for the checkpoint: make it first.")
    with _reproducible(device, threads):
        net = dmc.build(spec, seed).to(device)
        run = _Run(
            store, recipe, seed, classes, _balanced(learned, seed), left_out,
            net, adam(net),
        )  # fmt: skip
        if path is not None and path.exists():
            run.restore(path)
        with _bars.bar(recipe.epochs, "epoch", progress, initial=run.epoch) as bar:
            while not run.ended:
                run.learn()
                run.look()
                if path is not None and (run.ended or run.epoch % save_every == 0):
                    run.save(path)
                bar.set_postfix(run.history[-1], refresh=False)
                bar.update()
        if run.best:
            net.load_state_dict(run.best)
    return DeepClassifier(classes, net.eval(), recipe, pd.DataFrame(run.history))


def adam(net: nn.Module) -> torch.optim.Adam:
    """Adam in one pass over each weight, at the first learning rate."""
    return torch.optim.Adam(net.parameters(), lr=RATE, fused=True)


def check(
    store: WeightStore, examples: Examples, recipe: Recipe, seed: int, save_every: int
) -> None:
    """Raise ValueError if :func:`train` could not begin."""
    if recipe.autocast and not has_bfloat16(store.device):
        raise ValueError(
            f"autocast computes in bfloat16, and the {store.device} here has no "
            "instructions for it: leave it out."
        )
    if save_every < 1:
        raise ValueError(f"save_every is {save_every}: give one epoch at least.")
    if np.ndim(examples.features) != 1 or examples.features.dtype.kind not in "iu":
        raise ValueError(
            "features are no row numbers of the store: give labelled(np.arange(len("
            "store)), store.index, ...)."
        )
    recipe.spec(len(np.unique(examples.labels)))
    store.check(examples.features, recipe.size, recipe.part)
    _divided(examples, recipe.stop_share, seed)


@dataclass(eq=False)
class _Run:
    """A training under way; the last four are its state, beside net and optimiser."""

    store: WeightStore
    recipe: Recipe
    seed: int
    classes: NDArray
    learned: Examples
    left_out: Examples
    net: nn.Module
    adam: torch.optim.Adam
    history: list[dict[str, float]] = field(default_factory=list)
    least: float = math.inf
    stale: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def ended(self) -> bool:
        return self.epoch == self.recipe.epochs or self.stale == self.recipe.patience

    def learn(self) -> None:
        """One epoch: all rows once, a fresh slice each."""
        recipe, draws = self.recipe, _seeded(self.seed, 2, self.epoch)
        torch.manual_seed(draws.initial_seed())  # dropout
        rows, labels = self._numbers(self.learned)
        order = torch.randperm(len(rows), generator=draws)
        batch = min(recipe.batch, len(rows))
        steps = len(rows) // batch
        total = torch.zeros((), device=self.store.device)
        self.net.train()
        for step in range(steps):
            done = (N_DECAYS + 1) * (self.epoch * steps + step)
            for group in self.adam.param_groups:
                group["lr"] = RATE * DECAY ** (done // (recipe.epochs * steps))
            chosen = order[step * batch : (step + 1) * batch]
            x = self.store.slices_of(rows[chosen], draws, recipe.size, recipe.part)
            with recipe.precision(x.device):
                loss = F.cross_entropy(self.net(x), labels[chosen].to(x.device))
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
            total += loss.detach()  # as a float it would wait for the device
        self.history.append({"loss": float(total) / steps})
        if not math.isfinite(self.history[-1]["loss"]):
            raise ValueError(
                f"the loss of epoch {self.epoch} is not finite: leave out nets with "
                "extreme weights, or autocast."
            )

    def look(self) -> None:
        """Judge by the nets left out, on the same slices each time; keep the best."""
        if not len(self.left_out):
            return
        draws, loss, right = _seeded(self.seed, 3), 0.0, 0
        rows, labels = (each.repeat(_LOOKS) for each in self._numbers(self.left_out))
        self.net.eval()
        for some, y in zip(rows.split(AT_ONCE), labels.split(AT_ONCE), strict=True):
            x = self.store.slices_of(some, draws, self.recipe.size, self.recipe.part)
            with torch.inference_mode(), self.recipe.precision(x.device):
                scores = self.net(x).double().cpu()
            loss += float(F.cross_entropy(scores, y, reduction="sum")) / len(rows)
            right += int((scores.argmax(1) == y).sum())
        self.history[-1] |= {"stop_loss": loss, "stop_accuracy": right / len(rows)}
        self.stale += 1
        if loss < self.least:
            self.least, self.stale = loss, 0
            self.best = {k: v.clone() for k, v in self.net.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write a checkpoint as one step."""
        content = {"asked": self._asked(), "net": self.net.state_dict(),
                   "adam": self.adam.state_dict()}  # fmt: skip
        buffer = io.BytesIO()
        torch.save(content | {name: getattr(self, name) for name in _STATE}, buffer)
        _files.put(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint; ValueError if it is not of this training."""
        asked = self._asked()
        content = _files.load_torch(path, self.store.device)
        try:
            found = dict(content["asked"])
            if found == asked:
                self.net.load_state_dict(content["net"])
                self.adam.load_state_dict(content["adam"])
            for name in _STATE:
                setattr(self, name, content[name])
        except (
            RuntimeError,
            LookupError,
            TypeError,
            AttributeError,
            ValueError,
        ) as error:
            raise ValueError(
                f"checkpoint {path} is of no training: give another file."
            ) from error
        for name, value in asked.items():
            if found.get(name) != value:
                raise ValueError(
                    f"checkpoint {path} is of another training ({name} is "
                    f"{found.get(name)}, not {value}): give another file."
                )

    def _asked(self) -> dict:
        """What tells a training from others: recipe, seed, rows, labels, weights."""
        index = self.store.index.iloc[self.learned.features]
        start = int(index["start"].iloc[0])
        some = self.store.flat[start : start + 1000].cpu().numpy()
        digest = hashlib.sha256(some.tobytes() + _files.csv_of(index))
        digest.update(repr(self.learned.labels.tolist()).encode())
        data = {"seed": self.seed, "data": digest.hexdigest()}
        return asdict(self.recipe) | data

    def _numbers(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Row numbers, and labels as numbers of classes."""
        labels = np.searchsorted(self.classes, examples.labels)
        return torch.from_numpy(examples.features.copy()), torch.from_numpy(labels)


def _divided(examples: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    """Examples to learn from, and those of nets left out, of each class a share."""
    if share == 0:
        return examples, examples.of([])
    rng, out = np.random.default_rng([seed, 0]), []
    for label in np.unique(examples.labels):
        runs = np.unique(examples.runs[examples.labels == label])
        if len(runs) < 2:
            raise ValueError(
                f"a single net is {label}: stopping needs two of each class, for one "
                "is left out to stop by."
            )
        n_out = min(max(1, round(share * len(runs))), len(runs) - 1)
        out.extend(rng.permutation(runs)[:n_out])
    return examples.where(~np.isin(examples.runs, out)), examples.of(out)


def _balanced(examples: Examples, seed: int) -> Examples:
    """Of each class as many rows as the smallest has, drawn once."""
    rng = np.random.default_rng([seed, 1])
    rows = [np.flatnonzero(examples.labels == c) for c in np.unique(examples.labels)]
    smallest = min(map(len, rows))
    return examples.where(np.concatenate([rng.permutation(r)[:smallest] for r in rows]))


def _seeded(*numbers: int) -> torch.Generator:
    """A generator on the CPU that follows from all the numbers."""
    (state,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@contextmanager
def _reproducible(device: torch.device, threads: int) -> Iterator[None]:
    """So many threads, and torch's global generators back as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(before)
