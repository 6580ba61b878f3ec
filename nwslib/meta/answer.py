"""What is said of a net that was asked how it was trained, as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nwslib.meta.guess import Guesser

#: Version of :meth:`Answer.to_json`.
FORMAT = 1

_UNLIKE = "unlike anything I was trained on"
# A text leaves out categories that it would give 0 %; JSON has them all.
_TOLD = 0.005


@dataclass(frozen=True)
class Answer:
    """What is said of one net.

    Attributes
    ----------
    architecture : str or None
        Its name if it is of the family.
    reason : str or None
        Why nothing is guessed, as a clause; None if something is.
    score, limit : float or None
        How unusual the weights are (:class:`nwslib.meta.unusual.Range`), for a net of
        the family.
    probabilities : dict of str to dict, or None
        Hyper-parameter -> category -> probability, the likeliest first.
    """

    architecture: str | None = None
    reason: str | None = None
    score: float | None = None
    limit: float | None = None
    probabilities: dict[str, dict[object, float]] | None = None

    def to_json(self, guesser: Guesser | None = None) -> dict:
        """Plain values.

        Parameters
        ----------
        guesser : Guesser, optional
            The one that guessed, for how good it is.

        Returns
        -------
        dict
            ``format``: :data:`FORMAT`. ``verdict``: ``"guessed"`` or ``"unlike"`` (a
            file that is not read gets ``"refused"``, see :func:`refusal`).
            ``reason``: why nothing is guessed, or null. ``architecture``: its name,
            or null. ``unusual``: ``score`` and ``limit``, or null.
            ``hyperparameters``: null, or by name ``guess``; ``probabilities``, a list
            of ``value`` and ``probability``, the likeliest first; and of held-out
            nets ``accuracy``, ``calibration_error``, and ``commonest``, the accuracy
            of always guessing the commonest category.
        """
        told = None
        if self.probabilities is not None:
            told = {
                name: {
                    "guess": next(iter(each)),
                    "probabilities": [
                        {"value": value, "probability": p} for value, p in each.items()
                    ],
                    **(guesser.judged[name] if guesser else {}),
                }
                for name, each in self.probabilities.items()
            }
        known = self.score is not None
        return _json(
            "guessed" if told else "unlike",
            reason=self.reason,
            architecture=self.architecture,
            unusual={"score": self.score, "limit": self.limit} if known else None,
            hyperparameters=told,
        )

    def to_text(self, guesser: Guesser | None = None) -> str:
        """A table for a terminal; argument as for :meth:`to_json`."""
        if self.probabilities is None:
            return f"{_UNLIKE}: {self.reason}"
        rows = [
            (
                name,
                ", ".join(f"{v} {p:.0%}" for v, p in each.items() if p >= _TOLD),
                "{accuracy:.0%} ({commonest:.0%})".format(**guesser.judged[name])
                if guesser
                else "",
            )
            for name, each in self.probabilities.items()
        ]
        header = ("", "probability", "right (commonest)" if guesser else "")
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            f"{self.architecture}, a net of the family, as usual as the nets learned "
            f"from (score {self.score:.2f}, limit {self.limit:.2f})"
        ]
        for row in (header, *rows):
            cells = (f"{cell:{w}}" for cell, w in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        if guesser:
            lines.append(
                "right: the share of nets never seen whose likeliest category was the "
                "true one;\nin brackets that of always naming the commonest. Learned "
                f"from {guesser.n_nets} nets."
            )
        return "\n".join(lines)


def refusal(reason: str) -> dict:
    """What stands in JSON for a file that is not read; keys as :meth:`Answer.to_json`.

    Parameters
    ----------
    reason : str
        A sentence.
    """
    return _json("refused", reason=reason)


def _json(verdict: str, **given: object) -> dict:
    empty = dict.fromkeys(("reason", "architecture", "unusual", "hyperparameters"))
    return {"format": FORMAT, "verdict": verdict} | empty | given
