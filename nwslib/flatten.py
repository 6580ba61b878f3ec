"""A net as one vector: named slices of weight space.

Every chapter treats a trained net as a point. :class:`Layout` is the map
between the two views, ``state_dict`` <-> vector, exact in both directions, and
the table that says which coordinates belong to which layer and which kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: state_dict suffixes of a batch-norm layer -> the kind's usual symbol.
_BATCH_NORM_KINDS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "mean",
    "running_var": "var",
}


@dataclass(frozen=True)
class Slice:
    """One named tensor's place in the weight vector.

    Attributes
    ----------
    name : str
        Key in the ``state_dict``, for example ``"conv1.weight"``.
    start : int
        Index of its first weight in the vector.
    shape : tuple of int
        Shape of the tensor; it is stored in row-major order.
    kind : str
        ``weight``, ``bias``, the batch-norm kinds ``gamma``, ``beta``,
        ``mean``, ``var``, or the last part of the name for anything else.
    dtype : str
        The tensor's own type, for example ``"float32"``.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    kind: str
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def stop(self) -> int:
        """Index after its last weight in the vector."""
        return self.start + self.size

    @property
    def layer(self) -> str:
        """Name of the module that owns the tensor (``""`` for the root)."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Layout:
    """Which coordinate of a weight vector is which weight of a net.

    Build one with :meth:`of`. Integer entries of a ``state_dict`` (batch-norm's
    ``num_batches_tracked``) are counters, not coordinates: they stay out.

    Attributes
    ----------
    slices : tuple of Slice
        One for each floating-point tensor, in ``state_dict`` order, adjacent.
    """

    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, net: nn.Module | Mapping[str, Tensor]) -> Layout:
        """Read the layout of a module or of any ``state_dict``.

        Raises
        ------
        ValueError
            If an entry is no dense real tensor, or nothing is left to flatten.
        """
        state = _state(net)
        slices, start = [], 0
        for name, tensor in state.items():
            if tensor.is_floating_point():
                dtype = str(tensor.dtype).removeprefix("torch.")
                slices.append(
                    Slice(name, start, tuple(tensor.shape), _kind(name, state), dtype)
                )
                start = slices[-1].stop
        if not start:
            raise ValueError(
                "the state_dict holds no floating-point weights: pass a module or "
                "state_dict with parameters."
            )
        return cls(tuple(slices))

    @property
    def size(self) -> int:
        """Number of weights: the dimension of this weight space."""
        return self.slices[-1].stop

    @property
    def dtype(self) -> torch.dtype:
        """Type of the vector: the one that holds every entry exactly."""
        dtype = getattr(torch, self.slices[0].dtype)
        for piece in self.slices[1:]:
            dtype = torch.promote_types(dtype, getattr(torch, piece.dtype))
        return dtype

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of first appearance."""
        return tuple(dict.fromkeys(piece.layer for piece in self.slices))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds in order of first appearance."""
        return tuple(dict.fromkeys(piece.kind for piece in self.slices))

    def __iter__(self) -> Iterator[Slice]:
        return iter(self.slices)

    def flatten(self, net: nn.Module | Mapping[str, Tensor]) -> Tensor:
        """Net to vector.

        Parameters
        ----------
        net : Module or mapping of str to Tensor
            A net of exactly this layout.

        Returns
        -------
        Tensor, shape [size]
            A copy, in :attr:`dtype`.

        Raises
        ------
        ValueError
            If an entry is missing, extra or of another shape.
        """
        return torch.cat([p.reshape(-1).to(self.dtype) for p in self.pieces(net)])

    def pieces(self, net: nn.Module | Mapping[str, Tensor] | Tensor) -> list[Tensor]:
        """Net to its tensors in the order of the slices, without a copy.

        Parameters
        ----------
        net : Module, mapping of str to Tensor, or Tensor of shape [size]
            A net of exactly this layout, or its vector.

        Returns
        -------
        list of Tensor
            A tensor a slice, in its shape, detached: the net's own memory.

        Raises
        ------
        ValueError
            If an entry is missing, extra or of another shape.
        """
        if isinstance(net, Tensor):
            net = self.unflatten(net)
        state = _state(net)
        self._check(state)
        return [state[p.name].detach() for p in self.slices]

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Vector to ``state_dict``; leading dimensions are kept.

        Parameters
        ----------
        vector : Tensor, shape [..., size]
            One weight vector, or any stack of them.

        Returns
        -------
        dict of str to Tensor, shapes ``[..., *shape]``
            Views into ``vector`` where an entry has its type, else copies.

        Raises
        ------
        ValueError
            If the last dimension is not :attr:`size`.
        """
        if vector.shape[-1:] != (self.size,):
            raise ValueError(
                f"vector of shape {list(vector.shape)} does not fit this layout: its "
                f"last dimension must be {self.size}."
            )
        lead = vector.shape[:-1]
        return {
            p.name: vector[..., p.start : p.stop]  # [..., size of p]
            .reshape((*lead, *p.shape))
            .to(getattr(torch, p.dtype))
            for p in self.slices
        }

    def load(self, vector: Tensor, module: nn.Module) -> nn.Module:
        """Write a vector into a module of this layout and return the module."""
        state = module.state_dict()
        self._check(state)
        if vector.dim() != 1:
            raise ValueError(
                f"a module takes one weight vector, got shape {list(vector.shape)}: "
                "pick one row."
            )
        module.load_state_dict(state | self.unflatten(vector))
        return module

    def select(self, *, layer: str | None = None, kind: str | None = None) -> Tensor:
        """Coordinates that belong to a layer, a kind, or both.

        Returns
        -------
        Tensor of int64, shape [number of matching weights]

        Raises
        ------
        ValueError
            If the layer or kind does not occur.
        """
        for given, known, word in (
            (layer, self.layers, "layer"),
            (kind, self.kinds, "kind"),
        ):
            if given is not None and given not in known:
                raise ValueError(
                    f"no {word} '{given}' in this layout: choose one of {list(known)}."
                )
        picked = [
            torch.arange(p.start, p.stop)
            for p in self.slices
            if layer in (None, p.layer) and kind in (None, p.kind)
        ]
        return torch.cat(picked) if picked else torch.empty(0, dtype=torch.int64)

    def to_json(self) -> list[dict]:
        """Plain lists and dicts, for a zoo's header; :meth:`from_json` reads them."""
        return [
            {"name": p.name, "shape": list(p.shape), "kind": p.kind, "dtype": p.dtype}
            for p in self.slices
        ]

    @classmethod
    def from_json(cls, rows: list[dict]) -> Layout:
        """Rebuild a layout written by :meth:`to_json`."""
        slices, start = [], 0
        for row in rows:
            shape = tuple(row["shape"])
            slices.append(Slice(row["name"], start, shape, row["kind"], row["dtype"]))
            start = slices[-1].stop
        return cls(tuple(slices))

    def _check(self, state: Mapping[str, Tensor]) -> None:
        """One sentence on the first disagreement between ``state`` and layout."""
        expected = {p.name: p.shape for p in self.slices}
        given = {
            name: tuple(t.shape) for name, t in state.items() if t.is_floating_point()
        }
        missing = [name for name in expected if name not in given]
        extra = [name for name in given if name not in expected]
        if missing or extra:
            raise ValueError(
                f"state_dict does not fit this layout (missing {missing}, extra "
                f"{extra}): build the layout from a net of the same architecture."
            )
        for name, shape in expected.items():
            if given[name] != shape:
                raise ValueError(
                    f"state_dict entry '{name}' has shape {list(given[name])}, the "
                    f"layout has {list(shape)}: build the layout from a net of the "
                    "same architecture."
                )


def _state(net: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A net's state_dict; ValueError for an entry that is no dense real tensor."""
    state = net.state_dict() if isinstance(net, nn.Module) else net
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"state_dict entry '{name}' is a {type(tensor).__name__}, not a "
                "tensor: pass the state_dict itself, not the dict around it."
            )
        if tensor.is_complex() or tensor.is_quantized or tensor.is_sparse:
            raise ValueError(
                f"state_dict entry '{name}' is complex, quantised or sparse: "
                "convert it to a dense real tensor first (.dequantize(), "
                ".to_dense(), torch.view_as_real)."
            )
    return state


def _kind(name: str, state: Mapping[str, Tensor]) -> str:
    """Kind of an entry, told from its name and its siblings."""
    layer, _, leaf = name.rpartition(".")
    prefix = f"{layer}." if layer else ""
    if f"{prefix}running_mean" in state:  # only batch norm keeps running means
        return _BATCH_NORM_KINDS.get(leaf, leaf)
    return leaf
