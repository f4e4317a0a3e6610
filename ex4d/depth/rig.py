# SPDX-License-Identifier: Apache-2.0
"""Where a depth network runs: device, precision, and its memory, which is free again afterwards."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

import psutil
import torch
from torch import nn

from ex4d.generate.diffusion.memory import is_out_of_memory, release
from shared_protocol.errors import UNAVAILABLE, Ex4dError

__all__ = ["Rig", "free_bytes", "is_out_of_memory", "pick_device"]

N = TypeVar("N", bound=nn.Module)


def pick_device(wish: str) -> torch.device:
    """The device for "auto", "cuda" or "cpu".

    Raises:
        Ex4dError: UNAVAILABLE where a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if wish == "cuda" and not there:
        raise Ex4dError(UNAVAILABLE, "PyTorch finds no GPU here.", "Choose the device cpu; see `ex4d doctor`.")
    return torch.device("cuda", torch.cuda.current_device()) if there and wish != "cpu" else torch.device("cpu")


def free_bytes(device: torch.device) -> int:
    """Memory that a network may take there."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


class Rig:
    """A place for networks, for the length of a `with` block."""

    def __init__(self, device: str, precision: str, half: str = "float16") -> None:
        """Takes no memory yet.

        Args:
            device, precision: as the settings of these names.
            half: what the precision "auto" is on a GPU.

        Raises:
            Ex4dError: UNAVAILABLE as `pick_device`.
        """
        self.device = pick_device(device)
        if precision == "auto":
            precision = half if self.device.type == "cuda" else "float32"
        self.precision = precision
        self.dtype: torch.dtype = getattr(torch, precision)
        self._held: list[nn.Module] = []

    @property
    def device_name(self) -> str:
        """For messages."""
        return "the CPU" if self.device.type == "cpu" else torch.cuda.get_device_name(self.device)

    def hold(self, network: N) -> N:
        """Puts a loaded network on the device, in eval mode, until the end of the block."""
        self._held.append(network)
        return network.to(self.device).eval()

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        release(*self._held)
        self._held.clear()
