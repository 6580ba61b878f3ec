"""One stack of weight vectors, one step for all: the general training engine.

``torch.func`` turns a single net's gradient into the stack's. The optimizer then
works on the rows of a [models, weights] matrix with a coefficient a row, which is
why everything about it may differ from model to model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from nwslib.flatten import Layout
from nwslib.recipe import Loss, Recipe


class StackedNets:
    """Many nets of one architecture in training, any module, any device.

    Parameters
    ----------
    module : Module
        The architecture; only its forward is used. It must not keep running
        statistics.
    layout : Layout
    weights : Tensor, shape [models, weights]
        Initial weights.
    hyper, adam : Tensor, shapes [models, 8] and [models]
        See :func:`hyper_parameters`.
    gain, shift : Tensor, shapes [channels, 1, 1]
        Network input is ``pixel * gain + shift``.
    batch_size : int
    loss : Loss
    compile : bool
        Use ``torch.compile``; falls back to eager, in one line, where it cannot.
    """

    def __init__(
        self,
        module: nn.Module,
        layout: Layout,
        weights: Tensor,
        hyper: Tensor,
        adam: Tensor,
        gain: Tensor,
        shift: Tensor,
        batch_size: int,
        loss: Loss,
        compile: bool,
    ) -> None:
        self.weights = weights
        self._first, self._second = torch.zeros_like(weights), torch.zeros_like(weights)
        self._hyper, self._adam = hyper, adam
        self._batch_size = batch_size
        self._any_adam = any_adam = bool(adam.any())
        # [models, 1] columns, so that they broadcast over weights
        columns = tuple(hyper.float().unsqueeze(-1).unbind(1))

        def objective(vector: Tensor, images: Tensor, labels: Tensor):
            """One net, one batch: objective and (summed loss, hits)."""
            images = images * gain + shift  # [batch, channels, height, width]
            outputs = functional_call(module, layout.unflatten(vector), (images,))
            classes = outputs.shape[-1]
            targets = labels[:, None] == torch.arange(classes, device=labels.device)
            total = loss.per_sample(outputs, targets.to(outputs.dtype)).sum()
            hits = (outputs.argmax(-1) == labels).sum()
            return loss.scale(len(labels), classes) * total, (total, hits)

        def step(weights, first, second, sums, images, labels, index, fixes):
            batch = images[index].float()  # [models, batch, channels, height, width]
            gradient, (total, hits) = vmap(grad(objective, has_aux=True))(
                weights, batch, labels[index]
            )
            weights, first, second = _update(
                weights, gradient, first, second, columns, fixes,
                adam[:, None] if any_adam else None,
            )  # fmt: skip
            return weights, first, second, sums + torch.stack([total, hits], -1)

        def scores(weights, images, labels):
            total, hits = vmap(
                lambda vector: objective(vector, images.float(), labels)[1]
            )(weights)
            return torch.stack([total, hits], -1)  # [models, 2]

        self._step = _compiled(step) if compile else step
        self._scores = scores

    @torch.no_grad()
    def train(
        self, images: Tensor, labels: Tensor, order: Tensor, step0: int
    ) -> Tensor:
        """One pass over ``order`` [models, steps * batch]; sums [models, 2].

        The sums are each model's summed per-sample loss and number of hits.
        """
        models, device = len(self.weights), self.weights.device
        order = order.to(device).reshape(models, -1, self._batch_size)
        order = order.transpose(0, 1).contiguous()  # [steps, models, batch]
        # float32 counts hits exactly up to 2^24 samples an epoch
        sums = torch.zeros(models, 2, device=device)
        state = (self.weights, self._first, self._second, sums)
        fixes = self._bias_corrections(step0, len(order))
        for index, fix in zip(order, fixes, strict=True):
            state = self._step(*state, images, labels, index, fix)
        self.weights, self._first, self._second, sums = state
        return sums.double().cpu()

    def _bias_corrections(self, step0: int, steps: int) -> Sequence[Tensor | None]:
        """Adam's divisors of both moments, [steps, 2, models, 1]; None without Adam.

        All at once, because small operations in between would cost as much as steps.
        """
        if not self._any_adam:
            return [None] * steps
        numbers = torch.arange(step0 + 1, step0 + steps + 1, device=self._hyper.device)
        decays = self._hyper[:, [1, 5]].T.unsqueeze(-1)  # [2, models, 1]
        return (1 - decays ** numbers[:, None, None, None]).float()

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> Tensor:
        """Summed per-sample loss and number of hits of each model, [models, 2]."""
        sums = torch.zeros(len(self.weights), 2, dtype=torch.float64)
        for x, y in zip(images.split(1000), labels.split(1000), strict=True):
            sums += self._scores(self.weights, x, y).double().cpu()
        return sums


def _update(weights, gradient, first, second, columns, fixes, adam):
    """SGD, Adam and AdamW as one formula with per-model coefficients.

    first = momentum * first + gain * gradient, with gain 1 in SGD and
    1 - momentum in Adam; Adam's rows then move by the bias-corrected first over
    the root of the second moment, both divided by ``fixes`` [2, models, 1].
    ``adam`` [models, 1] says which rows, None that there are none. All else is
    [models, weights] or [models, 1].
    """
    lr, momentum, gain, l2, shrink, beta2, gain2, eps = columns
    gradient = gradient + l2 * weights
    first = momentum * first + gain * gradient
    move = first
    if adam is not None:
        second = beta2 * second + gain2 * gradient.square()
        scaled = (first / fixes[0]) / ((second / fixes[1]).sqrt() + eps)
        move = torch.where(adam, scaled, first)
    return shrink * weights - lr * move, first, second


def hyper_parameters(recipes: Sequence[Recipe]) -> tuple[Tensor, Tensor]:
    """Per-model coefficients of :func:`_update`.

    Returns
    -------
    hyper : Tensor of float64, shape [models, 8]
        lr, momentum, gain, l2, shrink, beta2, gain2 = 1 - beta2, eps.
    adam : Tensor of bool, shape [models]
    """
    rows = [
        (
            r.lr,
            r.momentum,
            1.0 if r.optimizer == "sgd" else 1 - r.momentum,
            0.0 if r.optimizer == "adamw" else r.weight_decay,
            1 - r.lr * r.weight_decay if r.optimizer == "adamw" else 1.0,
            r.beta2,
            1 - r.beta2,  # here, because float32 keeps too few digits of it
            r.eps,
        )
        for r in recipes
    ]
    adam = torch.tensor([r.optimizer != "sgd" for r in recipes])
    return torch.tensor(rows, dtype=torch.float64), adam


def _compiled(step: Callable) -> Callable:
    """``torch.compile`` that turns itself off where it does not work."""
    current = torch.compile(step, dynamic=False, fullgraph=True)

    def run(*args):
        nonlocal current
        if current is step:
            return step(*args)
        try:
            return current(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
            warnings.warn(
                f"torch.compile is not available here ({reason}): training goes on "
                "in eager mode, several times slower.",
                stacklevel=2,
            )
            current = step
            return step(*args)

    return run
