"""A compiled CPU kernel that trains A2, one model at a time in first-level cache.

The general path of :mod:`nwslib.stacked` runs any module under ``vmap``. A2's
convolutions are so small that a library call costs more than its arithmetic, so
on the CPU this kernel takes over: same mathematics, same order of batches, each
thread carrying one model through a whole epoch. ``tests/test_kernels.py`` holds it
to the general path.

What makes it short: max-pooling after conv1 reads only 36 of its 49 positions,
as 9 windows of 4; conv2's windows meet the 3 x 3 pooled map in 2 x 2 valid taps
each; and conv1's 16 channels fill one vector register, so every inner loop runs
over channels. Weights are kept channels-last, see :data:`_ORDER`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from torch import Tensor

N_WEIGHTS = 1376
N_CLASSES = 10
_SLOPE = np.float32(0.01)  # negative slope of torch's leaky_relu

# Reordering the last bits of a sum is fine; assuming away NaN and infinity is
# not, because a diverged model must stay visibly diverged.
_FAST = {"reassoc", "contract", "arcp", "nsz"}
_jit = njit(fastmath=_FAST, nogil=True, cache=True, error_model="numpy")
_inline = njit(fastmath=_FAST, inline="always", error_model="numpy")


def _channels_last() -> np.ndarray:
    """Where each weight of the kernel's order stands in A2's layout, [1376]."""
    index = np.arange(N_WEIGHTS)
    conv1 = index[:144].reshape(16, 9).T  # [tap, out]
    conv2 = index[144:1296].reshape(8, 16, 9).transpose(0, 2, 1)  # [out, tap, in]
    return np.concatenate([conv1.ravel(), conv2.ravel(), index[1296:]])


_ORDER = _channels_last()


@_inline
def _load(pixels, gain, shift, image):
    """Pixels [196] to image [15, 16]; row and column 0 stay zero: the padding."""
    for row in range(14):
        for col in range(14):
            image[row + 1, col + 1] = pixels[row * 14 + col] * gain + shift


@_inline
def _forward(image, w1, w2, w3, hidden, won1, dot, code, won2, out):
    """One image through A2.

    hidden [9, 16] and won1 [9, 16] are conv1's pooled activations and the
    window position that won; code [8] and won2 [8] the same for conv2; out [10].
    """
    for p in range(9):
        row, col = 4 * (p // 3), 4 * (p % 3)
        for c in range(16):
            best, winner = np.float32(-np.inf), np.int32(0)
            for q in range(4):
                total = np.float32(0)
                for t in range(9):
                    total += (
                        w1[t, c]
                        * image[row + 2 * (q // 2) + t // 3, col + 2 * (q % 2) + t % 3]
                    )
                # "not <=" lets a NaN win, as torch's max_pool2d does
                if not (total <= best):
                    best, winner = total, np.int32(q)
            won1[p, c] = winner
            hidden[p, c] = best if best > 0 else best * _SLOPE
    for d in range(8):
        best, winner = np.float32(-np.inf), 0
        for q in range(4):
            p, t = 3 * (q // 2) + q % 2, 3 * (1 - q // 2) + 1 - q % 2
            for c in range(16):  # the four valid taps, all channels at once
                dot[c] = (
                    hidden[p, c] * w2[d, t, c]
                    + hidden[p + 1, c] * w2[d, t + 1, c]
                    + hidden[p + 3, c] * w2[d, t + 3, c]
                    + hidden[p + 4, c] * w2[d, t + 4, c]
                )
            for c in range(8):
                dot[c] += dot[c + 8]
            for c in range(4):
                dot[c] += dot[c + 4]
            total = (dot[0] + dot[1]) + (dot[2] + dot[3])
            if not (total <= best):
                best, winner = total, q
        won2[d] = winner
        code[d] = best if best > 0 else best * _SLOPE
    for i in range(10):
        total = np.float32(0)
        for d in range(8):
            total += w3[i, d] * code[d]
        out[i] = total


@_inline
def _backward(image, w2, w3, hidden, won1, code, won2, dout, dhidden, g1, g2, g3):
    """Add one image's gradient, given dout = d objective / d output [10]."""
    dhidden[:] = 0
    for i in range(10):
        for d in range(8):
            g3[i, d] += dout[i] * code[d]
    for d in range(8):
        dcode = np.float32(0)
        for i in range(10):
            dcode += dout[i] * w3[i, d]
        if code[d] <= 0:
            dcode *= _SLOPE
        q = won2[d]
        p, t = 3 * (q // 2) + q % 2, 3 * (1 - q // 2) + 1 - q % 2
        for u in (0, 1, 3, 4):
            for c in range(16):
                g2[d, t + u, c] += dcode * hidden[p + u, c]
                dhidden[p + u, c] += dcode * w2[d, t + u, c]
    for p in range(9):
        row, col = 4 * (p // 3), 4 * (p % 3)
        for c in range(16):
            dwin = dhidden[p, c] if hidden[p, c] > 0 else dhidden[p, c] * _SLOPE
            d0 = dwin if won1[p, c] == 0 else np.float32(0)
            d1 = dwin if won1[p, c] == 1 else np.float32(0)
            d2 = dwin if won1[p, c] == 2 else np.float32(0)
            d3 = dwin if won1[p, c] == 3 else np.float32(0)
            for t in range(9):
                i, j = row + t // 3, col + t % 3
                g1[t, c] += (
                    d0 * image[i, j]
                    + d1 * image[i, j + 2]
                    + d2 * image[i + 2, j]
                    + d3 * image[i + 2, j + 2]
                )


@_jit
def _update(w, g, m, v, adam, hyper, t):
    """Optimizer step number t on flat arrays; same formula as ``stacked._update``."""
    lr, momentum, gain, l2, shrink, beta2, gain2, eps = (
        np.float32(hyper[0]), np.float32(hyper[1]), np.float32(hyper[2]),
        np.float32(hyper[3]), np.float32(hyper[4]), np.float32(hyper[5]),
        np.float32(hyper[6]), np.float32(hyper[7]),
    )  # fmt: skip
    if adam:
        fix1 = np.float32(1 - hyper[1] ** t)
        fix2 = np.float32(1 - hyper[5] ** t)
        for i in range(w.size):
            grad = g[i] + l2 * w[i]
            m[i] = momentum * m[i] + gain * grad
            v[i] = beta2 * v[i] + gain2 * grad * grad
            move = (m[i] / fix1) / (np.sqrt(v[i] / fix2) + eps)
            w[i] = shrink * w[i] - lr * move
    else:
        for i in range(w.size):
            m[i] = momentum * m[i] + gain * (g[i] + l2 * w[i])
            w[i] = w[i] - lr * m[i]


@_jit
def _train(weights, first, second, pixels, labels, gain, shift, order, batch, scale,
           adam, hyper, step0, sums):  # fmt: skip
    """Carry each model through its batches; arrays are changed in place.

    weights, first, second [models, 1376] in kernel order; pixels [N, 196] uint8;
    labels [N]; order [models, steps * batch]; adam [models]; hyper [models, 8] in
    float64: lr, momentum, gain, l2, shrink, beta2, gain2, eps; sums [models, 2]
    receives the summed squared error and the number of hits, seen before each step.
    """
    # three arrays, not views of one: the compiler then knows that a store to one
    # leaves the others alone, and the step takes half the time
    g1, g2 = np.empty((9, 16), np.float32), np.empty((8, 9, 16), np.float32)
    g3 = np.empty((10, 8), np.float32)
    image = np.zeros((15, 16), np.float32)
    hidden = np.empty((9, 16), np.float32)
    dhidden = np.empty((9, 16), np.float32)
    won1 = np.empty((9, 16), np.int32)
    dot = np.empty(16, np.float32)
    code = np.empty(8, np.float32)
    won2 = np.empty(8, np.int32)
    out = np.empty(10, np.float32)
    for k in range(weights.shape[0]):
        # copies: contiguous and in first-level cache through the whole epoch
        w, m, v = weights[k].copy(), first[k].copy(), second[k].copy()
        w1 = w[:144].reshape(9, 16)
        w2, w3 = w[144:1296].reshape(8, 9, 16), w[1296:].reshape(10, 8)
        for s in range(order.shape[1] // batch):
            g1[:], g2[:], g3[:] = 0, 0, 0
            for b in range(batch):
                n = order[k, s * batch + b]
                _load(pixels[n], gain, shift, image)
                _forward(image, w1, w2, w3, hidden, won1, dot, code, won2, out)
                sums[k, 1] += np.argmax(out) == labels[n]
                for i in range(10):
                    miss = out[i] - np.float32(i == labels[n])
                    sums[k, 0] += miss * miss
                    out[i] = np.float32(2) * scale * miss
                _backward(
                    image, w2, w3, hidden, won1, code, won2, out, dhidden, g1, g2, g3
                )
            t = step0 + s + 1
            _update(w[:144], g1.ravel(), m[:144], v[:144], adam[k], hyper[k], t)
            _update(
                w[144:1296], g2.ravel(), m[144:1296], v[144:1296], adam[k], hyper[k], t
            )
            _update(w[1296:], g3.ravel(), m[1296:], v[1296:], adam[k], hyper[k], t)
        weights[k], first[k], second[k] = w, m, v


@_jit
def _evaluate(weights, pixels, labels, gain, shift, sums):
    """Summed squared error and hits of each model over all images: sums [models, 2]."""
    image = np.zeros((15, 16), np.float32)
    hidden = np.empty((9, 16), np.float32)
    won1 = np.empty((9, 16), np.int32)
    dot = np.empty(16, np.float32)
    code = np.empty(8, np.float32)
    won2 = np.empty(8, np.int32)
    out = np.empty(10, np.float32)
    for k in range(weights.shape[0]):
        w = weights[k].copy()
        w1 = w[:144].reshape(9, 16)
        w2, w3 = w[144:1296].reshape(8, 9, 16), w[1296:].reshape(10, 8)
        for n in range(pixels.shape[0]):
            _load(pixels[n], gain, shift, image)
            _forward(image, w1, w2, w3, hidden, won1, dot, code, won2, out)
            sums[k, 1] += np.argmax(out) == labels[n]
            for i in range(10):
                miss = out[i] - np.float32(i == labels[n])
                sums[k, 0] += miss * miss


class A2Kernel:
    """Many A2 nets in training: the CPU twin of ``stacked.StackedNets``.

    Parameters
    ----------
    weights : Tensor, shape [models, 1376]
        Initial weights in the order of A2's layout.
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
        weights: Tensor,
        hyper: Tensor,
        adam: Tensor,
        gain: float,
        shift: float,
        batch_size: int,
        scale: float,
    ) -> None:
        self._weights = weights.numpy()[:, _ORDER].copy()
        self._first = np.zeros_like(self._weights)
        self._second = np.zeros_like(self._weights)
        self._hyper, self._adam = hyper.numpy(), adam.numpy()
        self._input = (np.float32(gain), np.float32(shift))
        self._batch_size = batch_size
        # inside, squared errors are summed over classes
        self._scale = np.float32(scale / N_CLASSES)

    @property
    def weights(self) -> Tensor:
        """Current weights in the order of A2's layout, [models, 1376]."""
        weights = np.empty_like(self._weights)
        weights[:, _ORDER] = self._weights
        return torch.from_numpy(weights)

    def train(
        self, images: Tensor, labels: Tensor, order: Tensor, step0: int
    ) -> Tensor:
        """One pass over ``order`` [models, steps * batch]; sums [models, 2].

        The sums are each model's summed per-sample loss and number of hits.
        """
        pixels, labels, order = _arrays(images, labels, order)

        def work(part: slice, sums: np.ndarray) -> None:
            _train(
                self._weights[part], self._first[part], self._second[part],
                pixels, labels, *self._input, order[part], self._batch_size,
                self._scale, self._adam[part], self._hyper[part], step0, sums,
            )  # fmt: skip

        return self._parallel(work)

    def evaluate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Summed per-sample loss and number of hits of each model, [models, 2]."""
        pixels, labels = _arrays(images, labels)

        def work(part: slice, sums: np.ndarray) -> None:
            _evaluate(self._weights[part], pixels, labels, *self._input, sums)

        return self._parallel(work)

    def _parallel(self, work) -> Tensor:
        """Run ``work`` on one block of models a thread (the kernels free the GIL)."""
        sums = np.zeros((len(self._weights), 2))
        edges = np.linspace(0, len(sums), torch.get_num_threads() + 1).astype(int)
        parts = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: work(part, sums[part]), parts))
        sums[:, 0] /= N_CLASSES
        return torch.from_numpy(sums)


def _arrays(images: Tensor, *tensors: Tensor) -> list[np.ndarray]:
    return [images.flatten(1).numpy(), *(tensor.numpy() for tensor in tensors)]
