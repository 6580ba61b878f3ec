"""When a net's movement is worth a look: the rules, as pure functions, and the watch.

Every rule compares the net with its own recent past (:mod:`nwslib.outliers`): none
needs data, labels or a second net. :func:`.rule_scores` applies the rules to whole
recorded paths, :class:`Watch` to one observation at a time; both give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nwslib.outliers import robust_score, trailing_score
from nwslib.trajectory import Position


@dataclass(frozen=True)
class Alarm:
    """Something unusual, and when.

    Attributes
    ----------
    step : int
        Training steps up to the observation that raised it.
    name : {"not-finite", "frozen", "jump", "turn", "balance"}
    value, threshold : float
        What was measured, and from where on the rule speaks.
    message : str
        One sentence.
    """

    step: int
    name: str
    value: float
    threshold: float
    message: str


@dataclass(frozen=True)
class AlarmRules:
    """Thresholds; infinity silences a rule.

    The defaults were chosen on ordinary trainings of small nets, so that all rules
    together raise less than one false alarm in 100 observations
    (``tests/benchmarks/alarm_rates.py`` measures how many, and what they notice).

    Attributes
    ----------
    jump, turn, balance : float
        Scores, see :func:`.rule_scores`.
    frozen : int
        Observations without movement.
    window : int
        Observations that an observation is compared with.
    least : int
        With fewer than this there are no scores.
    floor : float
        Least deviation that counts as usual, in logarithms of lengths and radians:
        5 % of a length, 3 degrees of an angle.
    """

    jump: float = 5.0
    turn: float = 6.0
    balance: float = 4.0
    frozen: int = 3
    window: int = 20
    least: int = 10
    floor: float = 0.05

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.window:
            raise ValueError(
                f"least is {self.least} and window {self.window}: give a window of at "
                "least that many observations, and 1 or more."
            )
        if self.frozen < 1:
            raise ValueError(f"frozen is {self.frozen}: give 1 observation or more.")
        if not self.floor > 0:
            raise ValueError(f"floor is {self.floor}: give a number over 0.")


def rule_scores(
    step: ArrayLike,
    turning: ArrayLike,
    layer_step: ArrayLike,
    rules: AlarmRules | None = None,
) -> dict[str, NDArray]:
    """Score every observation of recorded paths by the monitor's rules.

    Parameters
    ----------
    step : array_like, shape [..., n]
        Lengths of the steps between observations.
    turning : array_like, shape [..., n]
        Angles between a step and the one before, in radians; the first is NaN.
    layer_step : array_like, shape [..., layers, n]
        Each layer's own step lengths.
    rules : AlarmRules, optional

    Returns
    -------
    dict of str to ndarray, shapes [..., n]
        Robust deviations from the ``window`` observations before, NaN where unknown:
        ``jump``, of the logarithm of the step's length; ``turn``, of the turning
        angle; ``balance``, of the logarithms of the layers' steps over the net's,
        root mean square over layers. The monitor raises an alarm where a score
        passes its threshold, and the next one of this name after it has been below
        half of it.
    """
    rules = rules or AlarmRules()
    scores = trailing_score(
        _signals(step, turning, layer_step),
        window=rules.window,
        least=rules.least,
        floor=rules.floor,
    )  # [..., 2 + layers, n]
    return _by_rule(scores)


def _signals(step: ArrayLike, turning: ArrayLike, layer_step: ArrayLike) -> NDArray:
    """What is scored, [..., 2 + layers, n]; NaN where nothing moved."""
    step = np.asarray(step, float)[..., None, :]
    turning = np.asarray(turning, float)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        length, shares = np.log(step), np.log(np.asarray(layer_step, float) / step)
    signals = np.concatenate([length, turning, shares], axis=-2)
    return np.where(np.isfinite(signals), signals, np.nan)


def _by_rule(scores: NDArray) -> dict[str, NDArray]:
    """Scores [..., 2 + layers, n] to the rules' [..., n]."""
    layers = scores[..., 2:, :]
    known = np.isfinite(layers)
    square = np.where(known, layers, 0.0) ** 2
    with np.errstate(invalid="ignore"):  # 0 / 0: unknown
        balance = np.sqrt(square.sum(axis=-2) / known.sum(axis=-2))
    return {"jump": scores[..., 0, :], "turn": scores[..., 1, :], "balance": balance}


class Watch:
    """Apply the rules while a net trains.

    A condition that lasts raises one alarm, when it begins.

    Parameters
    ----------
    rules : AlarmRules
    layers : sequence of str
        Names of the layers, in the layout's order.
    """

    def __init__(self, rules: AlarmRules, layers: Sequence[str]) -> None:
        self._rules = rules
        self._layers = tuple(layers)
        self._past: list[list[float]] = []  # signals of at most window observations
        self._above: set[str] = set()  # rules that wait for their score to fall
        self._still_net = 0  # observations without movement
        self._still = dict.fromkeys(self._layers, 0)
        self._broken: set[str] = set()  # tensors that are not finite

    def state_dict(self) -> dict[str, object]:
        """Plain lists, dicts and numbers."""
        return {
            "past": [list(row) for row in self._past],
            "above": sorted(self._above),
            "still_net": self._still_net,
            "still": dict(self._still),
            "broken": sorted(self._broken),
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from :meth:`state_dict`."""
        self._past = [list(row) for row in state["past"]]
        self._above = set(state["above"])
        self._still_net = state["still_net"]
        self._still = dict(state["still"])
        self._broken = set(state["broken"])

    def not_finite(self, step: int, counts: Mapping[str, int]) -> list[Alarm]:
        """Alarm for tensors with NaN, infinity or numbers near it.

        Parameters
        ----------
        step : int
        counts : mapping of str to int
            How many such values each of them holds.
        """
        new = [name for name in counts if name not in self._broken]
        self._broken = set(counts)
        if not new:
            return []
        values = sum(counts[name] for name in new)
        message = (
            f"NaN, infinity or more than 1e12 in {_listed(new)} ({values} values)."
        )
        return [Alarm(step, "not-finite", float(values), 0.0, message)]

    def moved(
        self, step: int, positions: Mapping[str, Position], trainable: Iterable[str]
    ) -> list[Alarm]:
        """Alarms for an observation.

        Parameters
        ----------
        step : int
        positions : mapping of str to Position
            As a path follower gives them.
        trainable : iterable of str
            Layers that are meant to move.
        """
        whole = positions["whole"]
        if math.isnan(whole.step):  # where the path begins
            return []
        lengths = [positions[f"layer:{name}"].step for name in self._layers]
        frozen = self._frozen(step, whole.step, lengths, set(trainable))
        return frozen + self._unusual(step, whole, lengths)

    def _frozen(
        self, step: int, whole: float, lengths: list[float], trainable: set[str]
    ) -> list[Alarm]:
        limit = self._rules.frozen
        if whole == 0:  # which says nothing of single layers
            self._still_net += 1
            if self._still_net != limit:
                return []
            message = f"no weight moved over the last {limit} observations."
        else:
            self._still_net = 0
            for name, length in zip(self._layers, lengths, strict=True):
                rests = length == 0 and name in trainable
                self._still[name] = self._still[name] + 1 if rests else 0
            new = [name for name in self._layers if self._still[name] == limit]
            if not new:
                return []
            message = (
                f"no weight of {_listed(new)} moved over the last {limit} "
                "observations, while others did: does the optimizer have them?"
            )
        return [Alarm(step, "frozen", float(limit), float(limit), message)]

    def _unusual(self, step: int, whole: Position, lengths: list[float]) -> list[Alarm]:
        rules = self._rules
        now = _signals(
            [whole.step], [whole.turning], np.array(lengths)[:, None]
        )  # [2 + layers, 1]
        past = np.array(self._past).reshape(-1, len(now)).T  # [2 + layers, m <= window]
        scores = robust_score(now[:, 0], past, least=rules.least, floor=rules.floor)
        self._past = [*self._past, now[:, 0].tolist()][-rules.window :]
        alarms = []
        for name, (score,) in _by_rule(scores[:, None]).items():
            threshold = getattr(rules, name)
            if score > threshold and name not in self._above:
                self._above.add(name)
                message = _told(name, self._layers, now[:, 0], past, scores)
                alarms.append(Alarm(step, name, float(score), threshold, message))
            elif not score > threshold / 2:  # or is unknown
                self._above.discard(name)
        return alarms


def _told(
    name: str, layers: Sequence[str], now: NDArray, past: NDArray, scores: NDArray
) -> str:
    """One sentence: what is unusual, and what is usual."""
    layer = int(np.nanargmax(np.abs(scores[2:]))) if name == "balance" else 0
    i = {"jump": 0, "turn": 1, "balance": 2 + layer}[name]
    usual = np.nanmedian(past[i])
    over = f"over the last {past.shape[1]} observations"
    if name == "turn":
        degrees, usual = np.rad2deg([now[i], usual])
        return f"a turn of {degrees:.0f} degrees, usual {over} {usual:.0f}."
    times = f"{math.exp(now[i] - usual):.3g} times"
    if name == "jump":
        return f"the step was {times} as long as usual {over}."
    who = _listed(layers[layer : layer + 1])
    return f"the share of {who} in the step was {times} as large as usual {over}."


def _listed(names: Sequence[str], most: int = 3) -> str:
    """Quoted names, not too many of them; the root's is empty."""
    quoted = [f"'{name}'" if name else "the root module" for name in names[:most]]
    rest = len(names) - most
    return ", ".join(quoted) + (f" and {rest} more" if rest > 0 else "")
