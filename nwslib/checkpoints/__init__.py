r"""Checkpoints that others wrote: find them in a folder, read them safely.

A foreign file is hostile until it has been read. :func:`find` opens nothing but
the small index of a sharded checkpoint and follows no link out of the folder.
:func:`read` runs no code that a file brings along (``weights_only=True``, always),
sets no memory aside because a file claims a size that its bytes cannot justify,
and raises nothing but :class:`UnreadableCheckpoint`, so one bad file never stops
the rest. Of a file's name only the suffix is used, of its date nothing.

Paths are relative to the folder and posix, as they go into ``lineage.json``. A
name that is no valid unicode cannot stand in JSON: its undecodable bytes appear
as ``\udcNN``, and a backslash in any name is doubled. So different names stay
different, :func:`read` finds the file again, and all other names stay as they are.
"""

from nwslib.checkpoints.folder import Rejected, find, read
from nwslib.checkpoints.refusal import UnreadableCheckpoint

__all__ = ["Rejected", "UnreadableCheckpoint", "find", "read"]
