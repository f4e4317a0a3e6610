# SPDX-License-Identifier: Apache-2.0
"""What a failure for want of memory looks like."""

from __future__ import annotations

# Beside torch's own class: libraries that torch calls, and page-locked memory, tell it in words only.
_WORDS = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cuda_error_out_of_memory",
    "can't allocate memory",  # main memory
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that led to it, tells that memory ran out: a GPU's, what it copies from, or main memory.

    What it failed with is alive as long as the error is: leave the `except` block before memory is released.
    """
    import torch

    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(cause, RuntimeError) and any(words in str(cause).lower() for words in _WORDS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
