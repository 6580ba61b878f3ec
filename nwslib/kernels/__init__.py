"""Compiled CPU kernels that train A1 and A2, one model at a time in nearest cache.

The general path of :mod:`nwslib.stacked` runs any module under ``vmap``. These two
nets are so small that a library call costs more than its arithmetic, so on the CPU
the kernels take over: same mathematics, same order of batches, each thread carrying
one model, its momentum and its gradient through a whole epoch before it takes the
next. ``tests/test_kernels.py`` holds them to the general path.

One thing differs from it: subnormal numbers, below 1.2e-38, count as zero. A net
that collapses is made of them, and a processor takes dozens of times as long over
one as over a number of ordinary size.

A kernel is a module with three functions, ``train``, ``evaluate`` and
``input_gradient``, and ``ORDER``: where each of its weights stands in the net's layout.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from nwslib.kernels import a1, a2

#: Kernel by name of the net in :data:`nwslib.nets.NETS`.
KERNELS: dict[str, ModuleType] = {"A1": a1, "A2": a2}

N_CLASSES = 10


class KernelNets:
    """Many nets in training by a kernel: the CPU twin of ``stacked.StackedNets``.

    Parameters
    ----------
    kernel : module
        A value of :data:`KERNELS`.
    weights : Tensor, shape [models, weights]
        Initial weights in the order of the net's layout.
    hyper : Tensor of float64, shape [models, 8]
        Learning rate, momentum, gain, L2, shrinkage, beta2, 1 - beta2 and eps.
    adam : Tensor of bool, shape [models]
        Which models divide by the second moment.
    gain, shift : float
        Network input is ``pixel * gain + shift``.
    batch_size : int
    scale : float
        The objective is ``scale`` times the sum over the batch of each sample's
        mean squared error, as in :class:`nwslib.recipe.Loss`.
    """

    def __init__(
        self,
        kernel: ModuleType,
        weights: Tensor,
        hyper: Tensor,
        adam: Tensor,
        gain: float,
        shift: float,
        batch_size: int,
        scale: float,
    ) -> None:
        self._kernel = kernel
        self._weights = weights.numpy()[:, kernel.ORDER].copy()
        self._first = np.zeros_like(self._weights)
        self._second = np.zeros_like(self._weights)
        self._hyper, self._adam = hyper.numpy(), adam.numpy()
        self._input = (np.float32(gain), np.float32(shift))
        self._batch_size = batch_size
        # inside, squared errors are summed over classes
        self._scale = np.float32(scale / N_CLASSES)

    @property
    def weights(self) -> Tensor:
        """Current weights in the order of the net's layout, [models, weights]."""
        return self._in_layout_order(self._weights)

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, first and second moment, [models, weights] each: copies."""
        return tuple(
            self._in_layout_order(mine)
            for mine in (self._weights, self._first, self._second)
        )

    def load(self, state: tuple[Tensor, Tensor, Tensor]) -> None:
        """Go on from a ``state`` of either engine: same net, same number of models."""
        for mine, given in zip(
            (self._weights, self._first, self._second), state, strict=True
        ):
            mine[:] = given.numpy()[:, self._kernel.ORDER]

    def train(
        self, images: Tensor, labels: Tensor, order: Tensor, step0: int
    ) -> Tensor:
        """One pass over ``order`` [models, steps * batch]; sums [models, 2].

        The sums are each model's summed per-sample loss and number of hits.
        """
        pixels, labels, order = _arrays(images, labels, order)

        def work(part: slice, sums: np.ndarray) -> None:
            self._kernel.train(
                self._weights[part], self._first[part], self._second[part],
                pixels, labels, *self._input, order[part], self._batch_size,
                self._scale, self._adam[part], self._hyper[part], step0, sums,
            )  # fmt: skip

        return self._parallel(work)

    def evaluate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Summed per-sample loss and number of hits of each model, [models, 2]."""
        pixels, labels = _arrays(images, labels)

        def work(part: slice, sums: np.ndarray) -> None:
            self._kernel.evaluate(
                self._weights[part], pixels, labels, *self._input, sums
            )

        return self._parallel(work)

    def input_gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Slope of each image's per-sample loss in its pixels.

        ``images`` [models, n, channels, height, width] in float32, on the scale of
        pixels, and ``labels`` [models, n] are each model's own.
        """
        pixels = images.flatten(2).numpy()  # [models, n, 196]
        labels, gradient = labels.numpy(), np.empty_like(pixels)

        def work(part: slice, sums: np.ndarray) -> None:
            self._kernel.input_gradient(
                self._weights[part], pixels[part], labels[part], *self._input,
                gradient[part],
            )  # fmt: skip

        self._parallel(work)
        gradient /= N_CLASSES
        return torch.from_numpy(gradient).reshape(images.shape)

    def _in_layout_order(self, mine: np.ndarray) -> Tensor:
        theirs = np.empty_like(mine)
        theirs[:, self._kernel.ORDER] = mine
        return torch.from_numpy(theirs)

    def _parallel(self, work: Callable[[slice, np.ndarray], None]) -> Tensor:
        """Run ``work`` on blocks of models in threads (the kernels free the GIL).

        Several blocks a thread, so that none waits long for a slower one.
        """
        sums = np.zeros((len(self._weights), 2))
        threads = torch.get_num_threads()
        edges = np.linspace(0, len(sums), 8 * threads + 1).astype(int)
        parts = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
        # of these threads only: the caller's numbers are not ours to change
        flush = {"initializer": torch.set_flush_denormal, "initargs": (True,)}
        with ThreadPoolExecutor(threads, **flush) as pool:
            list(pool.map(lambda part: work(part, sums[part]), parts))
        sums[:, 0] /= N_CLASSES
        return torch.from_numpy(sums)


def _arrays(images: Tensor, *tensors: Tensor) -> list[np.ndarray]:
    return [images.flatten(1).numpy(), *(tensor.numpy() for tensor in tensors)]
