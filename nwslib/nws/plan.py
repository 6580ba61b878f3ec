"""What a sampling of the weight space is made of, but for how many runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from nwslib import data
from nwslib.nws.architecture import FIXED, GRID, INITIALISATIONS, Architecture
from nwslib.nws.course import Budget
from nwslib.nws.hyperparameters import HyperParameters, draw
from nwslib.nws.images import Images, prepare

#: Raised when a change to the code changes what a run gives, so that no zoo is
#: continued by another sampler than began it.
SAMPLER = 1

# Fields of a plan that a zoo without them does not name.
_LATER = ("inits", "batch_norm")


@dataclass(frozen=True)
class Source:
    """An image set to sample with.

    Attributes
    ----------
    name : str
        What tables call it.
    file : str, optional
        What :func:`nwslib.data.load` takes; a ``.npz`` is looked for in the data
        folder. The name by default.
    train, test : int, optional
        Use only so many of the first images.
    balanced : bool
    passes : int
        See :class:`~nwslib.nws.images.Images`.
    """

    name: str
    file: str | None = None
    train: int | None = None
    test: int | None = None
    balanced: bool = False
    passes: int = 1

    def load(self, root: str | os.PathLike[str] | None = None) -> Images:
        """Read and prepare the images; errors as :func:`nwslib.data.load`."""
        file = self.file or self.name
        if file.endswith(".npz"):
            file = data.data_folder(root) / file
        return prepare(
            data.load(file, root),
            name=self.name, train=self.train, test=self.test, balanced=self.balanced,
            passes=self.passes,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A sampling: every run follows from it and from the run's number.

    Attributes
    ----------
    sources : tuple of Source
    budget : Budget
    fixed_architecture : bool
        The paper's set C_fixed (one architecture) instead of C_main (243).
    seed : int
    shard_size : int
        Runs that are trained by one worker and written together.
    dtype : {"float32", "float16"}
        Type of the stored weights.
    inits : tuple of str
        Initialisations to draw from, by default all of Table 1. A run draws all else
        as it does without this choice.
    batch_norm : bool
        Without it few trainings succeed that begin with constant or normal weights
        (supplement F.3).
    """

    sources: tuple[Source, ...]
    budget: Budget
    fixed_architecture: bool = True
    seed: int = 0
    shard_size: int = 4
    dtype: str = "float32"
    inits: tuple[str, ...] = tuple(INITIALISATIONS)
    batch_norm: bool = True

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"the image sets are {names}: give at least one, each name once."
            )
        if self.seed < 0 or self.shard_size < 1:
            raise ValueError(
                f"seed is {self.seed} and shard_size {self.shard_size}: give a seed "
                "from 0 on and at least one run a shard."
            )
        if not self.inits or not set(self.inits) <= set(INITIALISATIONS):
            raise ValueError(
                f"inits are {self.inits}: choose one at least of "
                f"{list(INITIALISATIONS)}."
            )

    @property
    def name(self) -> str:
        """Name for the zoo's folder, different for every plan."""
        settings = {k: v for k, v in asdict(self).items() if k not in _LATER}
        text = json.dumps([SAMPLER, settings | self._restrictions], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"nws-{'fixed' if self.fixed_architecture else 'main'}-{digest[:12]}"

    @property
    def _restrictions(self) -> dict:
        """What is not drawn as Table 1 says; plans without any keep their names."""
        plain = {field.name: field.default for field in fields(self)}
        given = {name: getattr(self, name) for name in _LATER}
        return {name: v for name, v in given.items() if v != plain[name]}

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """Every architecture that may be drawn."""
        drawn = (FIXED,) if self.fixed_architecture else GRID
        return tuple(replace(each, batch_norm=self.batch_norm) for each in drawn)

    def run(self, number: int) -> HyperParameters:
        """Hyper-parameters of a run."""
        drawn = draw(
            self.seed,
            number,
            [source.name for source in self.sources],
            fixed_architecture=self.fixed_architecture,
            inits=self.inits,
        )
        architecture = replace(drawn.architecture, batch_norm=self.batch_norm)
        return replace(drawn, architecture=architecture)

    def spec(self, images: Mapping[str, Images]) -> dict:
        """All that determines the weights, as plain JSON values."""
        return {
            "kind": "nws",
            "sampler": SAMPLER,
            "seed": self.seed,
            "fixed_architecture": self.fixed_architecture,
            **self._restrictions,
            **asdict(self.budget),
            "shard_size": self.shard_size,
            "datasets": {
                source.name: {
                    "train": len(images[source.name].train_labels),
                    "test": len(images[source.name].test_labels),
                    "balanced": source.balanced,
                    "passes": source.passes,
                    "pixels": _digest(images[source.name]),
                }
                for source in self.sources
            },
        }


def _digest(images: Images) -> str:
    digest = hashlib.sha256()
    for tensor in (
        images.train_images, images.train_labels, images.test_images, images.test_labels
    ):  # fmt: skip
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
