"""Packages of the library's extras, which need not be there."""

from __future__ import annotations

import importlib
from types import ModuleType


def need(package: str, extra: str) -> ModuleType:
    """Import a package of one of the library's extras.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed, with what to install.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        name = package.split(".")[0]
        if error.name not in (name, package):
            raise
        raise ModuleNotFoundError(
            f"the package '{name}' is not installed: install nwslib[{extra}]."
        ) from error
