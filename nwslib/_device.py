"""Whether this machine has a device, asked before anything takes time."""

from __future__ import annotations

import torch


def check_device(device: str) -> None:
    """Raise ValueError if the machine lacks the device, or the device float64."""
    try:
        torch.zeros(1, dtype=torch.float64, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device '{device}' is not available here: choose 'cpu', or one with "
            "float64 that this machine and its build of torch have."
        ) from error


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether the device computes in bfloat16, and not only converts from and to it.

    Of processors those with AVX-512 BF16 or AMX, as far as torch can tell.
    """
    device = torch.device(device)
    if device.type == "cpu":
        found = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 and newer
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
