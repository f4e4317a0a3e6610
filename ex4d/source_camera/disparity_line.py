# SPDX-License-Identifier: Apache-2.0
"""Scale and shift between two disparities of the same points: whether a scale alone does, or a shift is asked for."""

from __future__ import annotations

import numpy as np

from ex4d.source_camera.robust import Line, robust_line
from ex4d.values import F64

AGREES = 0.10  # of the disparity: what a point may be off and still agree; good estimators are off by half as much
POOR = 0.4  # share of points that agree below which a fit is not believed
CLOSE = 0.02  # what scale (of 1) and shift (of the usual disparity) may be off in depth that is left as it is
_FINEST = 0.03  # the least that AGREES is tightened to where both agree better than that, ...
_WIDTHS = 4.0  # ... in multiples of the usual difference
_BETTER = 0.5  # of the misfit without a shift: a shift has to get below


def both_lines(x: F64, y: F64, noise: F64) -> tuple[Line, Line]:
    """y = scale x, and y = scale x + shift; first with wide limits, then with those that the points allow.

    Args:
        x: [N] > 0, N >= 2.
        y: [N].
        noise: [N] what y may be off by itself.
    """
    limit = AGREES
    for _ in range(2):
        line, shifted = (robust_line(x, y, noise, limit, offset=offset) for offset in (False, True))
        agreeing = [off_by(each, x, y)[each.agrees] for each in (line, shifted) if each.agrees.any()]
        usual = min((float(np.median(off)) for off in agreeing), default=AGREES)
        limit = float(np.clip(_WIDTHS * usual, _FINEST, AGREES))
    return line, shifted


def off_by(line: Line, x: F64, y: F64) -> F64:
    """[N] difference of the points from the line, relative."""
    return np.asarray(np.abs(y / (line.slope * x + line.offset) - 1.0), np.float64)


def needs_shift(line: Line, shifted: Line, x: F64) -> bool:
    """Whether the shift is more than noise, and leaves what is given in front of the camera."""
    modelled = shifted.slope * x + shifted.offset
    usual = float(np.median(modelled))
    if shifted.slope <= 0.0 or abs(shifted.offset) <= CLOSE * usual or np.percentile(modelled, 2.0) <= 0.0:
        return False
    if line.share < POOR <= shifted.share:
        return True
    either = shifted.agrees | line.agrees  # what agrees with neither would drown the difference
    with_shift, without = (float(each.weight[either] @ each.misfit[either]) for each in (shifted, line))
    return with_shift < _BETTER * without
