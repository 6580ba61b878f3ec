"""A trained deep meta-classifier, and the recipe it was trained by."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nwslib.meta import dmc

#: Rows that go through a net at once where nothing is learned.
AT_ONCE = 256


@dataclass(frozen=True)
class Recipe:
    """How a DMC is trained; by default as the paper's local ones.

    Attributes
    ----------
    kind : {"local", "global"}
        Which column of Table 3.
    size : int
        Weights that it reads: of a slice, or of a whole net.
    part : {"all", "conv", "fc"}
        Where slices are taken.
    epochs : int
        The paper's are 500 for local DMCs and 100 for global ones.
    batch : int
    width, dropout, log_unit : float
        See :func:`nwslib.meta.dmc.global_spec`.
    stop_share : float
        Share of each class's nets that are left out, to keep the epoch that does best
        on them; 0 trains on all nets to the end, as the paper.
    patience : int
        Epochs without gain on those nets, after which training ends.
    autocast : bool
        Compute in bfloat16 where that is safe, weights stay in float32. For a GPU,
        or a processor with AVX-512 BF16 or AMX.
    """

    kind: str = "local"
    size: int = dmc.LOCAL_LENGTH
    part: str = "all"
    epochs: int = 500
    batch: int = 64
    width: float = 1.0
    dropout: float = dmc.DROPOUT
    log_unit: float = 0.0
    stop_share: float = 0.0
    patience: int = 20
    autocast: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("local", "global"):
            raise ValueError(f"unknown kind '{self.kind}': choose 'local' or 'global'.")
        if min(self.epochs, self.patience) < 1 or self.batch < 2:
            raise ValueError(
                f"{self.epochs} epochs, patience {self.patience}, batch {self.batch}: "
                "training needs one, one and two at least."
            )
        if not 0 <= self.stop_share < 1:
            raise ValueError(
                f"stop_share is {self.stop_share}: give a share of nets below 1."
            )

    def spec(self, n_classes: int) -> dmc.Spec:
        """Layers of the net."""
        make = dmc.local_spec if self.kind == "local" else dmc.global_spec
        return make(n_classes, self.size, self.width, self.dropout, self.log_unit)

    def precision(self, device: torch.device) -> torch.autocast:
        """Context in which the net computes."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.autocast)


@dataclass(frozen=True, eq=False)
class DeepClassifier:
    """A trained DMC.

    Attributes
    ----------
    classes_ : ndarray, shape [classes]
        Sorted labels.
    net : Module
        In evaluation mode, on the device of its training.
    recipe : Recipe
    history : DataFrame
        Of each epoch the training loss and, with ``stop_share``, ``stop_loss`` and
        ``stop_accuracy`` on slices of the nets left out.
    """

    classes_: NDArray
    net: nn.Module
    recipe: Recipe
    history: pd.DataFrame

    def predict_proba(self, features: Tensor | NDArray) -> NDArray:
        """Probability of each class.

        Parameters
        ----------
        features : Tensor or ndarray, shape [rows, size]
            Slices, or whole vectors for a global DMC.

        Returns
        -------
        ndarray of float64, shape [rows, classes]

        Raises
        ------
        ValueError
            If the features are of another size than in training.
        """
        features = torch.as_tensor(features)
        if features.ndim != 2 or features.shape[1] != self.recipe.size:
            raise ValueError(
                f"slices of shape {list(features.shape)}, trained on rows of "
                f"{self.recipe.size} weights: give such rows."
            )
        device = next(self.net.parameters()).device
        with torch.inference_mode(), self.recipe.precision(device):
            scores = [
                self.net(rows.to(device, torch.float32)).double()
                for rows in features.split(AT_ONCE)
            ]
        return torch.cat(scores).softmax(1).cpu().numpy()

    def predict(self, features: Tensor | NDArray) -> NDArray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(features).argmax(1)]
