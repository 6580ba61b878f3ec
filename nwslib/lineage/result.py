"""What is found out about a folder of checkpoints, as objects, a table, JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nwslib.checkpoints import Rejected

if TYPE_CHECKING:
    from pandas import DataFrame

#: Version of ``lineage.json``.
FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """One kind of net in the folder.

    Attributes
    ----------
    id : str
        Digest of the names and shapes of its floating-point tensors.
    tensors, weights : int
        How many of each are compared: all but batch norm's running statistics.
    """

    id: str
    tensors: int
    weights: int


@dataclass(frozen=True)
class Run:
    """Checkpoints of one training run, or of one branch.

    Attributes
    ----------
    id : str
    architecture : str
        ``Architecture.id``.
    checkpoints : tuple of str
        Paths, first to last; copies stand behind their original.
    outlier : bool
        Whether it is a single checkpoint, related to no other, while others of its
        architecture are related.
    """

    id: str
    architecture: str
    checkpoints: tuple[str, ...]
    outlier: bool


@dataclass(frozen=True)
class Link:
    """Which checkpoint another one came from.

    Attributes
    ----------
    parent, child : str
        Paths.
    distance : float
        Euclidean, in the unit of the weights.
    confidence : float
        How sure this is, from 0 to 1.
    kind : str
        ``step`` to the next checkpoint of a run, ``branch`` from another run, or the
        kind of a copy: see :class:`nwslib.lineage.copies.Copy`.
    """

    parent: str
    child: str
    distance: float
    confidence: float
    kind: str


@dataclass(frozen=True)
class Lineage:
    """Runs, order and descent of all checkpoints in a folder.

    Attributes
    ----------
    architectures : tuple of Architecture
    runs : tuple of Run
        Every readable checkpoint stands in exactly one; a branch behind the run that
        it leaves.
    links : tuple of Link
        One for each checkpoint that has a parent: together they are trees.
    rejected : tuple of Rejected
        What could not be read, and why.
    """

    architectures: tuple[Architecture, ...]
    runs: tuple[Run, ...]
    links: tuple[Link, ...]
    rejected: tuple[Rejected, ...]

    def table(self) -> DataFrame:
        """One row a readable checkpoint, run by run.

        Returns
        -------
        DataFrame
            ``path``; ``run`` and ``position`` in it, from 0; ``kind``: that of its
            link, else ``root`` or ``outlier``; ``parent``, ``distance`` and
            ``confidence`` of its link, absent without one; ``architecture``.
        """
        # pandas: only where it is used
        import pandas as pd

        link_to = {link.child: link for link in self.links}
        rows = []
        for run in self.runs:
            for position, path in enumerate(run.checkpoints):
                row = {"path": path, "run": run.id, "position": position}
                link = link_to.get(path)
                row["kind"] = "outlier" if run.outlier else "root"
                if link:
                    row |= asdict(link)
                rows.append(row | {"architecture": run.architecture})
        columns = [
            "path", "run", "position", "kind", "parent", "distance", "confidence",
            "architecture",
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def to_json(self) -> dict:
        """Plain lists and dicts, for ``lineage.json``."""
        content = {
            key: [asdict(each) for each in getattr(self, key)]
            for key in ("architectures", "runs", "links", "rejected")
        }
        for run in content["runs"]:
            run["checkpoints"] = list(run["checkpoints"])
        return {"format": FORMAT} | content
