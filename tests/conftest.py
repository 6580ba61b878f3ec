import os
import sys

import hypothesis
import pytest
import torch

from nwslib import _bars
from nwslib.data import ImageSet

# How long an example takes says nothing on a machine that does other things, too.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # Threads of several workers would wait for each other at every small operation.
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


@pytest.fixture
def random_images():
    """Return a function that makes small image sets of noise."""

    def make(train, test=20, *, seed=0, classes=10, channels=1, size=14):
        generator = torch.Generator().manual_seed(seed)

        def split(n):
            images = torch.randint(256, (n, channels, size, size), generator=generator)
            labels = torch.randint(classes, (n,), generator=generator)
            labels[0] = classes - 1
            return images.to(torch.uint8), labels

        return ImageSet("noise", *split(train), *split(test))

    return make


@pytest.fixture(autouse=True)
def _no_figures_left():
    """Close what a test drew: others ask whether any figure is open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def eager_log(monkeypatch):
    """Standard error as a log that is told every step, where it is no terminal."""
    monkeypatch.setattr(_bars, "_PAUSE", 0)


@pytest.fixture
def book_style():
    """Draw as the chapters do."""
    # matplotlib: only for the tests that draw
    import matplotlib.pyplot as plt

    from nwslib import plots

    with plt.rc_context():
        plots.use_book_style()
        yield
