# SPDX-License-Identifier: Apache-2.0
"""How much memory a window takes. Needs no torch.

The factors were fitted to what the published networks allocate, counted tensor by tensor with
`benchmarks._live_memory` for 280x504 to 1036x1848 pixels, in 16 and in 32 bits; a test counts again.
"""

from __future__ import annotations

from math import prod

from ex4d.depth.vda.architecture import FRAMES, Architecture
from ex4d.models.weights import WeightFiles

# Of what is too wide for memory, this much at a time. The numbers are the same however little it is.
FRAMES_AT_ONCE = 4  # through the image network and the convolutions
AT_ONCE = 2**26  # numbers of the widest layer over time

_HALF = 2  # bytes of a number
_LOOK = 40  # bytes for each number of a picture's tokens, in a block of the image network
_WIDEST = 5  # bytes for each number of the widest layer over time: itself, its activation, their product, its input
_MIXED = 4.6  # maps as large as what comes out of the mixing, at its end
_DEPTH = (276.0, 3.25)  # bytes for each pixel at the end of the head, and for each of these and each feature
_JOIN = 40  # bytes for each pixel of the clip's frames, of which ten and some are held
_SPARE = (1.15, 256 << 20)  # what allocators and libraries take beside it


def peak(weights: WeightFiles, architecture: Architecture, size: tuple[int, int], pixels: int) -> int:
    """Bytes that weights and activations take at most, at 2 bytes a number.

    Args:
        weights: of the network.
        architecture: of these.
        size: height and width at which the network sees frames.
        pixels: of a frame of the clip.
    """
    seen = size[0] * size[1]
    patches = seen // architecture.patch**2
    features, widest = architecture.features, 8 * max(*architecture.channels[2:], architecture.features)
    tokens = FRAMES * 4 * patches * architecture.width * _HALF
    mixed = FRAMES * features * 4 * patches * _HALF
    # The three happen one after the other; the tokens of a window are held all the time.
    look = _LOOK * FRAMES_AT_ONCE * patches * architecture.width
    mix = _WIDEST * min(AT_ONCE, FRAMES * widest * 4 * patches) + int(_MIXED * mixed)
    depth = mixed + int(FRAMES_AT_ONCE * seen * (_DEPTH[0] + _DEPTH[1] * features))
    activations = tokens + max(look, mix, depth) + _JOIN * pixels
    numbers = sum(prod(header.shape) for header in weights.values())
    return int(_SPARE[0] * (_HALF * numbers + activations)) + _SPARE[1]
