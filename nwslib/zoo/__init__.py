"""A zoo on disk: many nets of one architecture, as points in weight space.

A zoo is a folder:

``zoo.json``
    The header: format version, layout, spec, snapshots, which runs are in which
    shard, and size and sha256 of every other file.
``runs.parquet``
    One row a run: ``run``, ``seed``, ``diverged``, hyper-parameters, final metrics.
``history.parquet``
    One row a run, epoch and split: ``accuracy`` and ``loss``.
``weights/shard-NNNNN.safetensors``
    One tensor a run, named by the run's id, [snapshots, weights].

:class:`ZooWriter` adds shard after shard, :class:`Zoo` reads, :func:`verify`
compares every file with the header.

Two rules make a killed writer harmless. Every file appears whole (written beside
its place, flushed, renamed), and a file that the header names is never
overwritten: a growing zoo's tables are numbered (``runs-00003.parquet``), and
replacing the header is what makes a new shard part of the zoo. So at most the
shard being written is lost; what is in the folder but not in the header is
ignored, and cleared or overwritten by :meth:`ZooWriter.resume`.
"""

from nwslib.zoo.reader import Zoo, verify
from nwslib.zoo.writer import ZooWriter

__all__ = ["Zoo", "ZooWriter", "verify"]
