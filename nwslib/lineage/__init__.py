"""Lineage of foreign checkpoints: which came from which, told from weights alone."""

from nwslib.lineage.files import write_lineage
from nwslib.lineage.recover import recover
from nwslib.lineage.result import Architecture, Lineage, Link, Run

__all__ = ["Architecture", "Lineage", "Link", "Run", "recover", "write_lineage"]
