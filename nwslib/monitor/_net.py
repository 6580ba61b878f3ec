"""What of a module is followed: its parameters, whatever it is wrapped in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nwslib.flatten import Layout

#: Values from here on count as not finite: soon they will be, and until then their
#: squares have room in float32.
LARGEST = 1e12


def unwrap(net: nn.Module) -> nn.Module:
    """The module inside ``torch.compile`` and the parallel wrappers."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(net, wrappers):
            net = net.module
        elif hasattr(net, "_orig_mod"):  # torch.compile
            net = net._orig_mod
        else:
            return net


def parameters(net: nn.Module) -> dict[str, Tensor]:
    """Floating-point parameters by name, shared ones once, compiled parts or not."""
    return {
        name.replace("_orig_mod.", ""): parameter.detach()
        for name, parameter in net.named_parameters()
        if parameter.is_floating_point() and parameter.numel()
    }


def running_statistics(net: nn.Module) -> dict[str, Tensor]:
    """Batch norm's; other buffers may hold infinity on purpose, as masks do."""
    return {
        name.replace("_orig_mod.", ""): buffer
        for name, buffer in net.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }


def trainable_layers(net: nn.Module) -> set[str]:
    """Layers with a parameter that wants a gradient."""
    return {
        name.replace("_orig_mod.", "").rpartition(".")[0]
        for name, parameter in net.named_parameters()
        if parameter.requires_grad
    }


def layout_of(net: nn.Module) -> Layout:
    """Layout of the parameters alone."""
    for name, parameter in net.named_parameters():
        if nn.parameter.is_lazy(parameter) or parameter.is_meta:
            raise ValueError(
                f"parameter '{name}' has no values yet: construct the monitor after "
                "the net has seen its first batch, or has been loaded."
            )
    followed = parameters(net)
    if not followed:
        raise ValueError("the net has no floating-point parameters to follow.")
    # beside its running statistics, batch norm's weight is a gamma
    rows = Layout.of(followed | running_statistics(net)).to_json()
    return Layout.from_json([row for row in rows if row["name"] in followed])


def digest(layout: Layout) -> str:
    """Name of the parameters' names and shapes; their types may change."""
    text = json.dumps([[piece.name, piece.shape] for piece in layout])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def not_finite(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many values are NaN or too large, of each tensor that has any."""
    norms = [torch.linalg.vector_norm(t, dtype=_wide(t)) for t in tensors.values()]
    below = [norm < LARGEST for norm in norms]  # and so is every value; NaN is not
    if torch.stack([b.to(below[0].device) for b in below]).all():
        return {}
    counts = {n: int((~(t.abs() < LARGEST)).sum()) for n, t in tensors.items()}
    return {name: count for name, count in counts.items() if count}


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
