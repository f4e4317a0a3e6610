# SPDX-License-Identifier: Apache-2.0
"""How much is held in memory at once: a clip that is too long is refused, before the system ends the process."""

from __future__ import annotations

from shared_protocol.errors import LIMIT, Ex4dError

MAX_BYTES = 8 << 30  # of one array of frames


def check_memory(size: int, what: str, hint: str = "Use fewer frames at once, or smaller ones.") -> None:
    """Refuses an array of `size` bytes where that is over the limit.

    Args:
        size: bytes.
        what: subject of the message, in the plural ("49 frames of 480x270 of shot.mp4").
        hint: what to do about it.

    Raises:
        Ex4dError: LIMIT, with both numbers.
    """
    if size > MAX_BYTES:
        text = f"{what} take {size / 2**30:.1f} GiB; the limit is {MAX_BYTES / 2**30:.3g} GiB."
        raise Ex4dError(LIMIT, text, hint)
