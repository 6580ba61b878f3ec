"""Figures of clusters and the order of epochs (chapter 04)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from scipy.cluster import hierarchy

from nwslib.clustering import cut, purity
from nwslib.plots.style import (
    DARK,
    GREY,
    MANY,
    MEASURES,
    PALETTE,
    WIDTH,
    check_lengths,
    net_colours,
    panels,
    title_of,
)

#: Looks of the first, second and third source of numbers.
_SOURCE_STYLES = (
    {"color": DARK, "ls": "--", "marker": "D", "mfc": "white", "ms": 4.5},
    {"color": PALETTE[1], "marker": "o", "ms": 4.5},
    {"color": PALETTE[0], "marker": "s", "ms": 4},
)


def dendrogram(
    Z: ArrayLike, nets: ArrayLike, epochs: ArrayLike, shown: int = 5, title: str = ""
) -> Figure:
    """Draw the merges of a few nets and of one in detail, Fig. 6-9 (chapter 04).

    The whole zoo is clustered and cut into as many clusters as there are nets;
    drawn are the merges among the snapshots of the first nets. A branch has its
    net's colour when all of it lies in one cluster and that net is the cluster's
    most frequent one; other branches are grey.

    Parameters
    ----------
    Z : array_like, shape [n - 1, 4]
        Single-linkage merges of all snapshots.
    nets, epochs : array_like, shape [n]
        Net and epoch of each snapshot.
    shown : int
        Nets in the upper panel; the first of them fills the lower one.
    title : str
        What is clustered.

    Raises
    ------
    ValueError
        If the lengths differ, or the first net has fewer than two snapshots.
    """
    Z, nets, epochs = np.asarray(Z), np.asarray(nets), np.asarray(epochs)
    check_lengths(title or "dendrogram", points=range(len(Z) + 1), nets=nets,
                  epochs=epochs)  # fmt: skip
    names = np.unique(nets)
    picked = names[:shown]
    if np.count_nonzero(nets == picked[0]) < 2:
        raise ValueError(
            f"net {picked[0]} has one snapshot, which merges with none of its own: "
            "keep at least two epochs."
        )
    labels = cut(Z, len(names))
    right = purity(labels, nets).net[labels] == nets  # [n] in its net's cluster?
    cluster = np.where(right, labels, -1)
    colour_of = dict(zip(names, net_colours(len(names)), strict=True))
    fig, (above, below) = plt.subplots(
        2, figsize=(WIDTH, 4.8), height_ratios=[1.3, 1], layout="constrained"
    )
    for ax, chosen in ((above, np.isin(nets, picked)), (below, nets == picked[0])):
        colours = [colour_of[net] for net in nets[chosen]]
        leaves = _draw_tree(ax, _restrict(Z, chosen), cluster[chosen], colours)
        ax.set(ylabel="distance", ylim=(0, None), xticks=[])
        ax.grid(False, axis="x")
    every = math.ceil(len(leaves) / 56)  # labels of 9 points fit so often
    below.set_xticks(
        5 + 10 * np.arange(len(leaves))[::every],
        epochs[nets == picked[0]][leaves][::every],
        rotation=90,
    )
    below.tick_params(axis="x", length=0)
    below.set(title=f"net {picked[0]} in detail", xlabel="epoch of the snapshot")
    above.set_title(f"{title}: {len(picked)} of {len(names)} nets".lstrip(": "))
    keys = [(f"net {net}", colour_of[net]) for net in picked]
    fig.legend(
        handles=[
            Line2D([], [], color=colour, lw=2, label=label)
            for label, colour in [*keys, ("mixed or misplaced", GREY)]
        ],
        loc="outside lower center",
        ncols=6,
        handlelength=1.2,
        columnspacing=1.4,
    )
    return fig


def _restrict(Z: NDArray, kept: NDArray) -> NDArray:
    """Merges among some points: the tree of all with the other leaves taken out.

    ``kept`` is a mask, shape [n]; the result numbers the kept points from 0.
    """
    n, m = len(kept), int(kept.sum())
    node = np.full(2 * n - 1, -1)  # node of the new tree, -1 where nothing is kept
    node[:n][kept] = np.arange(m)
    sizes, rows = [1] * m, []
    for t, (a, b, height, _) in enumerate(Z):
        i, j = sorted((node[int(a)], node[int(b)]))
        if i < 0:
            node[n + t] = j
            continue
        node[n + t] = len(sizes)
        sizes.append(sizes[i] + sizes[j])
        rows.append((i, j, height, sizes[-1]))
    return np.array(rows, dtype=float).reshape(-1, 4)


def _draw_tree(
    ax: Axes, Z: NDArray, cluster: NDArray, colours: Sequence[str]
) -> NDArray:
    """Draw a tree and return its leaves from left to right.

    ``cluster`` and ``colours`` belong to the leaves; cluster -1 is drawn grey.
    """
    m = len(cluster)
    owner, colour = list(cluster), list(colours)  # of leaves, then of merges
    for a, b in Z[:, :2].astype(int):
        same = owner[a] == owner[b] and owner[a] >= 0
        owner.append(owner[a] if same else -1)
        colour.append(colour[a] if same else GREY)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * m)  # scipy recurses; these trees are chains
    try:
        tree = hierarchy.dendrogram(Z, no_plot=True, link_color_func=colour.__getitem__)
    finally:
        sys.setrecursionlimit(limit)
    corners = np.stack([tree["icoord"], tree["dcoord"]], axis=-1)  # [m - 1, 4, 2]
    ax.add_collection(
        LineCollection(
            corners, colors=tree["color_list"], linewidths=1.2 if m < 100 else 0.7,
            rasterized=m > MANY, capstyle="projecting",
        )
    )  # fmt: skip
    ax.set(xlim=(0, 10 * m), ylim=(0, 1.05 * Z[:, 2].max() or 1))
    return np.array(tree["leaves"])


def order_scores(
    scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]],
) -> Figure:
    """Compare Tables 2 and 3 with runs, a row for each zoo (chapter 04).

    Parameters
    ----------
    scores : mapping
        zoo -> source ("paper", "recorded", "this run") -> space -> measure
        (``purity``, ``ordered_initial``, ``ordered_pairs``) -> value. Sources may
        be empty or lack spaces; spaces come in the order of the first source.

    Raises
    ------
    ValueError
        If there are no zoos.
    """
    fig, axes = panels(scores, by="zoo", height=2.1, columns=len(MEASURES),
                        sharex=True)  # fmt: skip
    sources = dict.fromkeys(s for zoo in scores.values() for s in zoo)
    styles = dict(zip(sources, _SOURCE_STYLES, strict=False))
    spaces = list(dict.fromkeys(
        space for zoo in scores.values() for rows in zoo.values() for space in rows
    ))  # fmt: skip
    keys = {}
    for (zoo, by_source), row in zip(scores.items(), axes, strict=True):
        for (measure, label), ax in zip(MEASURES.items(), row, strict=True):
            for source, rows in by_source.items():
                if not rows:
                    continue
                values = [rows.get(s, {}).get(measure, math.nan) for s in spaces]
                (keys[source],) = ax.plot(
                    range(len(spaces)), values, label=source, **styles[source]
                )
            ax.set_ylim(0, None if measure == "ordered_initial" else 1.05)
            ax.set_xticks(range(len(spaces)), spaces, rotation=90)
            ax.set_title(label, fontsize=9)
        row[0].set_ylabel(title_of(zoo))
    fig.legend(
        handles=keys.values(), loc="outside lower center", ncols=len(_SOURCE_STYLES)
    )
    return fig
