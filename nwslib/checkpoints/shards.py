"""A checkpoint in several files, with the index that Hugging Face writes.

The index ``NAME.safetensors.index.json`` (or ``.bin``) holds ``weight_map``, tensor
name -> file name of the shard, and its shards lie beside it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

from torch import Tensor

from nwslib.checkpoints.refusal import Refused, first_line, quoted, why

_INDEX = re.compile(r"(\.safetensors|\.bin)\.index\.json$", re.IGNORECASE)
#: An index of 100,000 tensors is smaller.
_LARGEST_INDEX = 2**25  # bytes


def is_index(path: str) -> bool:
    """Whether a path is named like an index."""
    return _INDEX.search(path) is not None


def weight_map(file: str, path: str) -> dict[str, str]:
    """Read an index.

    Parameters
    ----------
    file : str
        The index itself.
    path : str
        Its path in the folder, beside which the shards lie.

    Returns
    -------
    dict of str to str
        Tensor name -> path of the shard that holds it.

    Raises
    ------
    Refused
        If it is no index, or names a shard outside its folder or of another kind.
    """
    if os.path.getsize(file) > _LARGEST_INDEX:
        raise Refused("it is far too large for an index of shards: save it again.")
    with open(file, "rb") as stream:
        try:
            index = json.loads(stream.read(), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise Refused(
                f"it is no valid JSON ({first_line(str(error))}): copy or save it "
                "again."
            ) from error
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise Refused(
            "it is no index of shards, since it has no 'weight_map': copy or save it "
            "again."
        )
    kind = _INDEX.search(path)[1].lower()
    for shard in shard_of.values():
        if not isinstance(shard, str) or re.search(r"[/\\\0]|^\.\.?$", shard):
            raise Refused(
                f"it names the shard {quoted(shard)}, which is no file beside it: "
                "copy or save it again."
            )
        if not shard.lower().endswith(kind):
            raise Refused(
                f"it names the shard {quoted(shard)}, which is no {kind} file: copy "
                "or save it again."
            )
    beside = os.path.dirname(path)
    return {name: os.path.join(beside, shard) for name, shard in shard_of.items()}


def merge(
    shard_of: dict[str, str], tensors: Callable[[str], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Put the shards of one checkpoint together.

    Parameters
    ----------
    shard_of : dict of str to str
        Tensor name -> shard, from :func:`weight_map`.
    tensors : callable
        Reads one shard.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    Refused
        If a shard is missing, refused itself, or does not hold what the index says.
    """
    whole: dict[str, Tensor] = {}
    for shard in dict.fromkeys(shard_of.values()):
        try:
            part = tensors(shard)
        except Exception as error:  # a foreign file: anything can be wrong with it
            raise blamed(shard, error) from error
        if twice := whole.keys() & part.keys():
            raise Refused(
                f"two of its shards hold {quoted(min(twice))}: copy all files of the "
                "checkpoint again."
            )
        whole |= part
    if absent := [name for name in shard_of if name not in whole]:
        raise Refused(
            f"its shard {quoted(os.path.basename(shard_of[absent[0]]))} does not hold "
            f"{quoted(absent[0])}: copy all files of the checkpoint again."
        )
    return whole


def blamed(shard: str, error: Exception) -> Refused:
    """What is wrong with one shard, said of the whole."""
    name = quoted(os.path.basename(shard))
    return Refused(f"its shard {name} cannot be read: {why(error)}")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; Refused if a name stands in it twice."""
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"it names {quoted(twice)} twice: copy or save it again.")
    return out
