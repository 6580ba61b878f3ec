"""A1, four images at a time: 196-10-10-10 with sigmoids.

Weights are kept in torch's own order. Between the layers an array is [unit, image],
so that a unit's four images lie side by side in a vector register.
"""

from __future__ import annotations

import numpy as np

from nwslib.kernels._common import inline, jit, output_gradient, score, update

N_WEIGHTS = 2160
#: Where each weight of the kernel's order stands in A1's layout, [2160].
ORDER = np.arange(N_WEIGHTS)

_LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, the first with few digits: n times it is exact
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)


@jit
def _sigmoid(z, bits, out):
    """1 / (1 + exp(-z)), elementwise on flat arrays; ``bits`` is int32 scratch.

    In place of the C library's exp, which takes one number at a time: 2^n times
    a polynomial on [-ln 2 / 2, ln 2 / 2], as in the Cephes library's expf.
    """
    for i in range(z.size):
        x = -z[i]
        # "not >" lets a NaN through
        x = x if not x > np.float32(88) else np.float32(88)
        x = x if not x < np.float32(-87) else np.float32(-87)
        n = np.floor(x * _LOG2_E + np.float32(0.5))
        r = x - n * _LN2_HIGH - n * _LN2_LOW
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        out[i] = p * r * r + r + np.float32(1)
        exponent = np.int32(n if n == n else np.float32(0)) + np.int32(127)
        bits[i] = exponent << np.int32(23)  # 2^n as a float32's bits
    power = bits.view(np.float32)
    for i in range(z.size):
        out[i] = np.float32(1) / (np.float32(1) + out[i] * power[i])


@inline
def _load(pixels, n, b, gain, shift, x):
    """Image n [196] into row b of x [4, 196]."""
    for i in range(196):
        x[b, i] = pixels[n, i] * gain + shift


@inline
def _first_layer(w, x, z):
    """From w [10, 196], x [4, 196] to z [10, 4]."""
    for j in range(10):
        z0 = z1 = z2 = z3 = np.float32(0)
        for i in range(196):
            z0 += w[j, i] * x[0, i]
            z1 += w[j, i] * x[1, i]
            z2 += w[j, i] * x[2, i]
            z3 += w[j, i] * x[3, i]
        z[j, 0], z[j, 1], z[j, 2], z[j, 3] = z0, z1, z2, z3


@inline
def _dense(w, a, z):
    """From w [10, 10], a [10, 4] to z [10, 4]."""
    for j in range(10):
        for b in range(4):
            total = w[j, 0] * a[0, b]
            for i in range(1, 10):
                total += w[j, i] * a[i, b]
            z[j, b] = total


@inline
def _dense_input_gradient(w, dz, a, da):
    """Through w [10, 10] and the sigmoid that made a [10, 4]: dz to da, [10, 4]."""
    for i in range(10):
        for b in range(4):
            total = w[0, i] * dz[0, b]
            for j in range(1, 10):
                total += w[j, i] * dz[j, b]
            da[i, b] = total * a[i, b] * (np.float32(1) - a[i, b])


@inline
def _dense_weight_gradient(dz, a, g):
    """Add dz [10, 4] times a [10, 4], transposed, to g [10, 10]."""
    for j in range(10):
        for i in range(10):
            g[j, i] += (dz[j, 0] * a[i, 0] + dz[j, 1] * a[i, 1]) + (
                dz[j, 2] * a[i, 2] + dz[j, 3] * a[i, 3]
            )


@inline
def _first_weight_gradient(dz, x, g):
    """Add dz [10, 4] times x [4, 196] to g [10, 196]."""
    for j in range(10):
        d0, d1, d2, d3 = dz[j, 0], dz[j, 1], dz[j, 2], dz[j, 3]
        for i in range(196):
            g[j, i] += (d0 * x[0, i] + d1 * x[1, i]) + (d2 * x[2, i] + d3 * x[3, i])


@jit
def train(weights, first, second, pixels, labels, gain, shift, order, batch, scale,
          adam, hyper, step0, sums):  # fmt: skip
    """Carry each model through its batches; arrays are changed in place.

    weights, first, second [models, 2160]; pixels [N, 196] uint8; labels [N]; order
    [models, steps * batch]; adam [models]; hyper [models, 8] in float64: lr,
    momentum, gain, l2, shrink, beta2, gain2, eps; sums [models, 2] receives the
    summed squared error and the number of hits, seen before each step.
    """
    x = np.zeros((4, 196), np.float32)
    z, bits = np.empty((10, 4), np.float32), np.empty(40, np.int32)
    a1, a2 = np.empty((10, 4), np.float32), np.empty((10, 4), np.float32)
    dz1, dz2 = np.empty((10, 4), np.float32), np.empty((10, 4), np.float32)
    dz3 = np.empty((10, 4), np.float32)
    # arrays of their own, not views of one: the compiler then knows that a store
    # to one leaves the others alone
    g1, g2 = np.empty((10, 196), np.float32), np.empty((10, 10), np.float32)
    g3 = np.empty((10, 10), np.float32)
    # views are made outside the loop over steps: each costs as much as a layer
    flat_z, flat_a1, flat_a2 = z.ravel(), a1.ravel(), a2.ravel()
    flat_g1, flat_g2, flat_g3 = g1.ravel(), g2.ravel(), g3.ravel()
    for k in range(weights.shape[0]):
        # copies: contiguous and in first-level cache through the whole epoch
        w, m, v = weights[k].copy(), first[k].copy(), second[k].copy()
        flat_w1, flat_w2, flat_w3 = w[:1960], w[1960:2060], w[2060:]
        w1, w2 = flat_w1.reshape(10, 196), flat_w2.reshape(10, 10)
        w3 = flat_w3.reshape(10, 10)
        m1, m2, m3 = m[:1960], m[1960:2060], m[2060:]
        v1, v2, v3 = v[:1960], v[1960:2060], v[2060:]
        coefficients, total = hyper[k], sums[k]
        for s in range(order.shape[1] // batch):
            g1[:], g2[:], g3[:] = 0, 0, 0
            for start in range(0, batch, 4):
                present = min(4, batch - start)
                for b in range(present):
                    _load(pixels, order[k, s * batch + start + b], b, gain, shift, x)
                _first_layer(w1, x, z)
                _sigmoid(flat_z, bits, flat_a1)
                _dense(w2, a1, z)
                _sigmoid(flat_z, bits, flat_a2)
                _dense(w3, a2, z)
                dz3[:] = 0  # places without an image have no gradient
                for b in range(present):
                    label = labels[order[k, s * batch + start + b]]
                    score(z, b, label, total)
                    output_gradient(z, b, label, scale, dz3)
                _dense_input_gradient(w3, dz3, a2, dz2)
                _dense_input_gradient(w2, dz2, a1, dz1)
                _dense_weight_gradient(dz3, a2, g3)
                _dense_weight_gradient(dz2, a1, g2)
                _first_weight_gradient(dz1, x, g1)
            t = step0 + s + 1
            update(flat_w1, flat_g1, m1, v1, adam[k], coefficients, t)
            update(flat_w2, flat_g2, m2, v2, adam[k], coefficients, t)
            update(flat_w3, flat_g3, m3, v3, adam[k], coefficients, t)
        weights[k], first[k], second[k] = w, m, v


@jit
def evaluate(weights, pixels, labels, gain, shift, sums):
    """Summed squared error and hits of each model over all images: sums [models, 2]."""
    x = np.zeros((4, 196), np.float32)
    z, bits = np.empty((10, 4), np.float32), np.empty(40, np.int32)
    a = np.empty((10, 4), np.float32)
    flat_z, flat_a = z.ravel(), a.ravel()
    for k in range(weights.shape[0]):
        w, total = weights[k].copy(), sums[k]
        w1, w2 = w[:1960].reshape(10, 196), w[1960:2060].reshape(10, 10)
        w3 = w[2060:].reshape(10, 10)
        for start in range(0, len(pixels), 4):
            present = min(4, len(pixels) - start)
            for b in range(present):
                _load(pixels, start + b, b, gain, shift, x)
            _first_layer(w1, x, z)
            _sigmoid(flat_z, bits, flat_a)
            _dense(w2, a, z)
            _sigmoid(flat_z, bits, flat_a)
            _dense(w3, a, z)
            for b in range(present):
                score(z, b, labels[start + b], total)


@jit
def input_gradient(weights, pixels, labels, gain, shift, gradient):
    """Slope of each image's squared error in its pixels, for each model its images.

    pixels [models, N, 196] float32; labels [models, N]; gradient [models, N, 196]
    receives the result.
    """
    x = np.zeros((4, 196), np.float32)
    z, bits = np.empty((10, 4), np.float32), np.empty(40, np.int32)
    a1, a2 = np.empty((10, 4), np.float32), np.empty((10, 4), np.float32)
    dz1, dz2 = np.empty((10, 4), np.float32), np.empty((10, 4), np.float32)
    dz3 = np.empty((10, 4), np.float32)
    flat_z, flat_a1, flat_a2 = z.ravel(), a1.ravel(), a2.ravel()
    for k in range(weights.shape[0]):
        w = weights[k].copy()
        w1, w2 = w[:1960].reshape(10, 196), w[1960:2060].reshape(10, 10)
        w3 = w[2060:].reshape(10, 10)
        for start in range(0, pixels.shape[1], 4):
            present = min(4, pixels.shape[1] - start)
            for b in range(present):
                _load(pixels[k], start + b, b, gain, shift, x)
            _first_layer(w1, x, z)
            _sigmoid(flat_z, bits, flat_a1)
            _dense(w2, a1, z)
            _sigmoid(flat_z, bits, flat_a2)
            _dense(w3, a2, z)
            dz3[:] = 0
            for b in range(present):
                output_gradient(z, b, labels[k, start + b], np.float32(1), dz3)
            _dense_input_gradient(w3, dz3, a2, dz2)
            _dense_input_gradient(w2, dz2, a1, dz1)
            for b in range(present):
                for i in range(196):
                    total = np.float32(0)
                    for j in range(10):
                        total += dz1[j, b] * w1[j, i]
                    gradient[k, start + b, i] = gain * total
