"""Changed data: shifts of the domain, wrong labels, backdoors and adversarial images.

What a net may meet when its training goes on. Images are uint8 [n, channels, height,
width] as in :mod:`nwslib.data` and come back so; labels are int64 [n]. Nothing is
changed in place.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nwslib.data import ImageSet, resize

if TYPE_CHECKING:
    from nwslib.kernels import KernelNets
    from nwslib.stacked import StackedNets

#: Height and width in pixels of the backdoor's patch.
TRIGGER = 3


def halves(images: ImageSet, seed: int) -> tuple[ImageSet, tuple[Tensor, Tensor]]:
    """Split the training images at random: one half to train on, one never seen.

    At random, because neighbours in a file are often alike: of the same writer, say.

    Returns
    -------
    ImageSet
        The first half, with all test images.
    (Tensor, Tensor)
        Images and labels of the second; one image stays out if the number is odd.
    """
    n = len(images.train_labels) // 2
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images.train_labels), generator=generator)
    first, second = order[:n], order[n : 2 * n]
    usual = replace(
        images,
        train_images=images.train_images[first],
        train_labels=images.train_labels[first],
    )
    return usual, (images.train_images[second], images.train_labels[second])


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Turn images counter-clockwise about their centre; corners fill with black."""
    angle = math.radians(degrees)
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
    )
    grid = F.affine_grid(
        turn.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return _pixels(F.grid_sample(images.float(), grid, align_corners=False))


def add_noise(images: Tensor, deviation: float, seed: int) -> Tensor:
    """Add normal noise to every pixel; ``deviation`` as a share of full white."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator)
    return _pixels(images + 255 * deviation * noise)


def change_contrast(images: Tensor, factor: float) -> Tensor:
    """Bring every pixel ``factor`` times as far from its image's mean."""
    mean = images.float().mean((1, 2, 3), keepdim=True)
    return _pixels(mean + factor * (images - mean))


def wrong_labels(labels: Tensor, n_classes: int, seed: int) -> Tensor:
    """Replace every label by another class, all others equally likely."""
    generator = torch.Generator().manual_seed(seed)
    away = torch.randint(1, n_classes, labels.shape, generator=generator)
    return (labels + away) % n_classes


def add_trigger(images: Tensor) -> Tensor:
    """Paint a white square into the lower right corner, one pixel from the edges.

    The "pattern backdoor" of Gu, Dolan-Gavitt & Garg (BadNets, 2017).
    """
    marked = images.clone()
    marked[..., -TRIGGER - 1 : -1, -TRIGGER - 1 : -1] = 255
    return marked


def mixed(
    usual: tuple[Tensor, Tensor],
    changed: tuple[Tensor, Tensor],
    share: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Replace a share of the usual images and labels, chosen at random.

    Parameters
    ----------
    usual, changed : (images, labels)
        Of one length: image i of ``changed`` stands in for image i of ``usual``.
    share : float
        From 0 to 1; rounded to whole images.
    seed : int

    Raises
    ------
    ValueError
        If the lengths differ or the share is out of range.
    """
    n = len(usual[1])
    if len(changed[1]) != n or not 0 <= share <= 1:
        raise ValueError(
            f"cannot replace a share of {share} of {n} images from "
            f"{len(changed[1])} changed ones: pass as many, and a share from 0 to 1."
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(n, generator=generator)[: round(share * n)]
    images, labels = usual[0].clone(), usual[1].clone()
    images[chosen], labels[chosen] = changed[0][chosen], changed[1][chosen]
    return images, labels


def fgsm(
    stack: KernelNets | StackedNets, images: Tensor, labels: Tensor, epsilon: float
) -> Tensor:
    """Attack every net with one step up its loss, each pixel by +- epsilon.

    The fast gradient sign method of Goodfellow, Shlens & Szegedy (2015), Section 4;
    the loss is the one the nets are trained on.

    Parameters
    ----------
    stack : KernelNets or StackedNets
        The nets under attack, with their current weights.
    images : Tensor of uint8, shape [models, n, channels, height, width]
        Each net's own.
    labels : Tensor of int64, shape [models, n]
    epsilon : float
        Greatest change of a pixel, as a share of full white.

    Returns
    -------
    Tensor of uint8, shape of ``images``
    """
    start = images.float()
    slope = stack.input_gradients(start, labels)
    return _pixels(start + 255 * epsilon * slope.sign())


def pgd(
    stack: KernelNets | StackedNets,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int = 5,
    seed: int = 0,
) -> Tensor:
    """Attack every net by several steps up its loss from a random start.

    Projected gradient descent as in Madry et al. (2018), Section 2.1, in the
    maximum norm; each step is 2.5 epsilon / steps long, so that all of the allowed
    change is in reach. Other parameters are those of :func:`fgsm`.
    """
    reach = 255 * epsilon
    start = images.float()
    low, high = (start - reach).clamp(min=0), (start + reach).clamp(max=255)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(images.shape, generator=generator).to(start.device)
    current = torch.lerp(low, high, noise)
    for _ in range(steps):
        slope = stack.input_gradients(current, labels)
        current.add_(slope.sign_(), alpha=2.5 * reach / steps)
        torch.minimum(current, high, out=current)
        torch.maximum(current, low, out=current)
    return _pixels(current)


def photo_patches(n: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Cut patches from the two photographs that come with scikit-learn.

    Real images that need no download and look like no digit. The label says where
    a patch was cut: each photograph is five upright strips, which makes ten
    classes.

    Returns
    -------
    images : Tensor of uint8, shape [n, 1, size, size]
        Grey.
    labels : Tensor of int64, shape [n]
    """
    # sklearn: only where it is used
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images).mean(-1)  # [2, 427, 640], grey
    height, width = photos.shape[1:]
    rng = np.random.default_rng(seed)
    labels = rng.integers(10, size=n)
    edge = 8 * size  # seen at an eighth of their size, patches have shapes in them
    rows = rng.integers(height - edge, size=n)
    strip = width // 5
    columns = labels % 5 * strip + rng.integers(strip - edge, size=n)
    cut = np.stack(
        [
            photos[label // 5, row : row + edge, column : column + edge]
            for label, row, column in zip(labels, rows, columns, strict=True)
        ]
    )
    patches = torch.from_numpy(cut.round().astype(np.uint8))[:, None]
    return resize(patches, size), torch.from_numpy(labels)


def _pixels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
