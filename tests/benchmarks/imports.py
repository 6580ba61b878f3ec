"""Row ``import-nwslib``: what a user waits for before anything happens."""

from __future__ import annotations

import subprocess
import sys

from measuring import Contender, Row, some, take_turns


def row(share: float) -> Row:
    """Import the nets and their training in a fresh interpreter.

    The bare package imports nothing, which would say nothing.
    """
    rounds = take_turns(
        {"ours": _fresh("nwslib.train"), "import-torch": _fresh("torch")},
        some(11, share, least=1),
    )
    return Row.of("import-nwslib", "ms", rounds, limit=min(rounds["import-torch"]))


def _fresh(module: str) -> Contender:
    """Milliseconds of an import in a process of its own."""
    code = (
        "import time; start = time.perf_counter(); "
        f"import {module}; print(1e3 * (time.perf_counter() - start))"
    )

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    return run
