"""The monitor itself: when to observe, what to keep, how to go on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from numbers import Integral
from pathlib import Path

import torch
from torch import Tensor, nn

from nwslib import __version__
from nwslib.monitor._net import (
    digest,
    layout_of,
    not_finite,
    parameters,
    running_statistics,
    trainable_layers,
    unwrap,
)
from nwslib.monitor.alarms import Alarm, AlarmRules, Watch
from nwslib.monitor.log import FORMAT_VERSION, LogFile
from nwslib.monitor.projection import SparseProjection
from nwslib.trajectory import PathFollower, Position

_LOGGER = logging.getLogger("nwslib")


class TrajectoryMonitor:
    """Follow a net's path through weight space while it trains.

    Parameters
    ----------
    net : Module
        On any device, in any floating-point types, compiled or wrapped in
        ``DataParallel`` or not. Followed are its parameters, shared ones once; the
        running statistics of batch norm are not (they are averages of the data), but
        like the parameters they have to be finite (and below 1e12).
    every : int
        Steps between two observations. The net as given is the first.
    log : str or Path, optional
        File to append observations to, see :mod:`nwslib.monitor.log`.
    project : int, optional
        Follow this many random combinations of each larger tensor in place of its
        weights, see :class:`~nwslib.monitor.projection.SparseProjection`.
    seed : int
        Of the random combinations.
    rules : AlarmRules
        When alarms are raised.
    on_alarm : callable, optional
        Called with each :class:`Alarm`. What it raises goes on to the caller of
        :meth:`step`, so that an alarm can stop the training.

    Attributes
    ----------
    steps : int
        How often :meth:`step` was called.
    positions : dict of str to Position
        Geometry at the last observation, by group, as
        :class:`~nwslib.trajectory.PathFollower` gives it.
    alarms : list of Alarm
        All that were raised. Each also goes to the logger ``"nwslib"``, as a warning.

    Raises
    ------
    ValueError
        If an argument is out of range, the net has no weights or has them not yet
        (lazy or meta), or the log cannot be continued.

    Notes
    -----
    Memory: 12 bytes a weight (three vectors in float32), on the net's device. With
    ``project``, 5 ``project`` sqrt(d) bytes for a tensor of d weights.

    Where several processes train one net, construct the monitor in one of them.
    Sharded parameters (FSDP) are followed shard by shard. Nothing here was run on a
    GPU yet.

    Examples
    --------
    >>> net = nn.Linear(2, 1)
    >>> monitor = TrajectoryMonitor(net, every=1)
    >>> with torch.no_grad():
    ...     _ = net.weight.add_(1)
    >>> monitor.step()
    []
    >>> round(monitor.positions["whole"].step, 4)
    1.4142
    """

    def __init__(
        self,
        net: nn.Module,
        every: int = 100,
        log: str | Path | None = None,
        *,
        project: int | None = None,
        seed: int = 0,
        rules: AlarmRules | None = None,
        on_alarm: Callable[[Alarm], object] | None = None,
    ) -> None:
        for name, value in (("every", every), ("project", project)):
            if value is not None and not (isinstance(value, Integral) and value > 0):
                raise ValueError(f"{name} is {value}: give a whole number from 1 on.")
        if on_alarm is not None and not callable(on_alarm):
            raise ValueError(f"on_alarm is {on_alarm}: give a function of an Alarm.")
        self._net = unwrap(net)
        self._every = every
        self._on_alarm = on_alarm
        rules = rules or AlarmRules()
        self._layout = layout_of(self._net)
        self._projection = (
            None if project is None else SparseProjection(self._layout, project, seed)
        )
        followed = self._projection.layout if self._projection else self._layout
        self._follower: PathFollower | None = PathFollower(followed)
        self._watch = Watch(rules, followed.layers)
        self._run = uuid.uuid4().hex[:12]
        self._config = {
            "format": FORMAT_VERSION,
            "layout": digest(self._layout),
            "every": every,
            "project": project,
            "seed": seed,
            "draw": self._projection.digest() if self._projection else None,
        }
        self.steps = 0
        self.positions: dict[str, Position] = {}
        self.alarms: list[Alarm] = []
        self._log = None if log is None else LogFile(Path(log), self._config["layout"])
        self._write(
            {
                "nwslib": __version__,
                **self._config,
                "weights": self._layout.size,
                "layers": followed.layers,
                "kinds": followed.kinds,
                "rules": asdict(rules),
            }
        )
        self._observe()

    def step(self) -> list[Alarm]:
        """Count a training step, and observe the net if it is time.

        Call it after ``optimizer.step()``. Steps are counted as called: one that a
        ``GradScaler`` skips counts too.

        Returns
        -------
        list of Alarm
            Those raised now.

        Raises
        ------
        ValueError
            If the net's parameters are no longer the ones it began with, or the
            monitor is closed.
        """
        self._check_open()
        self.steps += 1
        return [] if self.steps % self._every else self._observe()

    def state_dict(self) -> dict[str, object]:
        """Everything needed to go on later, to save beside the training's checkpoint.

        Returns
        -------
        dict
            Copies on the CPU (12 bytes a weight, without ``project``), in types that
            ``torch.load(..., weights_only=True)`` reads.
        """
        self._check_open()
        return {
            "config": dict(self._config),
            "run": self._run,
            "steps": self.steps,
            "follower": self._follower.state_dict(),
            "watch": self._watch.state_dict(),
            "positions": {name: asdict(p) for name, p in self.positions.items()},
            "alarms": [asdict(alarm) for alarm in self.alarms],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a saved state, as if the training had never stopped.

        The log goes on too: :func:`~nwslib.monitor.read_log` leaves out what was
        logged after the state was saved.

        Parameters
        ----------
        state : mapping
            From :meth:`state_dict` of a monitor of the same net and arguments.

        Raises
        ------
        ValueError
            If it is of another net or of other arguments.
        """
        self._check_open()
        config = state.get("config", {})
        for name, mine in self._config.items():
            if config.get(name) != mine:
                raise ValueError(
                    f"the saved state does not fit this monitor ({name}: "
                    f"{config.get(name)} saved, {mine} here): construct it for the "
                    "same net with the same arguments."
                )
        begun, self._run = self._run, state["run"]
        self.steps = state["steps"]
        self._follower.load_state_dict(state["follower"])
        self._watch.load_state_dict(state["watch"])
        self.positions = {n: Position(**p) for n, p in state["positions"].items()}
        self.alarms = [Alarm(**alarm) for alarm in state["alarms"]]
        self._write({"resumed": begun, "at": self.steps})

    def close(self) -> None:
        """Free the vectors. The log needs no closing: each line is on its own."""
        self._follower = None

    def __enter__(self) -> TrajectoryMonitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._follower is None:
            raise ValueError("this monitor is closed: construct a new one.")

    @torch.no_grad()
    def _observe(self) -> list[Alarm]:
        weights = self._weights()
        counts = not_finite(weights | running_statistics(self._net))
        alarms = self._watch.not_finite(self.steps, counts)
        positions = {}
        if counts.keys().isdisjoint(weights):  # else they have no place
            point = self._projection(weights) if self._projection else weights
            positions = self.positions = self._follower.add(point)
            alarms += self._watch.moved(
                self.steps, positions, trainable_layers(self._net)
            )
        self._record(positions, alarms)
        self.alarms += alarms
        for alarm in alarms:
            _LOGGER.warning("step %d, %s: %s", alarm.step, alarm.name, alarm.message)
            if self._on_alarm:
                self._on_alarm(alarm)
        return alarms

    def _weights(self) -> dict[str, Tensor]:
        """The net's parameters, if they are those that it began with."""
        weights = parameters(self._net)
        expected = {piece.name: piece.shape for piece in self._layout}
        given = {name: tuple(weight.shape) for name, weight in weights.items()}
        if given != expected:
            names = sorted({n for n, _ in expected.items() ^ given.items()})
            raise ValueError(
                f"the net has other parameters than when its monitor began (changed: "
                f"{names}): construct a new monitor after changing a net."
            )
        return weights

    def _record(self, positions: Mapping[str, Position], alarms: list[Alarm]) -> None:
        """Log an observation; without positions if the weights were not finite."""
        groups = {
            word: [p.step for name, p in positions.items() if name.startswith(word)]
            for word in ("layer", "kind")
        }
        self._write(
            {
                "step": self.steps,
                "whole": asdict(positions["whole"]) if positions else {},
                "layers": groups["layer"],
                "kinds": groups["kind"],
                "alarms": [asdict(alarm) for alarm in alarms],
            }
        )

    def _write(self, entry: Mapping[str, object]) -> None:
        if self._log:
            self._log.write({"run": self._run, **entry})
