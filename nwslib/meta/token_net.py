"""A meta-classifier that learns from tokens: a small net with one token a layer.

Each token (:mod:`nwslib.meta.tokens`) goes through one shared layer, to which its role
adds a learned vector; the results, side by side, go through a second layer to the
scores of the classes. As the tokens do not depend on the order of a net's hidden
units, nothing here does.

Nets to learn from are few, numbers many. So a number comes in the larger, the better
the training nets' classes differ in it. And several members are trained at once, as
one stack; each stops at its best on nets that it does not train on, and their
probabilities are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nwslib.meta.protocol import Examples

# Members, and the share of nets that each is stopped by: one of as many.
_MEMBERS = 5
# Width of the layer that tokens share, of the layer after it.
_WIDTH, _MIXED = 24, 32
# Shares of the inputs and of the hidden units that a step leaves out.
_DROP_INPUTS, _DROP_HIDDEN = 0.5, 0.2
_STEPS, _BATCH, _RATE, _DECAY = 200, 192, 5e-3, 0.2
# Steps between looks at the nets left out, and looks without gain before the end.
_LOOK, _PATIENCE = 10, 6
# Spreads below this are of a constant; no number comes in larger than this.
_CONSTANT, _MOST = 1e-6, 6.0


@dataclass(frozen=True, eq=False)
class TokenClassifier:
    """A trained meta-classifier.

    Attributes
    ----------
    classes_ : ndarray, shape [classes]
        Sorted labels.
    centre, width : ndarray of float32, shape [roles, numbers]
        What tokens are scaled with; an infinite width is that of a constant.
    gain : ndarray of float32, shape [roles seen in training, numbers]
        What scaled tokens are multiplied with: how well each number alone tells the
        classes apart.
    weights : dict of str to Tensor, shapes [members, ...]
    """

    classes_: NDArray
    centre: NDArray
    width: NDArray
    gain: NDArray
    weights: dict[str, Tensor]

    def predict_proba(self, features: NDArray) -> NDArray:
        """Probability of each class.

        Parameters
        ----------
        features : ndarray, shape [rows, roles, numbers]

        Returns
        -------
        ndarray of float64, shape [rows, classes]
            The members' mean.

        Raises
        ------
        ValueError
            If the tokens are of another shape than in training, or not finite.
        """
        _check(features)
        if features.shape[1:] != self.centre.shape:
            raise ValueError(
                f"tokens of shape {list(features.shape[1:])}, trained on "
                f"{list(self.centre.shape)}: make both with nwslib.meta.tokens."
            )
        with torch.no_grad(), _one_thread():
            x = torch.from_numpy(_scaled(features, self.centre, self.width) * self.gain)
            scores = _forward(self.weights, x)  # [members, rows, classes]
            return scores.double().softmax(-1).mean(0).numpy()

    def predict(self, features: NDArray) -> NDArray:
        """The most probable class of each row."""
        return self.classes_[self.predict_proba(features).argmax(1)]


def train(examples: Examples, seed: int = 0) -> TokenClassifier:
    """Train on tokens; a :data:`~nwslib.meta.protocol.Trainer`.

    Parameters
    ----------
    examples : Examples
        Features are tokens, [rows, roles, numbers]; several snapshots of a net are
        welcome.
    seed : int
        Of first weights, batches, dropout, and of which nets stop which member.

    Returns
    -------
    TokenClassifier

    Raises
    ------
    ValueError
        If the features are no finite tokens, there is only one class, or one class
        has a single net.
    """
    _check(examples.features)
    classes, labels = np.unique(examples.labels, return_inverse=True)
    left_out = torch.from_numpy(_left_out(examples.runs, labels, classes, seed))
    centre, width = _fit_scale(examples.features)
    scaled = _scaled(examples.features, centre, width)
    gain = _relevance(scaled, labels, examples.runs)
    with _one_thread():
        x, y = torch.from_numpy(scaled * gain), torch.from_numpy(labels)
        draws = torch.Generator().manual_seed(seed)
        weights = _initial(x.shape[1], x.shape[2] - 1, len(classes), draws)
        best = _descend(weights, x, y, left_out, draws)
    return TokenClassifier(classes, centre, width, gain, best)


def _check(features: NDArray) -> None:
    """ValueError unless features are finite tokens."""
    if np.ndim(features) != 3:
        raise ValueError(
            f"features of shape {list(np.shape(features))} are no tokens: pass those "
            "of nwslib.meta.tokens, [rows, roles, numbers]."
        )
    if broken := int((~np.isfinite(features).all((1, 2))).sum()):
        raise ValueError(
            f"{broken} of {len(features)} rows of tokens are not finite: leave out "
            "nets that diverged."
        )


def _left_out(
    runs: NDArray, labels: NDArray, classes: NDArray, seed: int
) -> NDArray[np.bool_]:
    """Which rows each member is stopped by, [members, rows]: of each class a share."""
    if len(classes) < 2:
        raise ValueError(
            f"all examples are {classes.tolist()}: there is nothing to tell apart, "
            "pass nets of two classes at least."
        )
    ids, first = np.unique(runs, return_index=True)
    fold = np.empty(len(ids), dtype=int)
    rng, dealt = np.random.default_rng(seed), 0
    for label, name in enumerate(classes.tolist()):
        own = np.flatnonzero(labels[first] == label)
        if len(own) < 2:
            raise ValueError(
                f"a single net is {name}: training needs two of each class, for one "
                "is left out to stop it by."
            )
        fold[rng.permutation(own)] = (dealt + np.arange(len(own))) % _MEMBERS
        dealt += len(own)
    return fold[np.searchsorted(ids, runs)] == np.arange(_MEMBERS)[:, None]


def _fit_scale(features: NDArray) -> tuple[NDArray, NDArray]:
    """Median, and spread from 10th to 90th percentile, of nets that have the layer."""
    centre = np.zeros(features.shape[1:], dtype=np.float32)
    width = np.full_like(centre, np.inf)
    for role in range(features.shape[1]):
        own = features[features[:, role, 0] > 0, role].astype(np.float64)
        if not len(own):
            continue
        low, middle, high = np.percentile(own, (10, 50, 90), axis=0)
        spread = (high - low) / 2.56  # of a normal distribution: its deviation
        spread = np.where(spread > _CONSTANT, spread, own.std(0))
        centre[role] = middle
        width[role] = np.where(spread > _CONSTANT, spread, np.inf)
    return centre, width


def _scaled(features: NDArray, centre: NDArray, width: NDArray) -> NDArray:
    """Tokens in units of their spread, tails drawn in, 0 where there is no layer.

    Of the roles that training nets had, [rows, seen roles, numbers]. The first number
    stays: 1 for a layer that the net has.
    """
    seen = np.isfinite(width).any(axis=1)
    x = features[:, seen]
    present = x[..., :1] > 0
    x = np.arcsinh((x - centre[seen]) / width[seen]) * present
    x[..., :1] = present
    return x.astype(np.float32)


def _relevance(x: NDArray, labels: NDArray, runs: NDArray) -> NDArray:
    """How large each number comes in, [roles, numbers]: as the classes differ in it.

    The share of a number's variance that lies between classes, less what chance puts
    there (Kelley's epsilon squared, 1935), or 0; over the root mean square of those
    above 0. Nets count, not snapshots.
    """
    _, first, of = np.unique(runs, return_index=True, return_inverse=True)
    nets = np.zeros((len(first), *x.shape[1:]))
    np.add.at(nets, of, x)
    nets /= np.bincount(of)[:, None, None]
    within, classes = np.zeros(x.shape[1:]), np.unique(labels)
    for label in classes:
        own = nets[labels[first] == label]
        within += len(own) * own.var(axis=0)
    varies = nets.std(axis=0) > _CONSTANT  # [roles, numbers]
    varies[:, 0] = False
    unexplained = within[varies] / (len(nets) - len(classes))
    share = 1 - unexplained / nets.var(axis=0, ddof=1)[varies]
    gain = np.zeros(x.shape[1:], dtype=np.float32)
    gain[varies] = np.maximum(share, 0)
    if gain.any():
        gain /= np.sqrt(np.mean(gain[gain > 0] ** 2))
    gain = np.minimum(gain, _MOST)
    gain[:, 0] = 1  # whether there is the layer
    return gain


def _initial(
    roles: int, numbers: int, classes: int, draws: torch.Generator
) -> dict[str, Tensor]:
    """First weights, normal, as large as keeps the scores' size."""

    def normal(*shape: int, scale: float) -> Tensor:
        drawn = torch.randn((_MEMBERS, *shape), generator=draws)
        return (drawn * scale).requires_grad_()

    def zeros(*shape: int) -> Tensor:
        return torch.zeros((_MEMBERS, *shape), requires_grad=True)

    side_by_side = roles * _WIDTH
    return {
        "token": normal(numbers, _WIDTH, scale=1 / math.sqrt(numbers)),
        "role": normal(roles, _WIDTH, scale=0.1),
        "mix": normal(side_by_side, _MIXED, scale=1 / math.sqrt(side_by_side)),
        "mix_bias": zeros(1, _MIXED),
        "score": normal(_MIXED, classes, scale=1 / math.sqrt(_MIXED)),
        "score_bias": zeros(1, classes),
    }


def _forward(
    weights: dict[str, Tensor], x: Tensor, draws: torch.Generator | None = None
) -> Tensor:
    """Scores [members, rows, classes] of scaled tokens; dropout if there are draws."""
    rows = len(x)
    present, numbers = x[..., :1], x[..., 1:]
    numbers = _dropped(numbers, _DROP_INPUTS, draws)
    # [rows, roles, numbers] x [members, numbers, width], the same for all roles
    h = numbers.flatten(0, 1) @ weights["token"]  # [members, rows * roles, width]
    h = F.relu(h.unflatten(1, x.shape[:2]) + weights["role"][:, None]) * present
    h = _dropped(h, _DROP_HIDDEN, draws).reshape(_MEMBERS, rows, -1)
    h = F.relu(h @ weights["mix"] + weights["mix_bias"])  # [members, rows, mixed]
    return _dropped(h, _DROP_HIDDEN, draws) @ weights["score"] + weights["score_bias"]


def _dropped(x: Tensor, share: float, draws: torch.Generator | None) -> Tensor:
    if draws is None:
        return x
    return x * (torch.rand(x.shape, generator=draws) >= share) / (1 - share)


def _descend(
    weights: dict[str, Tensor],
    x: Tensor,
    y: Tensor,
    left_out: Tensor,
    draws: torch.Generator,
) -> dict[str, Tensor]:
    """Train all members; each one's weights where its own nets had the least loss."""
    decayed = [weights[name] for name in ("token", "mix", "score")]
    others = [weights[name] for name in ("role", "mix_bias", "score_bias")]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}],
        lr=_RATE, weight_decay=_DECAY, foreach=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    best = {name: w.detach().clone() for name, w in weights.items()}
    least, stale = torch.full((_MEMBERS,), math.inf), 0
    for step in range(1, _STEPS + 1):
        batch = torch.randperm(len(x), generator=draws)[:_BATCH]
        losses = _losses(_forward(weights, x[batch], draws), y[batch])
        optimizer.zero_grad()
        _mean(losses, ~left_out[:, batch]).sum().backward()
        optimizer.step()
        schedule.step()
        if step % _LOOK:
            continue
        with torch.no_grad():
            found = _mean(_losses(_forward(weights, x), y), left_out)
        better = found < least
        least = torch.where(better, found, least)
        for name, kept in best.items():
            kept[better] = weights[name].detach()[better]
        stale = 0 if better.any() else stale + 1
        if stale == _PATIENCE:
            break
    return best


def _losses(scores: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy [members, rows] of scores [members, rows, classes]."""
    each = y.expand(len(scores), -1)  # [members, rows]
    return F.cross_entropy(scores.transpose(1, 2), each, reduction="none")


def _mean(losses: Tensor, of: Tensor) -> Tensor:
    """Mean over some rows, [members, rows] to [members]."""
    return (losses * of).sum(1) / of.sum(1).clamp(min=1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: tensors this small gain nothing by more, and results are equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
