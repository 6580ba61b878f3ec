"""Single linkage of one file of points in a process that does nothing else.

``python linkage_alone.py POINTS.npy`` prints ``{"seconds": ..., "memory_mb": ...}``.
"""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np

from nwslib.clustering import single_linkage


def peak_memory_mb() -> float | None:
    """Most memory this process has held, in MB; None where nobody tells.

    Not ``getrusage``: its maximum is inherited from the process that started us.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    kibibytes = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]
    return int(kibibytes) * 1024 / 1e6


if __name__ == "__main__":
    points = np.load(sys.argv[1])
    single_linkage(points[:100])  # compiles
    start = time.perf_counter()
    single_linkage(points)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "memory_mb": peak_memory_mb()}))
