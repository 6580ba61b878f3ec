"""How contenders are timed, and what is known about where.

Nothing here knows what is measured; :mod:`training`, :mod:`linkage`,
:mod:`monitoring`, :mod:`imports` and :mod:`gpu` do.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]

#: What the numbers may depend on, the peers included.
_PACKAGES = (
    "torch", "numpy", "numba", "scipy", "scikit-learn", "fastcluster", "jax", "jaxlib",
)  # fmt: skip

#: A contender: does its work once, returns the time it took in the row's unit.
Contender = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One measured task; in every row lower is better.

    Attributes
    ----------
    name, unit : str
    ours : float
        Median over the rounds.
    peers : dict of str to float
        The same task done another way; medians.
    limit : float or None
        What the machine's arithmetic, or the part that is not ours, takes.
    rounds : dict of str to list of float
        What each contender took in each round, ``ours`` among them.
    compile : dict of str to float
        Seconds that a contender's first call took longer than its later ones,
        with empty caches; only of those that compile.
    peak_gflops : float or None
        Of a large float32 matrix product, measured for this row's limit.
    memory_mb : float or None
        Most memory that a fresh process held while it did our part, in MB of
        10^6 bytes.
    facts : dict
        What else there is to know.
    """

    name: str
    unit: str
    ours: float
    peers: dict[str, float]
    limit: float | None
    rounds: dict[str, list[float]]
    compile: dict[str, float] = field(default_factory=dict)
    peak_gflops: float | None = None
    memory_mb: float | None = None
    facts: dict[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, unit: str, rounds: dict[str, list[float]], **more) -> Row:
        """Row of rounds; the contender ``ours`` is ours."""
        medians = {key: statistics.median(times) for key, times in rounds.items()}
        return cls(name, unit, medians.pop("ours"), medians, rounds=rounds, **more)

    def spread(self, contender: str) -> float:
        """Slowest less fastest round, as a share of the median."""
        times = self.rounds[contender]
        return (max(times) - min(times)) / statistics.median(times)


@dataclass(frozen=True)
class Growth:
    """How a task's time grows with its size.

    Attributes
    ----------
    name, unit : str
    variable : str
        What grows.
    times : dict of str to list of (int, float)
        Each contender's sizes, and the median time at each.
    exponents : dict of str to float or None
        See :func:`exponent`.
    rounds : dict of str to list of list of float
        Behind the medians.
    """

    name: str
    unit: str
    variable: str
    times: dict[str, list[tuple[int, float]]]
    exponents: dict[str, float | None]
    rounds: dict[str, list[list[float]]]

    @classmethod
    def of(
        cls,
        name: str,
        unit: str,
        variable: str,
        by_size: Mapping[int, dict[str, list[float]]],
    ) -> Growth:
        """Growth of what :func:`take_turns` returned at each size."""
        times, rounds = {}, {}
        for size, measured in by_size.items():
            for key, values in measured.items():
                times.setdefault(key, []).append((size, statistics.median(values)))
                rounds.setdefault(key, []).append(values)
        exponents = {key: exponent(pairs) for key, pairs in times.items()}
        return cls(name, unit, variable, times, exponents, rounds)


def exponent(pairs: list[tuple[int, float]]) -> float | None:
    """Power with which time grows: least squares in logarithms; None for one size."""
    if len(pairs) < 2:
        return None
    sizes, times = np.log(np.array(pairs, dtype=float)).T
    return float(np.polyfit(sizes, times, 1)[0])


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def say(text: str) -> None:
    """Print a line of progress with the time of day."""
    print(f"{datetime.datetime.now():%H:%M:%S}  {text}", flush=True)


def take_turns(contenders: Mapping[str, Contender], n: int) -> dict[str, list[float]]:
    """Let each contender time itself in turn, ``n`` rounds; every time it took.

    Taking turns, contenders share the machine's good and bad moments.
    """
    times = {name: [] for name in contenders}
    for round_ in range(1, n + 1):
        for name, run in contenders.items():
            times[name].append(run())
        took = ", ".join(f"{name} {ts[-1]:.3g}" for name, ts in times.items())
        say(f"  round {round_} of {n}: {took}")
    return times


def some(count: int, share: float, least: int = 2) -> int:
    """A share of a count of things, but at least a few."""
    return max(round(count * share), least)


def peak_flops(device: str = "cpu") -> float:
    """What the machine reaches in a large float32 matrix product, per second."""
    n = 2048 if device == "cpu" else 8192
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)

    def product() -> None:
        torch.matmul(a, b)
        wait(device)

    return 2 * n**3 / min(seconds(product) for _ in range(6))


def copy_seconds(n: int) -> float:
    """To copy n float32, which reads one vector and writes one."""
    source, target = torch.rand(n), torch.zeros(n)
    return min(seconds(target.copy_, source) for _ in range(9))


def wait(device: str) -> None:
    """Return when a device has done what it was told."""
    if device != "cpu":
        torch.cuda.synchronize()


def machine() -> dict[str, object]:
    """Where and with what the numbers are measured."""
    info = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "date": datetime.date.today().isoformat(),
        "commit": _told("git", "describe", "--always", "--abbrev=40", "--dirty"),
    }


def gpu_machine() -> dict[str, object]:
    """The same with the GPU; its limit is CUDA's, its driver the system's."""
    driver = _told("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": driver and driver.splitlines()[0],
        "cuda": torch.version.cuda,
    } | machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _told(*command: str) -> str | None:
    """What a command prints; None where it cannot run."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None
