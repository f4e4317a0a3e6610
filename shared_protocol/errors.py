# SPDX-License-Identifier: Apache-2.0
"""One tree of errors for the engine, the backend and the extension.

The code crosses the wire and is what programs branch on; the message and the hint are what an artist reads.
"""

from __future__ import annotations

from typing import Final

# Every code that may cross the wire. A new failure gets a code here, not a new exception class.
BAD_INPUT: Final = "BAD_INPUT"  # a value that cannot be used (range, shape, type)
NOT_FOUND: Final = "NOT_FOUND"  # a file, job or artifact that is not there
NOT_A_CLIP: Final = "NOT_A_CLIP"  # a file without pictures, or one that cannot be decoded
UNSUPPORTED: Final = "UNSUPPORTED"  # understood, and not handled (interlaced, panoramic camera, ...)
SIZE_MISMATCH: Final = "SIZE_MISMATCH"  # depth and clip, or clip and mask, differ in size or length
EMPTY_VIEW: Final = "EMPTY_VIEW"  # the camera sees none of the reconstructed scene
UNAVAILABLE: Final = "UNAVAILABLE"  # an estimator, rasterizer or generator that does not work here
UNREACHABLE: Final = "UNREACHABLE"  # no backend answers
NOT_A_BACKEND: Final = "NOT_A_BACKEND"  # something else answers on that port
PORT_TAKEN: Final = "PORT_TAKEN"  # another program owns the port the backend was told to use
VERSION: Final = "VERSION"  # protocol majors differ
LIMIT: Final = "LIMIT"  # a message, array or job over a limit
BAD_MESSAGE: Final = "BAD_MESSAGE"  # a message that does not decode into a known type
CANCELLED: Final = "CANCELLED"
DISK: Final = "DISK"  # no space, or no permission
WORKER_DIED: Final = "WORKER_DIED"  # the worker process ended while it had the job
INTERNAL: Final = "INTERNAL"  # a bug of ours; the log has the traceback


class Ex4dError(Exception):
    """A failure that a person can act on.

    Args:
        code: one of the constants of this module.
        message: one line: what happened, with the names and numbers that matter.
        hint: one line: what to do about it. May be empty where the message says it all.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """One line for a person: message, then hint."""
        return f"{self.message} {self.hint}".rstrip()
