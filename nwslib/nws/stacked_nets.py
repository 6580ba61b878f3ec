"""Many nets of one shape in training: one forward pass, one optimizer step for all.

``torch.func.vmap`` turns the forward pass of one :class:`~nwslib.nws.architecture.Net`
into that of all, batch norm's running statistics included, which it updates in place.
One formula then moves the rows of the [models, weights] matrix, whatever each row's
optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional as F

from nwslib.nws.architecture import Architecture, Net
from nwslib.nws.hyperparameters import HyperParameters
from nwslib.nws.training import DECAY, make_optimizer
from nwslib.stacked import update_rows


class Forward:
    """The forward pass of one net as that of many.

    Parameters
    ----------
    architecture : Architecture
    activation : str
    device : str or device
    """

    def __init__(
        self, architecture: Architecture, activation: str, device: str | torch.device
    ) -> None:
        self._net = Net(architecture, activation).to(device)
        self._layout = architecture.layout
        self._sizes = [piece.size for piece in self._layout]
        buffers = {name for name, _ in self._net.named_buffers()}
        #: Slices of the running statistics, which the forward pass moves in training.
        self.statistics = [piece for piece in self._layout if piece.name in buffers]

    def tensors(self, weights: Tensor) -> dict[str, Tensor]:
        """The nets' tensors by name, [models, ...]; running statistics are copies."""
        # One split has one gradient, where every slice would have a whole matrix.
        parts = weights.split(self._sizes, dim=1)
        state = {
            piece.name: part.reshape(-1, *piece.shape)
            for piece, part in zip(self._layout, parts, strict=True)
        }
        copies = {p.name: state[p.name].detach().clone() for p in self.statistics}
        return state | copies

    def __call__(
        self,
        state: Mapping[str, Tensor],
        x: Tensor,
        masks: Sequence[Tensor] | None = None,
        *,
        training: bool = False,
    ) -> Tensor:
        """Class scores.

        Parameters
        ----------
        state : mapping of str to Tensor
            See :meth:`tensors`; training updates the running statistics in it.
        x : Tensor, shape [models, batch, 3, 32, 32]
        masks : sequence of Tensor, shapes [models, batch, width], optional
        training : bool
            Normalise by the batch's statistics.

        Returns
        -------
        Tensor, shape [models, batch, 20]
        """
        self._net.train(training)

        def one(state, x, masks):
            return functional_call(self._net, state, (x, masks))

        in_dims = 0, 0, None if masks is None else 0
        return vmap(one, in_dims)(state, x, masks)


@dataclass(frozen=True, eq=False)
class NetStack:
    """Weights and optimizers of many nets, a row each; they change in place.

    Attributes
    ----------
    forward : Forward
    weights, first, second : Tensor, shape [models, weights]
        The latter two are the gradients' moments.
    hyper : Tensor of float64, shape [models, 10]
        See ``_coefficients``.
    steps : Tensor of int64, shape [models, 1]
        How many each row has taken.
    """

    forward: Forward
    weights: Tensor
    first: Tensor
    second: Tensor
    hyper: Tensor
    steps: Tensor

    @classmethod
    def of(cls, given: Sequence[HyperParameters], weights: Tensor) -> NetStack:
        """Nets to be trained from their initial weights, on the weights' device."""
        device = weights.device
        hyper = [_coefficients(each) for each in given]
        return cls(
            Forward(given[0].architecture, given[0].activation, device),
            weights,
            torch.zeros_like(weights),
            torch.zeros_like(weights),
            torch.tensor(hyper, dtype=torch.float64, device=device),
            torch.zeros(len(given), 1, dtype=torch.int64, device=device),
        )

    @property
    def _rows(self) -> tuple[Tensor, ...]:
        return self.weights, self.first, self.second, self.hyper, self.steps

    def take(self, rows: Sequence[int]) -> NetStack:
        """A stack of copies of some rows."""
        return NetStack(self.forward, *(tensor[rows] for tensor in self._rows))

    def put(self, rows: Sequence[int], taken: NetStack) -> None:
        """Give back rows that were taken."""
        for mine, theirs in zip(self._rows, taken._rows, strict=True):
            mine[rows] = theirs

    def decay(self) -> None:
        """Lower all learning rates, as after each epoch."""
        self.hyper[:, 0] *= DECAY

    @torch.no_grad()
    def step(self, x: Tensor, labels: Tensor, masks: Sequence[Tensor]) -> None:
        """One training step of every net, each on its own batch.

        Parameters
        ----------
        x : Tensor, shape [models, batch, 3, 32, 32]
        labels : Tensor of int64, shape [models, batch]
        masks : sequence of Tensor, shapes [models, batch, width]
            See :func:`nwslib.nws.architecture.dropout_masks`.
        """
        leaf = self.weights.detach().requires_grad_()
        with torch.enable_grad():
            state = self.forward.tensors(leaf)
            outputs = self.forward(state, x, masks, training=True)
            # a net's loss depends on its own row alone, so the sum's gradient has all
            loss = cross_entropy(outputs, labels).mean(1).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        for piece in self.forward.statistics:  # their gradient is zero
            self.weights[:, piece.start : piece.stop] = state[piece.name]
        self.steps.add_(1)
        decays = self.hyper[:, 1:6:4] * self.hyper[:, 9:]  # [models, 2]; 0: none
        fixes = (1 - decays**self.steps).T.unsqueeze(-1)  # [2, models, 1]
        dtype = self.weights.dtype
        columns = self.hyper[:, :8].to(dtype).unsqueeze(-1).unbind(1)  # [models, 1]
        update_rows(
            self.weights, gradient, self.first, self.second, columns,
            fixes.to(dtype), self.hyper[:, 8:9] > 0,
        )  # fmt: skip


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Loss of every image: [models, n, 20] and [models, n] to [models, n]."""
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape)


def _coefficients(given: HyperParameters) -> tuple[float, ...]:
    """A row's numbers in the optimizers' common formula.

    The eight of :func:`nwslib.stacked.hyper_parameters`; whether the second moment
    divides the step (Adam and RMSProp); whether both moments' bias is corrected
    (Adam). RMSProp is Adam without momentum and correction.
    """
    group = make_optimizer(given, torch.zeros(1, requires_grad=True)).param_groups[0]
    if given.optimizer == "adam":
        beta1, beta2 = group["betas"]
        others = beta1, 1 - beta1, 0.0, 1.0, beta2, 1 - beta2, group["eps"], 1.0, 1.0
    elif given.optimizer == "rmsprop":
        alpha = group["alpha"]
        others = 0.0, 1.0, 0.0, 1.0, alpha, 1 - alpha, group["eps"], 1.0, 0.0
    else:
        others = group["momentum"], 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0
    return group["lr"], *others
