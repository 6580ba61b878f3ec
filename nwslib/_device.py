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
