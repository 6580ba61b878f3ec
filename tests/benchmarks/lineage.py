"""Row ``lineage``: 5000 checkpoints of a million weights sorted into runs.

``python lineage.py FOLDER`` recovers a folder's lineage in a process that does nothing
else and prints ``{"seconds": ..., "memory_mb": ..., "parents": {...}}``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from linkage_alone import peak_memory_mb
from measuring import Row, say, some
from nwslib.lineage import recover

_WEIGHTS = 1_000_000
_RUNS, _LENGTH = 90, 50
_BRANCHES, _BRANCH_LENGTH = 10, 40
_COPIES = 50  # exact ones, and as many in half precision


def row(share: float) -> Row:
    """Sort synthetic runs with branches and copies; there are no peers.

    The files have just been written, so that part of them still is in memory.
    """
    runs, branches = some(_RUNS, share), some(_BRANCHES, share, least=1)
    with tempfile.TemporaryDirectory() as folder:
        truth = write_folder(
            Path(folder),
            some(_WEIGHTS, share, least=1000),
            runs,
            branches,
            some(_COPIES, share, least=1),
        )
        say(f"  {len(truth)} checkpoints written")
        done = subprocess.run(
            [sys.executable, __file__, folder], stdout=subprocess.PIPE, check=True
        )
    measured = json.loads(done.stdout)
    # Which of two equal files is called the copy is nobody's mistake.
    same = {path: truth[path] for path in truth if path.startswith("copy")}
    found = {
        same.get(child, child): same.get(parent, parent)
        for child, parent in measured["parents"].items()
        if same.get(child, child) != same.get(parent, parent)
    }
    told = [path for path in truth if path not in same]
    right = sum(found.get(path) == truth[path] for path in told)
    return Row.of(
        "lineage",
        "s",
        {"ours": [measured["seconds"]]},
        limit=None,
        memory_mb=measured["memory_mb"],
        facts={
            "checkpoints": len(truth),
            "runs": {"true": runs + branches, "found": measured["runs"]},
            "right_parents": right / len(told),
        },
    )


def write_folder(
    folder: Path, weights: int, runs: int, branches: int, copies: int
) -> dict[str, str | None]:
    """Write runs, branches and copies; path of each checkpoint -> its parent's.

    A run is a random walk with drift whose steps become shorter; half of them are
    files of ``torch.save``, half of safetensors.
    """
    torch.manual_seed(0)
    truth: dict[str, str | None] = {}

    def save(name: str, point: torch.Tensor) -> str:
        half = len(point) // 2
        state = {"a.weight": point[:half].view(2, -1), "b.weight": point[half:].clone()}
        if int(name.split("-")[1]) % 2:
            torch.save(state, folder / f"{name}.pt")
            return f"{name}.pt"
        save_file(state, folder / f"{name}.safetensors")
        return f"{name}.safetensors"

    def walk(name: str, point: torch.Tensor, parent: str | None, length: int) -> None:
        drift = torch.randn(weights)
        for k in range(length):
            if k or parent:  # 0.3 of the initial weights, and less each time
                step = (0.3 * drift + torch.randn(weights)) / (k + 3)
                point = point + step
            path = save(f"{name}-{k}", point)
            truth[path], parent = parent, path
            if k == _LENGTH // 2 and len(middles) < max(branches, copies):
                middles.append((path, point))

    middles: list[tuple[str, torch.Tensor]] = []
    for run in range(runs):
        walk(f"run-{run}", torch.randn(weights), None, _LENGTH)
    for k, (path, point) in enumerate(middles[:branches]):
        walk(f"branch-{k}", point, path, _BRANCH_LENGTH)
    for k, (path, point) in enumerate(middles[:copies]):
        truth[save(f"copy-{k}", point)] = path
        truth[save(f"half-{k}", point.half())] = path
    return truth


if __name__ == "__main__":
    start = time.perf_counter()
    lineage = recover(sys.argv[1])
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "seconds": seconds,
                "memory_mb": peak_memory_mb(),
                "runs": len(lineage.runs),
                "parents": {link.child: link.parent for link in lineage.links},
            }
        )
    )
