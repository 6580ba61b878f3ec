"""A2, one image at a time: two stages of convolution, pooling and LeakyReLU.

What makes it short: max-pooling after conv1 reads only 36 of its 49 positions,
as 9 windows of 4; conv2's windows meet the 3 x 3 pooled map in 2 x 2 valid taps
each; only the window that won passes a gradient back; and conv1's 16 channels fill
one or two vector registers, so every inner loop runs over channels. Weights are
kept channels-last, see :data:`ORDER`.

Pooled positions and taps are numbered along the rows, 0 to 8. conv2's window whose
first position is p = 0, 1, 3 or 4 meets position p + u with tap 4 - p + u, for the
same u = 0, 1, 3, 4.
"""

from __future__ import annotations

import numpy as np

from nwslib.kernels._common import inline, jit, output_gradient, score, update

N_WEIGHTS = 1376
_SLOPE = np.float32(0.01)  # negative slope of torch's leaky_relu
# Unsigned, because numba counts negative indices from the end: then consecutive
# rows would have no known distance, and their loop no vector form.
_0, _1, _3, _4 = np.uintp(0), np.uintp(1), np.uintp(3), np.uintp(4)


def _channels_last() -> np.ndarray:
    """Where each weight of the kernel's order stands in A2's layout, [1376]."""
    index = np.arange(N_WEIGHTS)
    conv1 = index[:144].reshape(16, 9).T  # [tap, out]
    conv2 = index[144:1296].reshape(8, 16, 9).transpose(0, 2, 1)  # [out, tap, in]
    return np.concatenate([conv1.ravel(), conv2.ravel(), index[1296:]])


#: Where each weight of the kernel's order stands in A2's layout, [1376].
ORDER = _channels_last()


@inline
def _load(pixels, n, gain, shift, image):
    """Pixels [n, 196] to image [15, 16]; row and column 0 stay zero: the padding."""
    for row in range(14):
        for col in range(14):
            image[row + 1, col + 1] = pixels[n, row * 14 + col] * gain + shift


@inline
def _forward(image, w1, w2, w3, hidden, won1, code, won2, out):
    """One image through A2.

    hidden [9, 16] and won1 [9, 16] are conv1's pooled activations and which of
    the four in the window won; code [8] conv2's, and won2 [8] the first position
    of the window that won; out [10, 1].
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
        # the four windows side by side, all channels at once
        z0 = z1 = z2 = z3 = np.float32(0)
        for c in range(16):
            h0, h1, h2 = hidden[0, c], hidden[1, c], hidden[2, c]
            h3, h4, h5 = hidden[3, c], hidden[4, c], hidden[5, c]
            h6, h7, h8 = hidden[6, c], hidden[7, c], hidden[8, c]
            t0, t1, t2 = w2[d, 0, c], w2[d, 1, c], w2[d, 2, c]
            t3, t4, t5 = w2[d, 3, c], w2[d, 4, c], w2[d, 5, c]
            t6, t7, t8 = w2[d, 6, c], w2[d, 7, c], w2[d, 8, c]
            z0 += (h0 * t4 + h1 * t5) + (h3 * t7 + h4 * t8)
            z1 += (h1 * t3 + h2 * t4) + (h4 * t6 + h5 * t7)
            z2 += (h3 * t1 + h4 * t2) + (h6 * t4 + h7 * t5)
            z3 += (h4 * t0 + h5 * t1) + (h7 * t3 + h8 * t4)
        best, won2[d] = z0, _0
        if not (z1 <= best):
            best, won2[d] = z1, _1
        if not (z2 <= best):
            best, won2[d] = z2, _3
        if not (z3 <= best):
            best, won2[d] = z3, _4
        code[d] = best if best > 0 else best * _SLOPE
    for i in range(10):
        total = np.float32(0)
        for d in range(8):
            total += w3[i, d] * code[d]
        out[i, 0] = total


@inline
def _backward(
    image, w2, w3, hidden, won1, code, won2, dout, dcode, dhidden, g1, g2, g3
):
    """Add one image's gradient, given dout = d objective / d output [10, 1]."""
    dcode[:] = 0
    for i in range(10):
        for d in range(8):
            g3[i, d] += dout[i, 0] * code[d]
            dcode[d] += dout[i, 0] * w3[i, d]
    dhidden[:] = 0
    for d in range(8):
        e = dcode[d] if code[d] > 0 else dcode[d] * _SLOPE
        p = won2[d]
        t = _4 - p
        for c in range(16):
            g2[d, t, c] += e * hidden[p, c]
            g2[d, t + _1, c] += e * hidden[p + _1, c]
            g2[d, t + _3, c] += e * hidden[p + _3, c]
            g2[d, t + _4, c] += e * hidden[p + _4, c]
        for c in range(16):
            dhidden[p, c] += e * w2[d, t, c]
            dhidden[p + _1, c] += e * w2[d, t + _1, c]
            dhidden[p + _3, c] += e * w2[d, t + _3, c]
            dhidden[p + _4, c] += e * w2[d, t + _4, c]
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


@jit
def train(weights, first, second, pixels, labels, gain, shift, order, batch, scale,
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
    code, dcode = np.empty(8, np.float32), np.empty(8, np.float32)
    won2 = np.empty(8, np.uintp)
    out, dout = np.empty((10, 1), np.float32), np.empty((10, 1), np.float32)
    # views are made outside the loop over steps: each costs as much as a layer
    flat_g1, flat_g2, flat_g3 = g1.ravel(), g2.ravel(), g3.ravel()
    for k in range(weights.shape[0]):
        # copies: contiguous and in first-level cache through the whole epoch
        w, m, v = weights[k].copy(), first[k].copy(), second[k].copy()
        flat_w1, flat_w2, flat_w3 = w[:144], w[144:1296], w[1296:]
        w1, w2 = flat_w1.reshape(9, 16), flat_w2.reshape(8, 9, 16)
        w3 = flat_w3.reshape(10, 8)
        m1, m2, m3 = m[:144], m[144:1296], m[1296:]
        v1, v2, v3 = v[:144], v[144:1296], v[1296:]
        coefficients, total = hyper[k], sums[k]
        for s in range(order.shape[1] // batch):
            g1[:], g2[:], g3[:] = 0, 0, 0
            for b in range(batch):
                n = order[k, s * batch + b]
                _load(pixels, n, gain, shift, image)
                _forward(image, w1, w2, w3, hidden, won1, code, won2, out)
                score(out, 0, labels[n], total)
                output_gradient(out, 0, labels[n], scale, dout)
                _backward(image, w2, w3, hidden, won1, code, won2, dout, dcode,
                          dhidden, g1, g2, g3)  # fmt: skip
            t = step0 + s + 1
            update(flat_w1, flat_g1, m1, v1, adam[k], coefficients, t)
            update(flat_w2, flat_g2, m2, v2, adam[k], coefficients, t)
            update(flat_w3, flat_g3, m3, v3, adam[k], coefficients, t)
        weights[k], first[k], second[k] = w, m, v


@jit
def evaluate(weights, pixels, labels, gain, shift, sums):
    """Summed squared error and hits of each model over all images: sums [models, 2]."""
    image = np.zeros((15, 16), np.float32)
    hidden = np.empty((9, 16), np.float32)
    won1 = np.empty((9, 16), np.int32)
    code = np.empty(8, np.float32)
    won2 = np.empty(8, np.uintp)
    out = np.empty((10, 1), np.float32)
    for k in range(weights.shape[0]):
        w, total = weights[k].copy(), sums[k]
        w1 = w[:144].reshape(9, 16)
        w2, w3 = w[144:1296].reshape(8, 9, 16), w[1296:].reshape(10, 8)
        for n in range(pixels.shape[0]):
            _load(pixels, n, gain, shift, image)
            _forward(image, w1, w2, w3, hidden, won1, code, won2, out)
            score(out, 0, labels[n], total)


@jit
def input_gradient(weights, pixels, labels, gain, shift, gradient):
    """Slope of each image's squared error in its pixels, for each model its images.

    pixels [models, N, 196] float32; labels [models, N]; gradient [models, N, 196]
    receives the result.
    """
    image = np.zeros((15, 16), np.float32)
    dimage = np.empty((15, 16), np.float32)
    hidden = np.empty((9, 16), np.float32)
    dhidden = np.empty((9, 16), np.float32)
    won1 = np.empty((9, 16), np.int32)
    code = np.empty(8, np.float32)
    won2 = np.empty(8, np.uintp)
    out, dout = np.empty((10, 1), np.float32), np.empty((10, 1), np.float32)
    for k in range(weights.shape[0]):
        w = weights[k].copy()
        w1 = w[:144].reshape(9, 16)
        w2, w3 = w[144:1296].reshape(8, 9, 16), w[1296:].reshape(10, 8)
        for n in range(pixels.shape[1]):
            _load(pixels[k], n, gain, shift, image)
            _forward(image, w1, w2, w3, hidden, won1, code, won2, out)
            output_gradient(out, 0, labels[k, n], np.float32(1), dout)
            dhidden[:] = 0
            for d in range(8):
                e = np.float32(0)
                for i in range(10):
                    e += dout[i, 0] * w3[i, d]
                e = e if code[d] > 0 else e * _SLOPE
                p = won2[d]
                t = _4 - p
                for c in range(16):
                    dhidden[p, c] += e * w2[d, t, c]
                    dhidden[p + _1, c] += e * w2[d, t + _1, c]
                    dhidden[p + _3, c] += e * w2[d, t + _3, c]
                    dhidden[p + _4, c] += e * w2[d, t + _4, c]
            dimage[:] = 0
            for p in range(9):
                row, col = 4 * (p // 3), 4 * (p % 3)
                for c in range(16):
                    e = dhidden[p, c] if hidden[p, c] > 0 else dhidden[p, c] * _SLOPE
                    q = won1[p, c]
                    i, j = row + 2 * (q // 2), col + 2 * (q % 2)
                    for t in range(9):
                        dimage[i + t // 3, j + t % 3] += e * w1[t, c]
            for row in range(14):
                for col in range(14):
                    gradient[k, n, row * 14 + col] = gain * dimage[row + 1, col + 1]
