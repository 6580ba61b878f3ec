"""One file of tensors, as ``torch.save`` or safetensors wrote it.

Files are mapped into memory where their format allows, and the weights copied out:
an optimizer's state beside them, often twice as large, is then never loaded, and the
peak is twice the file's size at most. A program that cuts a file short while it
is mapped would end this process: write checkpoints under another name, then rename.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from typing import IO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nwslib.checkpoints import pickles, state
from nwslib.checkpoints.refusal import Refused, first_line

#: Tensors may claim this many times the file's bytes: tied weights stand in a file
#: once, zeros of a sparse tensor not at all. More is an attack on the memory.
_MOST_CLAIMED = 16
_ALWAYS_ALLOWED = 2**20  # bytes, whatever the file's size

_ZIP = b"PK\x03\x04"
#: How a legacy file goes on after the two bytes of its pickle protocol: torch's magic
#: number as a pickled integer.
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: After it: version, machine, objects and order of the storages, pickled one by one.
_LEGACY_PICKLES = 4


def tensors(file: str, suffix: str) -> dict[str, Tensor]:
    """Read the tensors of one file.

    Parameters
    ----------
    file : str
        A regular file.
    suffix : str
        ``.safetensors``, or anything else for what ``torch.save`` wrote.

    Returns
    -------
    dict of str to Tensor
        Those of the net; see :func:`nwslib.checkpoints.state.copied`.

    Raises
    ------
    Refused
        With the reason; damaged files also raise what the libraries raise.
    """
    size = os.path.getsize(file)
    if not size:
        raise Refused("it is empty (0 bytes): copy or save it again.")
    limit = _MOST_CLAIMED * size + _ALWAYS_ALLOWED
    if suffix == ".safetensors":
        return state.copied(_from_safetensors(file), limit)
    return state.copied(state.of_object(_from_torch(file, size, limit)), limit)


def _from_safetensors(file: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, mapped where possible."""
    # Opened here too: safe_open says of a file without permission that it is missing.
    with open(file, "rb") as stream:
        try:
            if not _is_mappable(file):
                return safetensors.torch.load(stream.read())
            with safetensors.safe_open(file, "pt") as opened:
                return {name: opened.get_tensor(name) for name in opened.keys()}
        except safetensors.SafetensorError as error:
            raise Refused(
                f"it is no intact safetensors file ({first_line(str(error))}): copy or "
                "save it again."
            ) from error


def _from_torch(file: str, size: int, limit: int) -> object:
    """What ``torch.save`` was given, mapped where possible, else in memory."""
    with open(file, "rb") as stream:
        head = stream.read(2 + len(_LEGACY))
        mapped = False
        if head.startswith(_ZIP):
            mapped = _check_archive(stream, limit) and _is_mappable(file)
        elif head[2:] == _LEGACY:
            pickles.check(stream, _LEGACY_PICKLES)
        else:
            raise Refused(
                "it is no file that torch.save wrote: pass a state_dict saved with "
                "torch.save or safetensors."
            )
        stream.seek(0)
        try:
            return torch.load(
                file if mapped else stream,
                map_location="cpu",
                weights_only=True,
                mmap=mapped,
            )
        except pickle.UnpicklingError as error:
            wanted = re.search(r"GLOBAL (\S+)", str(error))
            if wanted:
                raise pickles.wants_more(wanted[1]) from error
            raise Refused(
                "its pickle is damaged or holds more than weights "
                f"({_what_torch_says(error)}): save model.state_dict() alone."
            ) from error


def _check_archive(stream: IO[bytes], limit: int) -> bool:
    """Refuse a zip file that is no checkpoint or a bomb; True if nothing is packed."""
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        root = entries[0].filename.split("/")[0] if entries else ""
        at = {entry.filename.casefold(): entry for entry in entries}
        if len(at) < len(entries):
            raise Refused("its archive holds two entries of one name: save it again.")
        if f"{root}/constants.pkl".casefold() in at:
            raise Refused(
                "it is a TorchScript program, not a state_dict: save "
                "module.state_dict() with torch.save."
            )
        if f"{root}/data.pkl".casefold() not in at:
            raise Refused("it is an archive that torch.save did not write.")
        if sum(entry.file_size for entry in entries) > limit:
            raise Refused(
                f"its archive claims to unpack to over {limit:,} bytes, more than a "
                "file of this size holds: save it again with torch.save."
            )
        data = at[f"{root}/data.pkl".casefold()]
        data.CRC = None  # torch can be told to write no checksums
        pickles.check(io.BytesIO(archive.read(data)), 1)
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _what_torch_says(error: Exception) -> str:
    """The paragraph that says what was wrong; around it torch puts advice."""
    said = [p for p in str(error).split("\n\n") if not p.startswith("Check the doc")]
    return first_line(said[-1] if said else "no reason given")


def _is_mappable(file: str) -> bool:
    """Whether the libraries take this path; they want valid unicode."""
    try:
        file.encode()
    except UnicodeEncodeError:
        return False
    return True
