"""Running statistics as the authors' snapshots have them: mostly of test images.

Eilertsen et al., "Classifying the classifier" (2020), find the activation function in
batch norm's running means (Fig. 16). But their released code leaves batch norm in
training mode when it tests a net, so that each test moves the running means and
variances towards the test images' statistics. Ours are of training batches alone.
Tested their way, a net of ours gets theirs, and what that changes can be measured.

Nothing is lost by doing so after training: in training mode no output depends on the
running statistics, so that they never influence a training.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nwslib.nws.architecture import Architecture, Net
from nwslib.nws.images import as_input
from nwslib.nws.plan import Plan
from nwslib.zoo import Zoo


@torch.no_grad()
def after_test(
    vector: NDArray,
    architecture: Architecture,
    activation: str,
    pixels: Tensor,
    batch_size: int,
    passes: int = 1,
) -> NDArray:
    """Test a net with batch norm in training mode and return what became of it.

    Dropout is off, as in any test, and images are as they are, without augmentation.
    After u batches a share of 0.9^u is left of what the running statistics were: one
    pass over few images in large batches changes them little.

    Parameters
    ----------
    vector : ndarray of float32, shape [d]
        The net.
    architecture : Architecture
    activation : str
        A key of :data:`~nwslib.nws.architecture.ACTIVATIONS`.
    pixels : Tensor of uint8, shape [n, 32, 32, 3]
        Test images, from :func:`nwslib.nws.images.prepare`; in their order.
    batch_size : int
        Images that are left over at the end of a pass are left out; of fewer images
        than one batch takes, all make one.
    passes : int
        Over the test images. The authors' snapshots are taken after one, of an epoch,
        but over 8,000 images or more.

    Returns
    -------
    ndarray of float32, shape [d]
        The same net, but for the kinds ``mean`` and ``var``.

    Raises
    ------
    ValueError
        If the vector does not fit the architecture, which must have batch norm, or
        there are too few images or passes.
    """
    if not architecture.batch_norm:
        raise ValueError(
            f"nets of {architecture.name} have no running statistics: pass one with "
            "batch norm."
        )
    batch_size = min(batch_size, len(pixels))
    if batch_size < 2 or passes < 1:
        raise ValueError(
            f"{len(pixels)} test images in batches of {batch_size}, passes {passes}: "
            "batch norm needs two images a batch, and one pass."
        )
    layout, net = architecture.layout, Net(architecture, activation)
    layout.load(torch.tensor(vector), net)
    net.train()
    whole = len(pixels) // batch_size * batch_size
    for _ in range(passes):
        for batch in pixels[:whole].split(batch_size):
            net(as_input(batch))  # no dropout: it is given no masks
    return layout.flatten(net).numpy()


def zoo_after_test(
    zoo: Zoo,
    plan: Plan,
    runs: Sequence[int] | None = None,
    snapshots: Iterable[int] | None = None,
    *,
    passes: int = 1,
    data_dir: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[int, NDArray]]:
    """Test snapshots of a zoo as :func:`after_test` does, one run at a time.

    Each is tested on the test images of its own set, in batches of its own size.

    Parameters
    ----------
    zoo : Zoo
        A sampled one.
    plan : Plan
        What it was sampled with.
    runs : sequence of int, optional
        Ids; all runs by default.
    snapshots : iterable of int, optional
        All by default.
    passes : int
    data_dir : path, optional
        Where image sets are, as :func:`nwslib.data.load` takes it.

    Yields
    ------
    run : int
    vectors : ndarray of float32, shape [snapshots, d]

    Raises
    ------
    FileNotFoundError
        If images are missing.
    ValueError
        If plan or images are not those the zoo was sampled with, or as
        :meth:`~nwslib.zoo.Zoo.weights` and :func:`after_test`.
    """
    images = {source.name: source.load(data_dir) for source in plan.sources}
    if plan.spec(images) != zoo.spec:
        raise ValueError(
            f"zoo {zoo.path} was sampled with another plan or other images: pass the "
            "plan it was sampled with, and the data folder."
        )
    ids = zoo.runs["run"].tolist() if runs is None else list(runs)
    epochs = zoo.snapshots if snapshots is None else list(snapshots)

    def tested() -> Iterator[tuple[int, NDArray]]:
        for run in ids:
            given = plan.run(run)
            arguments = (
                given.architecture, given.activation, images[given.dataset].test_images,
                given.batch_size, passes,
            )  # fmt: skip
            (vectors,) = zoo.weights([run], epochs)  # [snapshots, d]
            yield run, np.stack([after_test(each, *arguments) for each in vectors])

    return tested()
