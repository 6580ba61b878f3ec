"""Which tensors of a checkpoint are a net's weights, and plain copies of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nwslib.checkpoints.refusal import Refused, quoted

#: Where training programs put the state_dict, the likelier first.
_USUAL_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "ema",
)
#: Where they put what is no weight.
_OPTIMIZER_KEY = re.compile(r"opt(im|$)|exp_avg|momentum_buffer|scheduler|scaler", re.I)
_OPTIMIZER_SLOT = re.compile(r"(max_)?exp_avg(_sq)?|square_avg|momentum_buffer")
#: Deeper than any training program nests a state_dict.
_DEEPEST = 8
#: What DataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")
_CHUNK = 2**22  # weights examined at once

_COMPRESSED_ROWS = (torch.sparse_csr, torch.sparse_bsr)
_COMPRESSED_COLUMNS = (torch.sparse_csc, torch.sparse_bsc)


def of_object(loaded: object) -> dict[str, Tensor]:
    """Find the ``state_dict`` in what ``torch.save`` was given.

    Returns
    -------
    dict of str to Tensor
        As they were loaded; empty if there are no weights.

    Raises
    ------
    Refused
        If it is no dict.
    """
    if not isinstance(loaded, dict):
        raise Refused(
            f"it holds a {type(loaded).__name__}, no state_dict: save "
            "model.state_dict()."
        )
    return _most_weights(loaded, set(), 0)[1]


def copied(tensors: Mapping[str, Tensor], limit: int) -> dict[str, Tensor]:
    """Copy tensors into plain ones that own their memory.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        As a file claims them to be.
    limit : int
        Most bytes that all of them together may take.

    Returns
    -------
    dict of str to Tensor
        Contiguous, dense, real, finite. Names of one tensor share one copy.

    Raises
    ------
    Refused
        If a tensor is none of this and cannot be made so, or they are too large.
    """
    if sum(_claim(name, tensor) for name, tensor in tensors.items()) > limit:
        raise Refused(
            f"its tensors claim over {limit:,} bytes, more than a file of this size "
            "holds: save it again, without expanded or nearly empty sparse tensors."
        )
    copies: dict[tuple, Tensor] = {}
    out = {}
    for name, tensor in tensors.items():
        try:
            same = _identity(tensor)
            if same not in copies:
                copies[same] = _copy(name, tensor)
            out[name] = copies[same]
        except NotImplementedError as error:
            raise Refused(
                f"layer {quoted(name)} has type {tensor.dtype}, which torch cannot "
                "convert: save it in another type."
            ) from error
    return out


def of_net(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrappers put before all names, and sort by name.

    Formats differ in the order that they keep (safetensors sorts by type first), so
    one net would have several layouts otherwise.

    Raises
    ------
    Refused
        If none of the tensors is floating-point.
    """
    if not _n_weights(tensors):
        raise Refused(
            "it holds no weights, which are floating-point tensors with names "
            "outside of an optimizer's state: save model.state_dict()."
        )
    while prefix := next((p for p in _PREFIXES if _all_begin(tensors, p)), None):
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
    return dict(sorted(tensors.items()))


def _most_weights(
    mapping: dict, seen: set[int], depth: int
) -> tuple[int, dict[str, Tensor]]:
    """Number of weights and tensors of the best ``state_dict`` in or below a dict."""
    seen.add(id(mapping))  # a pickle can hold itself
    if "param_groups" in mapping or depth > _DEEPEST:
        return 0, {}
    own = _tensors(mapping)
    best = (_n_weights(own), own)
    inner = {
        key: value
        for key, value in mapping.items()
        if isinstance(key, str)
        and isinstance(value, dict)
        and not _OPTIMIZER_KEY.search(key)
    }
    usual = [key for key in _USUAL_KEYS if key in inner]
    for key in dict.fromkeys((*usual, *inner)):
        if id(inner[key]) not in seen:
            found = _most_weights(inner[key], seen, depth + 1)
            if key in usual and found[0]:
                return found
            best = max(best, found, key=lambda each: each[0])
    return best


def _tensors(mapping: dict) -> dict[str, Tensor]:
    """The named tensors of one dict, those of quantised layers under usual names."""
    out: dict[str, Tensor] = {}
    for name, value in mapping.items():
        if not isinstance(name, str) or _OPTIMIZER_SLOT.fullmatch(name):
            continue
        if isinstance(value, Tensor):
            out[name] = value
        elif name.endswith("_packed_params._packed_params") and type(value) is tuple:
            # A quantised linear layer keeps (weight, bias) here.
            layer = name.removesuffix("_packed_params._packed_params")
            for leaf, tensor in zip(("weight", "bias"), value, strict=False):
                if isinstance(tensor, Tensor):
                    out[f"{layer}{leaf}"] = tensor
    # Scale and zero point of a quantised layer's outputs are no weights.
    for name in [n for n in out if n.endswith("zero_point")]:
        scale = f"{name.removesuffix('zero_point')}scale"
        if scale in out and out[scale].numel() == out[name].numel() == 1:
            del out[scale], out[name]
    return out


def _n_weights(tensors: Mapping[str, Tensor]) -> int:
    return sum(
        math.prod(t.shape)
        for t in tensors.values()
        if (t.is_floating_point() or t.is_quantized) and not t.is_nested
    )


def _claim(name: str, tensor: Tensor) -> int:
    """Bytes that a plain copy takes; Refused if there can be none."""
    layer = f"layer {quoted(name)}"
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.is_nested:
        kind = "nested" if tensor.is_nested else type(tensor).__name__
        raise Refused(f"{layer} is a {kind} tensor: save a plain one.")
    if tensor.is_complex():
        raise Refused(f"{layer} is complex: save real and imaginary part.")
    if tensor.device.type != "cpu":
        raise Refused(f"{layer} holds no values (device {tensor.device}): save them.")
    if tensor.is_quantized:
        return 4 * tensor.numel()
    return math.prod(tensor.shape) * tensor.element_size() + sum(
        math.prod(part.shape) * part.element_size() for part in _parts(layer, tensor)
    )


def _parts(layer: str, tensor: Tensor) -> tuple[Tensor, ...]:
    """What a sparse tensor consists of; nothing for a dense one."""
    if tensor.layout == torch.strided:
        return ()
    if tensor.layout == torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in _COMPRESSED_ROWS:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in _COMPRESSED_COLUMNS:
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    raise Refused(f"{layer} has the layout {tensor.layout}: save it dense.")


def _identity(tensor: Tensor) -> tuple:
    """Equal for two names of one tensor."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return (id(tensor),)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _copy(name: str, tensor: Tensor) -> Tensor:
    """A plain copy of a tensor; Refused if its values are no numbers."""
    layer = f"layer {quoted(name)}"
    dense = _dense(layer, tensor.detach())
    # Made anew: a clone would keep attributes that the file has set.
    copy = torch.empty(dense.shape, dtype=dense.dtype).copy_(dense)
    if copy.is_floating_point() and not _is_finite(copy):
        raise Refused(
            f"{layer} holds values that are not finite (NaN or infinite): use an "
            "earlier checkpoint of that run."
        )
    return copy


def _dense(layer: str, tensor: Tensor) -> Tensor:
    """A strided tensor of real numbers.

    torch checks neither indices nor scales when it loads them, and would read or
    write beyond its memory here if they were wrong.
    """
    if tensor.is_quantized:
        if tensor.qscheme() in (
            torch.per_channel_affine,
            torch.per_channel_affine_float_qparams,
        ):
            axis, shape = tensor.q_per_channel_axis(), tensor.shape
            expected = shape[axis] if 0 <= axis < len(shape) else None
            scales = tensor.q_per_channel_scales().numel()
            zeros = tensor.q_per_channel_zero_points().numel()
            if not scales == zeros == expected:
                raise Refused(f"{layer} has not one scale a channel: save it again.")
        return tensor.dequantize()
    parts = _parts(layer, tensor)
    if not parts:
        return tensor
    checked = dict(size=tensor.shape, check_invariants=True)
    try:
        if tensor.layout == torch.sparse_coo:
            return torch.sparse_coo_tensor(*parts, **checked).to_dense()
        return torch.sparse_compressed_tensor(
            *parts, layout=tensor.layout, **checked
        ).to_dense()
    except RuntimeError as error:
        raise Refused(
            f"{layer} has indices outside of its shape: save it dense."
        ) from error


def _is_finite(tensor: Tensor) -> bool:
    for chunk in tensor.view(-1).split(_CHUNK):
        if len(chunk):
            if chunk.element_size() == 1:  # float8 has no minimum
                chunk = chunk.float()
            # One pass, no copy; NaN is passed on.
            if not all(math.isfinite(end) for end in torch.aminmax(chunk)):
                return False
    return True


def _all_begin(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    return all(name.startswith(prefix) and name != prefix for name in tensors)
