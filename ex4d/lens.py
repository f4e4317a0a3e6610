# SPDX-License-Identifier: Apache-2.0
"""Which focal length a clip is taken to have, and who says so: the artist, the file, the estimator, or nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.mesh.lift import default_intrinsics
from ex4d.values import Clip
from shared_protocol.errors import BAD_INPUT, Ex4dError

_WIDEST = 0.1  # focal length in sides of the picture: below, the view is wider than 157 degrees
_LENS, _SENSOR = (0.1, 10_000.0), (0.5, 500.0)  # millimetres that make a lens and a sensor


@dataclass(frozen=True)
class Lens:
    """A focal length."""

    focal: float  # pixels of the clip's frames
    source: str  # "pixels" | "millimetres" | "metadata" | "estimator" | "default"
    note: str  # for a person


def known_lens(clip: Clip, focal: float | None = None, lens: tuple[float, float] | None = None) -> Lens | None:
    """The focal length as far as it is known before anything is estimated; None where it is not.

    Args:
        clip: the pictures; its metadata count where nothing is given.
        focal: pixels of the clip as it comes in.
        lens: focal length and sensor width in millimetres. The width goes along the picture's longer side, as a camera
            that is held upright has it.

    Raises:
        Ex4dError: BAD_INPUT for both, for numbers that are no lens, or for a picture wider than a pinhole camera's.
    """
    if focal is not None and lens is not None:
        raise Ex4dError(
            BAD_INPUT, "The focal length is given twice: in pixels and in millimetres.", "Give one of the two."
        )
    side = max(clip.frames.shape[1:3])
    if focal is not None:
        if not (np.isfinite(focal) and focal > 0.0):
            raise Ex4dError(BAD_INPUT, f"A focal length of {focal} pixels cannot be used.", "Give a positive number.")
        found = Lens(focal * clip.scale, "pixels", f"focal length {focal:.6g} px as given")
        hint = "It is counted in pixels; in millimetres, give it with the sensor's width."
    elif lens is not None:
        length, sensor = lens
        for what, value, (least, most) in (("lens", length, _LENS), ("sensor", sensor, _SENSOR)):
            if not least <= value <= most:  # nor is what is not a number
                raise Ex4dError(
                    BAD_INPUT, f"A {what} of {value:g} mm cannot be used.", f"Give {least:g} to {most:g} millimetres."
                )
        pixels = length / sensor * side
        told = f"{length:g} mm on a sensor {sensor:g} mm wide"
        found = Lens(pixels, "millimetres", f"focal length {pixels / clip.scale:.4g} px ({told})")
        hint = f"A lens of {length:g} mm is not one for a sensor {sensor:g} mm wide."
    elif clip.focal is not None:
        told = f" ({clip.lens})" if clip.lens else ""
        return Lens(
            clip.focal, "metadata", f"focal length {clip.focal / clip.scale:.4g} px from the clip's metadata{told}"
        )
    else:
        return None
    if found.focal < _WIDEST * side:
        degrees = 2.0 * np.degrees(np.arctan(0.5 * side / found.focal))
        raise Ex4dError(
            BAD_INPUT,
            f"A focal length of {found.focal / clip.scale:.4g} pixels is a view of {degrees:.0f} degrees.",
            hint,
        )
    return found


def settled_lens(clip: Clip, known: Lens | None, estimated: float | None, default: float | None = None) -> Lens:
    """The focal length that is used.

    Args:
        known: from `known_lens`.
        estimated: pixels of the clip's frames, where the estimator tells it.
        default: the same, where nobody does; None = 500/512 of the longest side.
    """
    if known is not None:
        return known
    height, width = clip.frames.shape[1:3]
    if estimated is not None:
        return Lens(
            estimated, "estimator", f"focal length {estimated / clip.scale:.4g} px by the depth estimator's own guess"
        )
    focal = default_intrinsics(width, height, default).fx
    return Lens(
        focal, "default", f"focal length {focal / clip.scale:.4g} px: a usual lens was assumed, since nothing tells it"
    )
