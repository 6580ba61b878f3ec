"""What must not change over a zoo's life: its nets' layouts, spec, snapshots, dtype.

A zoo of one layout has it in its header. Several are in a file of their own, written
once, for the header is rewritten with every shard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from nwslib.flatten import Layout
from nwslib.zoo import storage

#: Name of the only layout of a zoo that was given it without a name.
UNNAMED = ""

#: Types that weights can be stored in.
DTYPES = ("float32", "float16")


def named(layouts: Layout | Mapping[str, Layout]) -> dict[str, Layout]:
    """Layouts by name; a single one is :data:`UNNAMED`.

    Raises
    ------
    ValueError
        If there is none, or a name is no text.
    """
    if isinstance(layouts, Layout):
        return {UNNAMED: layouts}
    for name in layouts or (None,):
        if not (isinstance(name, str) and name):
            raise ValueError(
                f"layouts {list(layouts)} are not named: give a Layout, or a mapping "
                "from names (text) to Layouts, at least one."
            )
    return dict(layouts)


def describe(
    layouts: dict[str, Layout], spec: dict, snapshots: Sequence[int], dtype: str
) -> tuple[dict, dict[str, bytes]]:
    """Check a zoo's identity and put it into plain JSON values.

    Returns
    -------
    header : dict
        Its part of the header, with the format version.
    files : dict of str to bytes
        Names and contents of the files that belong to it.

    Raises
    ------
    ValueError
        If an argument is not as :meth:`.ZooWriter.create` describes it.
    """
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype '{dtype}': choose one of {list(DTYPES)}.")
    epochs = [int(epoch) for epoch in snapshots]
    if not epochs or epochs != sorted(set(epochs)) or epochs[0] < 0:
        raise ValueError(
            f"snapshots must be increasing epochs from 0 on, got {list(snapshots)}: "
            "sort them and drop repeats."
        )
    try:
        # A round trip, so that a tuple equals the list it is read back as.
        spec = json.loads(json.dumps(spec, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"spec is not plain JSON ({error}): use strings, finite numbers, booleans, "
            "lists and dicts."
        ) from error
    rows = {name: layout.to_json() for name, layout in layouts.items()}
    files, header = {}, {"format_version": 1}
    if len(rows) > 1:
        files[storage.LAYOUTS] = json.dumps(rows).encode()
        header["format_version"] = 2
    else:
        ((name, header["layout"]),) = rows.items()
        if name != UNNAMED:
            header["layout_name"] = name
    return header | {"spec": spec, "snapshots": epochs, "dtype": dtype}, files


def read_layouts(path: Path, header: dict) -> dict[str, Layout]:
    """Layouts of a zoo by name; ValueError if their file is damaged."""
    if storage.LAYOUTS in header["files"]:
        storage.require(path, header, storage.LAYOUTS)
        rows = json.loads((path / storage.LAYOUTS).read_bytes())
    else:
        rows = {header.get("layout_name", UNNAMED): header["layout"]}
    return {name: Layout.from_json(layout) for name, layout in rows.items()}


def difference(
    stored: dict, stored_layouts: dict[str, Layout], given: dict, layouts: dict
) -> str | None:
    """First difference between a zoo and what a writer wants to continue, in words.

    Parameters
    ----------
    stored, given : dict
        The zoo's header and the one of :func:`describe`.
    stored_layouts, layouts : dict of str to Layout
        Theirs.

    Returns
    -------
    str or None
    """
    if found := layouts_difference(stored_layouts, layouts):
        return found
    old, new = (
        {"snapshots": one["snapshots"], "dtype": one["dtype"]}
        | {f"spec['{key}']": value for key, value in one["spec"].items()}
        for one in (stored, given)
    )
    for name in old | new:
        both = name in old and name in new
        if not both or old[name] != new[name]:
            words = (repr(one[name]) if name in one else "absent" for one in (old, new))
            return "{} is {} in the zoo and {} as given".format(name, *words)
    return None


def layouts_difference(
    stored: dict[str, Layout], given: dict[str, Layout]
) -> str | None:
    """First difference between a zoo's layouts and others, in words, or None."""
    for name in stored | given:
        if name not in stored or name not in given:
            places = ("in the zoo", "as given")
            here, there = places if name in stored else places[::-1]
            word = f"layout '{name}'" if name else "a layout without name"
            return f"{word} is {here} and not {there}"
        rows = (one[name].to_json() for one in (stored, given))
        for number, (old, new) in enumerate(zip_longest(*rows)):
            if old != new:
                old, new = (
                    "{name} {shape} {kind} {dtype}".format(**entry)
                    if entry
                    else "absent"
                    for entry in (old, new)
                )
                word = f"layout '{name}'" if name else "layout"
                return f"{word} entry {number} is {old} in the zoo and {new} as given"
    return None
