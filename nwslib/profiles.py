"""The sizes of the book's runs: the only place where they stand.

``quick`` needs no download and a few minutes on two cores; ``full`` trains fewer
nets than the papers on their images; ``paper`` is the papers' own scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nwslib.nws import Budget, Plan, Source
from nwslib.nws.architecture import INITIALISATIONS


@dataclass(frozen=True)
class Profile:
    """Sizes of every chapter's run.

    Attributes
    ----------
    name : str
    data : str
        Image set, as :func:`nwslib.data.load` names it.
    n_models : int
        Nets in each zoo of the version-control paper (its 250 seeds).
    epochs : int
        Epochs of each net; 50 in the paper.
    n_reading_models : int
        Nets trained for each reading of A2's Table 1.
    n_varied_models : int
        Nets of each kind with hyper-parameters of their own (chapter 05).
    n_shift_models : int
        Nets of each kind that every change of data is tried on (chapter 06).
    sources : tuple of Source
        Image sets that the weight space is sampled with (chapter 08 on).
    max_epochs : int
        Longest training in that sampling; the paper sets no limit.
    n_fixed_runs, n_main_runs : int
        Runs of the paper's sets C_fixed and C_main.
    n_rounds : int
        Rounds of training and testing meta-classifiers (chapter 11 on); the paper's 10.
    n_plain_runs : int
        Runs without batch norm (chapter 15); about 2,000 in the paper.
    n_deep_rounds : int
        Rounds of deep meta-classifiers (chapter 13 on); the paper's 10.
    local_epochs, global_epochs : int
        Epochs of local and of global deep meta-classifiers; the paper's 500 and 100.
    deep_width : float
        Share of the paper's channels and units in them.
    """

    name: str
    data: str
    n_models: int
    epochs: int
    n_reading_models: int
    n_varied_models: int
    n_shift_models: int
    sources: tuple[Source, ...]
    max_epochs: int
    n_fixed_runs: int
    n_main_runs: int
    n_rounds: int
    n_plain_runs: int
    n_deep_rounds: int
    local_epochs: int
    global_epochs: int
    deep_width: float

    def sampling(self, *, fixed_architecture: bool, seed: int = 0) -> Plan:
        """Plan the weight space's sampling: C_fixed, or C_main.

        The sets get seeds of their own, so that equal numbers in both are not nets
        with equal draws: they are analysed together.
        """
        own_seed = 2 * seed + (not fixed_architecture)
        return Plan(self.sources, Budget(self.max_epochs), fixed_architecture, own_seed)

    def plain_sampling(self, seed: int = 0) -> Plan:
        """Plan nets of the fixed architecture without batch norm.

        They begin with Glorot's weights, for most others would fail; all else a run
        draws as the run of C_fixed with its number.
        """
        glorot = tuple(name for name in INITIALISATIONS if name.startswith("glorot"))
        fixed = self.sampling(fixed_architecture=True, seed=seed)
        return replace(fixed, inits=glorot, batch_norm=False)

    def sampled_sets(self, seed: int = 0) -> dict[str, tuple[Plan, int]]:
        """Plan and number of runs of each set: ``fixed``, ``main`` and ``plain``."""
        fixed, main = (
            self.sampling(fixed_architecture=each, seed=seed) for each in (True, False)
        )
        return {
            "fixed": (fixed, self.n_fixed_runs),
            "main": (main, self.n_main_runs),
            "plain": (self.plain_sampling(seed), self.n_plain_runs),
        }


#: Every profile by name.
PROFILES = {
    "quick": Profile(
        "quick", "digits", n_models=25, epochs=50, n_reading_models=8,
        n_varied_models=60, n_shift_models=50,
        sources=(
            Source("digits", train=500, test=200),
            Source("mnist", "mnist-5k", train=500, test=200),
        ),
        max_epochs=20, n_fixed_runs=20, n_main_runs=12, n_rounds=2,
        n_plain_runs=8, n_deep_rounds=1, local_epochs=20, global_epochs=6,
        deep_width=0.25,
    ),
    "full": Profile(
        "full", "mnist", n_models=50, epochs=50, n_reading_models=12,
        n_varied_models=100, n_shift_models=50,
        sources=(
            Source("mnist", train=2000, test=500),
            Source("fashion", train=2000, test=500),
            Source("cifar10", "cifar10_part.npz", train=2000, test=500),
            Source("svhn", "svhn_part.npz", balanced=True, passes=4),
        ),
        max_epochs=20, n_fixed_runs=1000, n_main_runs=500, n_rounds=10,
        n_plain_runs=200, n_deep_rounds=3, local_epochs=100, global_epochs=50,
        deep_width=0.25,
    ),
    "paper": Profile(
        "paper", "mnist", n_models=250, epochs=50, n_reading_models=16,
        n_varied_models=250, n_shift_models=100,
        sources=(
            Source("mnist"), Source("cifar10"), Source("svhn", balanced=True),
            Source("stl10"), Source("fashion"),
        ),
        max_epochs=1000, n_fixed_runs=3000, n_main_runs=13000, n_rounds=10,
        n_plain_runs=2000, n_deep_rounds=10, local_epochs=500, global_epochs=100,
        deep_width=1.0,
    ),
}  # fmt: skip


def get_profile(name: str, /, **overrides: object) -> Profile:
    """Look a profile up and apply a chapter's overrides.

    Parameters
    ----------
    name : {"quick", "full", "paper"}
    **overrides
        Attributes to replace; ``None`` keeps the profile's value.

    Raises
    ------
    ValueError
        For an unknown profile or attribute, or a count that is not a whole
        number of at least 2.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile '{name}': choose one of {list(PROFILES)}.")
    profile = PROFILES[name]
    for key, value in overrides.items():
        if key not in Profile.__dataclass_fields__ or key == "name":
            raise ValueError(
                f"a profile has no '{key}': override one of "
                f"{[k for k in Profile.__dataclass_fields__ if k != 'name']}."
            )
        if isinstance(getattr(profile, key), int) and value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 2:
                raise ValueError(
                    f"{key} is {value!r}: give a whole number of at least 2, for one "
                    "has nothing to be compared with."
                )
    return replace(
        profile, **{key: value for key, value in overrides.items() if value is not None}
    )
