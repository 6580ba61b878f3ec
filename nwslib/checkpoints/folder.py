"""A folder of checkpoints: which there are, and the weights of one."""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nwslib.checkpoints import formats, shards, state
from nwslib.checkpoints.refusal import Refused, UnreadableCheckpoint, quoted, why

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Rejected:
    """A file that looks like a checkpoint and is not used.

    Attributes
    ----------
    path : str
        Relative to the folder, posix.
    reason : str
        What is wrong with it and what to do, without the path.
    """

    path: str
    reason: str


def find(folder: str | Path) -> tuple[list[str], list[Rejected]]:
    """List what looks like a checkpoint, at any depth.

    A file is told by its suffix: ``.pt``, ``.pth``, ``.bin``, ``.ckpt`` or
    ``.safetensors``. A sharded checkpoint in the Hugging Face manner is one
    checkpoint, named by its index (``*.safetensors.index.json`` or
    ``*.bin.index.json``); its shards are not listed. What several symbolic links
    lead to is listed once, by its own name if that has one of these suffixes. Links
    to folders are not followed: what lies in ``folder`` is listed anyway.

    Parameters
    ----------
    folder : path

    Returns
    -------
    paths : list of str
        Sorted; relative to ``folder``, posix, fit for JSON. :func:`read` takes them.
    rejected : list of Rejected
        Sorted by path: links out of the folder or to nothing, pipes, sockets and
        devices, folders that cannot be listed, damaged indices and their shards.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    NotADirectoryError
        If it is a file.
    """
    if not os.path.exists(folder):
        raise FileNotFoundError(
            f"no folder {folder}: pass the folder that holds the checkpoints."
        )
    if not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{folder} is not a folder: pass the folder that holds the checkpoints."
        )
    root = os.path.realpath(folder)
    reasons: dict[str, str] = {}  # path -> why it is rejected
    files: dict[str, str] = {}  # path -> the file that it is or links to
    for path, is_link in _walk(root, reasons):
        named = _is_named_like_a_checkpoint(path)
        if named or is_link:
            try:
                file = _inside(root, path)
                if named:
                    files[path] = _regular(file)
            except (Refused, OSError) as error:
                if named or os.path.isdir(os.path.join(root, path)):
                    reasons[path] = why(error)

    parts: dict[str, list[str]] = {}  # path of an index -> its shards' files
    for path in filter(shards.is_index, files):
        names: list[str] = []
        try:
            names = sorted(set(shards.weight_map(files[path], path).values()))
            parts[path] = [_shard(root, name) for name in names]
        except Exception as error:  # a foreign file: anything can be wrong with it
            reasons[path] = why(error)
            for name in names:
                if name in files:
                    reasons[name] = (
                        f"it is a shard of {quoted(path)}, which is refused."
                    )
    hidden = {file for whole in parts.values() for file in whole}

    # Own names before links, so that a file found by both is listed by its own.
    listed: dict[tuple[str, ...], str] = {}
    for path in sorted(files, key=lambda path: (_is_link(root, path), path)):
        if path not in reasons and files[path] not in hidden:
            listed.setdefault((files[path], *parts.get(path, ())), path)
    return (
        sorted(map(_encode, listed.values())),
        [Rejected(*row) for row in sorted((_encode(p), reasons[p]) for p in reasons)],
    )


def read(folder: str | Path, path: str) -> dict[str, Tensor]:
    """Read the weights of one checkpoint.

    Of a file that holds more than a ``state_dict``, the ``state_dict`` is taken:
    what lies under a customary key (``state_dict``, ``model``, ...), else the
    mapping that holds most weights; an optimizer's state is none. A prefix
    ``module.`` or ``_orig_mod.`` that all names share (``DataParallel``,
    ``torch.compile``) is taken off. Entries that are no tensors are left out. Tied
    weights stay under all their names, and share memory here too.

    Parameters
    ----------
    folder : path
        The folder given to :func:`find`.
    path : str
        One of its paths.

    Returns
    -------
    dict of str to Tensor
        Sorted by name, since formats differ in the order that they keep; on the CPU
        wherever they were saved, contiguous, dense and real; copies that no longer
        depend on the file. Types are kept, also float16, bfloat16, float8 and
        integers; a quantised tensor becomes float32. At least one is
        floating-point, and all of those are finite.

    Raises
    ------
    UnreadableCheckpoint
        For whatever is wrong with the file or its place, and nothing else.
    """
    try:
        root, name = os.path.realpath(folder), _decode(path)
        with warnings.catch_warnings():  # a foreign file's, not the caller's concern
            warnings.simplefilter("ignore")
            file = _regular(_inside(root, name))
            if shards.is_index(name):
                tensors = shards.merge(
                    shards.weight_map(file, name),
                    lambda shard: formats.tensors(
                        _regular(_inside(root, shard)), _suffix(shard)
                    ),
                )
            else:
                tensors = formats.tensors(file, _suffix(name))
            return state.of_net(tensors)
    except Exception as error:  # a foreign file: anything can be wrong with it
        raise UnreadableCheckpoint(path, why(error)) from error


def _walk(root: str, reasons: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """Paths of all that is no folder below ``root``, and whether each is a link."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    else:
                        yield path, entry.is_symlink()
        except OSError as error:
            reasons[folder or "."] = why(error)


def _inside(root: str, path: str) -> str:
    """The file that ``path`` is or links to; Refused if that is not in ``root``."""
    file = os.path.realpath(os.path.join(root, path), strict=True)
    if os.path.commonpath([root, file]) != root:
        raise Refused(
            "it lies outside the folder or is a link that leads there: copy the file "
            "itself into the folder."
        )
    return file


def _regular(file: str) -> str:
    """``file`` itself; Refused, before it is opened, if it is none."""
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe, socket or device"
        raise Refused(f"it is a {kind}, not a file: pass a file.")
    return file


def _shard(root: str, path: str) -> str:
    """The file of a shard; Refused, in the name of the whole, if there is none."""
    try:
        return _regular(_inside(root, path))
    except (Refused, OSError) as error:
        raise shards.blamed(path, error) from error


def _is_link(root: str, path: str) -> bool:
    return os.path.islink(os.path.join(root, path))


def _is_named_like_a_checkpoint(path: str) -> bool:
    return _suffix(path) in _SUFFIXES or shards.is_index(path)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _encode(path: str) -> str:
    r"""A path fit for JSON; undecodable bytes become ``\udcNN``, one to one."""
    return path.replace("\\", r"\\").encode(errors="backslashreplace").decode()


def _decode(path: str) -> str:
    """The inverse of :func:`_encode`."""
    return re.sub(
        r"\\(?:u([0-9a-f]{4})|\\)",
        lambda escape: chr(int(escape[1], 16)) if escape[1] else "\\",
        path,
    )
