# SPDX-License-Identifier: GPL-3.0-or-later
"""Scale and shift of disparity, and what they make of distances. Plain Python, no Blender.

Everywhere depth becomes z' = 1 / (scale / z + shift): in the engine, in the node group, and here.
"""

from __future__ import annotations

import math

from shared_protocol.errors import BAD_INPUT, Ex4dError

_LEAST_DISPARITY = 1e-6  # as the engine and the node group have it: nothing lies further than a million units
_SPREAD = 1e-6  # how much the far distance has to exceed the near one, as a share


def adjusted(z: float, scale: float, shift: float) -> float:
    """Depth with scale and shift applied."""
    return 1.0 / max(scale / z + shift, _LEAST_DISPARITY)


def for_range(near: float, far: float, wanted_near: float, wanted_far: float) -> tuple[float, float]:
    """Scale and shift that bring two distances to where they are wanted.

    1 / z' = scale / z + shift is a straight line in disparity: two points settle it.

    Args:
        near, far: of the depth as it was estimated.
        wanted_near, wanted_far: of the depth that is shown.

    Raises:
        Ex4dError: BAD_INPUT where a distance is not above zero, or far is not beyond near.
    """
    for what, a, b in (("The clip's", near, far), ("The wanted", wanted_near, wanted_far)):
        if not (math.isfinite(a) and math.isfinite(b) and a > 0.0 and b > 0.0):
            raise Ex4dError(BAD_INPUT, f"{what} distances {a:.4g} and {b:.4g} have to be above zero.")
        if b <= a * (1.0 + _SPREAD):
            raise Ex4dError(
                BAD_INPUT,
                f"{what} far distance of {b:.4g} is not beyond the near one of {a:.4g}.",
                "Make Far larger than Near.",
            )
    scale = (1.0 / wanted_near - 1.0 / wanted_far) / (1.0 / near - 1.0 / far)
    return scale, 1.0 / wanted_near - scale / near


def times(scale: float, shift: float, factor: float) -> tuple[float, float]:
    """Scale and shift that make everything `factor` times as far and as large.

    Raises:
        Ex4dError: BAD_INPUT for a factor that is not above zero.
    """
    if not (math.isfinite(factor) and factor > 0.0):
        raise Ex4dError(BAD_INPUT, f"Depth cannot be made {factor:.4g} times as far.")
    return scale / factor, shift / factor
