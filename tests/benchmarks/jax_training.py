"""The peer ``jax-vmap``: A1 and A2 trained by jax, as fast as we could make it.

``jax.vmap`` turns one model's step into the stack's, ``lax.scan`` carries it through
all batches inside one compiled call, with donated buffers and batches gathered
inside the scan. As its documentation advises on CPUs with several cores, jax is
given one device a core, and each device a share of the models. A2's convolutions
are sums of matrix products, because what ``vmap`` makes of ``lax.conv`` takes several
times as long. Ours also counts losses and hits; here that is left out.

Import this before anything else uses jax: it sets the number of devices.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from nwslib.recipe import Recipe

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", os.cpu_count())


def _a1(weights: list[Array], x: Array) -> Array:
    """A1 on [batch, 196]; weight matrices are [in, out]."""
    fc1, fc2, fc3 = weights
    return jax.nn.sigmoid(jax.nn.sigmoid(x @ fc1) @ fc2) @ fc3  # [batch, 10]


def _a2(weights: list[Array], x: Array) -> Array:
    """A2 on [batch, 196]; kernels are [tap, in, out]."""
    conv1, conv2, fc = weights
    x = x.reshape(-1, 14, 14, 1)
    x = _conv(x, conv1, 6)  # only what is pooled: [batch, 6, 6, 16]
    x = jax.nn.leaky_relu(x.reshape(-1, 3, 2, 3, 2, 16).max((2, 4)))
    x = jax.nn.leaky_relu(_conv(x, conv2, 2).max((1, 2)))  # [batch, 8]
    return x @ fc  # [batch, 10]


def _conv(x: Array, kernel: Array, size: int) -> Array:
    """3 x 3 convolution, stride 2, padding 1, up to ``size`` in both directions.

    x [batch, height, width, in], kernel [9, in, out] to [batch, size, size, out].
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    end = 2 * size - 1
    taps = [x[:, i : i + end : 2, j : j + end : 2] for i in range(3) for j in range(3)]
    if x.shape[-1] == 1:  # one product of all taps
        return jnp.concatenate(taps, -1) @ kernel[:, 0]
    return sum(tap @ kernel[t] for t, tap in enumerate(taps))


#: Net -> its forward, and its tensors' shapes as torch has them.
_NETS: dict[str, tuple[Callable, list[tuple[int, ...]]]] = {
    "A1": (_a1, [(10, 196), (10, 10), (10, 10)]),
    "A2": (_a2, [(16, 1, 9), (8, 16, 9), (10, 8)]),
}


class JaxStack:
    """Many A1 or A2 nets in training by SGD on the mean squared error.

    Parameters
    ----------
    net : {"A1", "A2"}
    weights : ndarray, shape [models, weights]
        Initial weights in the order of the net's layout.
    recipe : Recipe
        Of all models.
    gain, shift : float
        Network input is ``pixel * gain + shift``.
    batch_size : int
    """

    def __init__(
        self,
        net: str,
        weights: np.ndarray,
        recipe: Recipe,
        gain: float,
        shift: float,
        batch_size: int,
    ) -> None:
        forward, self._shapes = _NETS[net]
        self._batch_size = batch_size
        devices = jax.devices()
        count = max(n for n in range(1, len(devices) + 1) if len(weights) % n == 0)
        self._mesh = Mesh(np.array(devices[:count]), ("models",))
        tensors = self._put(self._split(weights), P("models"))
        self._state = tensors, jax.tree.map(jnp.zeros_like, tensors)

        def objective(tensors, images, targets):
            return jnp.square(forward(tensors, images) - targets).mean()

        def step(tensors, momenta, index, images, labels):
            batch = images[index].astype(jnp.float32) * gain + shift
            targets = jax.nn.one_hot(labels[index], 10)
            gradients = jax.grad(objective)(tensors, batch, targets)
            momenta = [
                recipe.momentum * m + g + recipe.weight_decay * w
                for w, m, g in zip(tensors, momenta, gradients, strict=True)
            ]
            moved = zip(tensors, momenta, strict=True)
            return [w - recipe.lr * m for w, m in moved], momenta

        models_step = jax.vmap(step, (0, 0, 0, None, None))

        def train(tensors, momenta, order, images, labels):
            def scanned(state, index):
                return models_step(*state, index, images, labels), None

            return lax.scan(scanned, (tensors, momenta), order)[0]

        model = P("models")
        sharded = jax.shard_map(
            train,
            mesh=self._mesh,
            in_specs=(model, model, P(None, "models"), P(), P()),
            out_specs=(model, model),
        )
        self._train = jax.jit(sharded, donate_argnums=(0, 1))

    @property
    def weights(self) -> np.ndarray:
        """Current weights in the order of the net's layout, [models, weights]."""
        tensors = [np.moveaxis(np.asarray(t), -1, 1) for t in self._state[0]]
        if len(self._shapes[0]) == 3:  # kernels [models, out, tap, in]
            tensors[:2] = [t.swapaxes(2, 3) for t in tensors[:2]]
        return np.concatenate([t.reshape(len(t), -1) for t in tensors], axis=1)

    def place(
        self, images: np.ndarray, labels: np.ndarray, order: np.ndarray
    ) -> tuple[Array, Array, Array]:
        """Lay data where the devices want it; not part of what is timed.

        images [N, 196] uint8, labels [N], order [models, steps * batch].
        """
        order = order.reshape(len(order), -1, self._batch_size).swapaxes(0, 1)
        return (
            self._put(order, P(None, "models")),  # [steps, models, batch]
            self._put(images, P()),
            self._put(labels.astype(np.int32), P()),
        )

    def train(self, order: Array, images: Array, labels: Array) -> None:
        """One pass over the placed order; returns when it is done."""
        self._state = jax.block_until_ready(
            self._train(*self._state, order, images, labels)
        )

    def _split(self, weights: np.ndarray) -> list[np.ndarray]:
        """[models, weights] as this module's tensors, a list."""
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        tensors = []
        for flat, shape in zip(np.split(weights, ends, 1), self._shapes, strict=True):
            tensor = flat.reshape(-1, *shape)  # [models, out, ...]
            if len(shape) == 3:
                tensor = tensor.swapaxes(2, 3)  # [models, out, tap, in]
            tensors.append(np.moveaxis(tensor, 1, -1))
        return tensors

    def _put(self, tree, spec: P):
        put = partial(jax.device_put, device=NamedSharding(self._mesh, spec))
        return jax.tree.map(put, tree)
