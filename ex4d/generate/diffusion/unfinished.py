# SPDX-License-Identifier: Apache-2.0
"""What lets a run that was killed go on from its last latents.

Two files in a folder of the generator's own, each replaced in one step: the latents of the windows that are finished,
and those of the window at work. Both carry the key of what is made, so that nothing is continued as something else, and
a checksum, since a file that was renamed into place can still be empty after a power cut.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ex4d.files import replacing
from shared_protocol.errors import Ex4dError

EVERY: Final = 2.0  # seconds between two times that the window at work is written
_FORMAT: Final = "1"
_WINDOW, _SHOT = "window.safetensors", "shot.safetensors"


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a shot is."""

    windows: int = 0  # that are finished
    shot: Tensor | None = None  # [1, 16, n, h, w] float32, the latents of these
    steps: int = 0  # that the next window has behind it
    latents: Tensor | None = None  # [1, 16, t, h, w] float32, its latents after these


def request_key(facts: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> str:
    """A hash of everything that decides the latents.

    Args:
        facts: JSON values: seed, settings, names and hashes of weights.
        arrays: pictures and masks.
    """
    key = sha256(json.dumps(facts, sort_keys=True).encode())
    for array in arrays:
        key.update(f"{array.dtype.str}{array.shape}".encode())
        key.update(np.ascontiguousarray(array).data)
    return key.hexdigest()


class Unfinished:
    """The state of one shot on disk, written as it goes."""

    def __init__(self, folder: Path | None, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is read or written yet.

        Args:
            folder: of this shot alone; None: nothing is kept.
            key: of `request_key`.
            clock: seconds.
        """
        self._folder, self._key, self._clock = folder, key, clock
        self._written = clock()
        self.notes: list[str] = []  # what a person should know: state that could not be used, or kept

    def load(self) -> Progress:
        """How far the run before this one got. Where it made something else, or its files are broken: nowhere."""
        shot, windows, _ = self._read(_SHOT)
        latents, at, steps = self._read(_WINDOW)
        if shot is None:
            windows = 0
        if latents is None or at != windows or steps < 1:
            return Progress(windows, shot)
        return Progress(windows, shot, steps, latents)

    def step_done(self, window: int, steps: int, latents: Tensor) -> None:
        """Keeps the latents of the window at work, unless they were kept less than two seconds ago.

        Args:
            window: its index, which is how many are finished.
            steps: how many it has behind it.
            latents: [1, 16, t, h, w] after these.
        """
        if self._clock() - self._written >= EVERY:
            self._write(_WINDOW, latents, window, steps)
            self._written = self._clock()

    def window_done(self, windows: int, shot: Tensor) -> None:
        """Keeps the latents of the windows that are finished.

        Args:
            windows: how many are.
            shot: [1, 16, n, h, w].
        """
        self._write(_SHOT, shot, windows, 0)
        self._remove(_WINDOW)

    def clear(self) -> None:
        """Removes everything: the shot is finished."""
        self._remove(_WINDOW)
        self._remove(_SHOT)

    def _write(self, name: str, latents: Tensor, windows: int, steps: int) -> None:
        if self._folder is None:
            return
        kept = latents.detach().to("cpu", torch.float32).contiguous()
        facts = {"format": _FORMAT, "key": self._key, "windows": str(windows), "steps": str(steps), "sum": _sum(kept)}
        try:
            with replacing(self._folder / name) as temporary:
                save_file({"latents": kept}, temporary, facts)
        except (Ex4dError, SafetensorError) as error:  # painting goes on: only an interruption would cost more
            self._note(f"An interrupted run could not go on from where it was: {error}")
            self._folder = None

    def _read(self, name: str) -> tuple[Tensor | None, int, int]:
        """Latents of a file, which windows and how many steps it tells; None, 0, 0 where it cannot be used."""
        if self._folder is None or not (self._folder / name).is_file():
            return None, 0, 0
        try:
            with safe_open(self._folder / name, "pt") as file:
                facts = file.metadata() or {}
                if facts.get("format") != _FORMAT or facts.get("key") != self._key:
                    self._note("What an interrupted run had left was made from something else: begun anew.")
                    return None, 0, 0
                latents = file.get_tensor("latents").clone()  # the file is mapped only as long as it is open
                if facts["sum"] == _sum(latents):
                    return latents, int(facts["windows"]), int(facts["steps"])
        except (OSError, SafetensorError, ValueError, KeyError):
            pass
        self._note("What an interrupted run had left is broken: begun anew.")
        return None, 0, 0

    def _remove(self, name: str) -> None:
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / name).unlink()

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _sum(latents: Tensor) -> str:
    return sha256(latents.numpy().data).hexdigest()
