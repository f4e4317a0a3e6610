# SPDX-License-Identifier: Apache-2.0
"""Weights in page-locked memory, from which a GPU copies while it works.

torch's allocator for such memory rounds every tensor up to a power of two, which for the 14B model's layers is a third
more than they take. So tensors share pieces of a size that is one already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

PIECE: Final = 1 << 30  # bytes
_ALIGNED: Final = 256  # bytes: where a tensor may start, so that copies of it are as quick as any


def pin(module: nn.Module, piece: int = PIECE, *, locked: bool = True) -> int:
    """Moves a module's weights, which are on the CPU, into pieces of page-locked memory, one after another.

    Beside the weights there is never more than one piece.

    Args:
        module: its parameters keep their identity.
        piece: bytes of one piece; a larger tensor gets one of its own.
        locked: False: ordinary memory, laid out in the same way.

    Returns:
        Bytes of all pieces.

    Raises:
        RuntimeError: torch's, where so much cannot be locked; what was moved before stays moved.
    """
    import torch

    total, start, current = 0, piece, torch.empty(0, dtype=torch.uint8)
    for parameter in module.parameters():
        if hasattr(parameter, "__tensor_flatten__") or not parameter.is_contiguous():
            continue  # int8 with its scales is several tensors in one; diffusers pins those itself
        size = parameter.numel() * parameter.element_size()
        if start + size > len(current):
            current = torch.empty(max(piece, size), dtype=torch.uint8, pin_memory=locked)
            total, start = total + len(current), 0
        parameter.data = _placed(parameter.data, current[start : start + size])
        start += -(-size // _ALIGNED) * _ALIGNED
    return total


def _placed(tensor: Tensor, room: Tensor) -> Tensor:
    copy = room.view(tensor.dtype).view(tensor.shape)
    copy.copy_(tensor)
    return copy
