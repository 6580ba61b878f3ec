"""Lineage of checkpoints: which came from which, told from weights alone.

:func:`recover` reads each file once (:mod:`~nwslib.lineage.survey`), finds copies
(:mod:`~nwslib.lineage.copies`), groups relatives (:mod:`~nwslib.lineage.families`) and
grows each family's tree (:mod:`~nwslib.lineage.tree`). Names and dates of files are
never looked at. :func:`write_lineage` puts the result on disk, as
``python -m nwslib lineage FOLDER --out DIR`` does.
"""

from nwslib.lineage.files import write_lineage
from nwslib.lineage.recover import recover
from nwslib.lineage.result import Architecture, Lineage, Link, Run

__all__ = ["Architecture", "Lineage", "Link", "Run", "recover", "write_lineage"]
