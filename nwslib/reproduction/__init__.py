"""What came of the papers' tables, figures and claims, out of the results files.

:data:`SECTIONS` lists all of them, a :class:`Row` each, in the papers' order:
:mod:`~nwslib.reproduction.version_control` those of Schuerholt & Borth and
:mod:`~nwslib.reproduction.classifying` those of Eilertsen et al. A row says where in a
chapter's results its number stands and when it agrees; it holds no number of ours.
:func:`judged` looks all of them up.
"""

from nwslib.reproduction import classifying, version_control
from nwslib.reproduction.rows import VERDICTS, Found, Row, Section
from nwslib.reproduction.table import counts, judged, sentence

#: Every section of the report, in its order.
SECTIONS: tuple[Section, ...] = (*version_control.SECTIONS, *classifying.SECTIONS)

__all__ = [
    "SECTIONS", "VERDICTS", "Found", "Row", "Section", "counts", "judged", "sentence",
]  # fmt: skip
