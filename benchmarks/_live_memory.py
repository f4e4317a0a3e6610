# SPDX-License-Identifier: Apache-2.0
"""How much memory torch's tensors take while something runs, counted storage by storage, also of fake tensors.

Under `FakeTensorMode` nothing is computed and nothing allocated: a network of any size can be run through in seconds.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Counts bytes that are alive, from the tensors given on, in what runs inside the `with` block."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        """`given` is there before: weights and inputs."""
        super().__init__()
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self._live = 0
        for tensor in given:
            self._see(tensor)
        self.given = self._live  # bytes
        self._peak = self._live

    @property
    def peak(self) -> int:
        """The most bytes that were alive beyond those given."""
        return self._peak - self.given

    @property
    def kept(self) -> int:
        """Bytes that are alive now beyond those given."""
        return self._live - self.given

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts what an operation gives."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        self._peak = max(self._peak, self._live)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        self._live += storage.nbytes()
        weakref.finalize(storage, self._gone, storage.nbytes())

    def _gone(self, size: int) -> None:
        self._live -= size
