"""The book's colours are told apart with any colour vision: distances, measured."""

from itertools import combinations

import numpy as np
import pytest

from nwslib.plots.style import PALETTE

with np.printoptions():  # the library sets them for the whole process
    import colour

# CIEDE2000 of about 2.3 is a just noticeable difference of patches side by side. A
# line and its legend are apart: we ask for three times as much of any two colours, and
# for more of the first ones, which most figures have.
LEAST, FIRST, LEAST_OF_FIRST = 7.0, 5, 15.0


def as_seen(deficiency: str | None) -> np.ndarray:
    """The palette in CIE Lab, [colours, 3], without one kind of cones."""
    values = [[int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in PALETTE]
    linear = colour.models.eotf_sRGB(np.array(values))
    if deficiency:
        # Machado et al. 2009; severity 1 is the complete loss.
        matrix = colour.matrix_cvd_Machado2009(deficiency, 1.0)
        linear = np.clip(linear @ matrix.T, 0, 1)
    white = colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D65"]
    xyz = colour.RGB_to_XYZ(linear, "sRGB", apply_cctf_decoding=False)
    return colour.XYZ_to_Lab(xyz, white)


# For lack of blue cones the model is an approximation, says the library.
@pytest.mark.filterwarnings("ignore::colour.utilities.ColourUsageWarning")
@pytest.mark.parametrize(
    "deficiency", [None, "Protanomaly", "Deuteranomaly", "Tritanomaly"]
)
def test_any_two_colours_are_told_apart(deficiency):
    seen = as_seen(deficiency)
    for i, j in combinations(range(len(PALETTE)), 2):
        distance = float(colour.delta_E(seen[i], seen[j], method="CIE 2000"))
        least = LEAST_OF_FIRST if max(i, j) < FIRST else LEAST
        assert distance >= least, (PALETTE[i], PALETTE[j], deficiency)


def test_red_and_green_of_equal_lightness_would_fail(monkeypatch):
    monkeypatch.setattr(f"{__name__}.PALETTE", ("#C06050", "#7F8A50"))
    normal, without = as_seen(None), as_seen("Deuteranomaly")
    assert colour.delta_E(*normal, method="CIE 2000") > LEAST_OF_FIRST
    assert colour.delta_E(*without, method="CIE 2000") < LEAST
