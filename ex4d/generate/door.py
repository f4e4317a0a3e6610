# SPDX-License-Identifier: Apache-2.0
"""What a generator is, and what one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ex4d.doors import Door
from ex4d.settings import Setting, Value
from ex4d.values import U8, Conditioning

Progress = Callable[[str, int, int], None]  # progress(phase, done, total)


def nobody(*_: object) -> None:
    """Whom nobody listens to."""


@dataclass(frozen=True, eq=False)
class GenerateRequest:
    """A shot to paint."""

    conditioning: Conditioning
    seed: int  # of everything that is drawn at random
    options: Mapping[str, Value]  # the generator's own settings; what is left out has its default
    wanted: Sequence[int]  # indices into the conditioning's frames, counted from 0
    # progress(phase, done, total) at each step, which is where it may raise Ex4dError(CANCELLED) to stop the work.
    progress: Callable[[str, int, int], None] = nobody
    # glimpse(picture [h, w, 3] uint8 sRGB): how the unfinished result looks, now and then.
    glimpse: Callable[[U8], None] = nobody
    # record(facts): what the side-car has to tell beyond options: weights, device, what took effect. JSON values.
    record: Callable[[Mapping[str, Any]], None] = nobody
    # A folder of the generator's own, which lets a run that was killed go on; None: nothing is kept.
    scratch: Path | None = None


class Generator(Door, Protocol):
    """Paints a shot."""

    geometry: str  # the kind of mesh it works best with, one of `ex4d.mesh.surface.GEOMETRIES`
    lead_in: int  # frames that it wants before a shot that does not start at the source camera
    settings: tuple[Setting, ...]  # its options

    def size(self, width: int, height: int, options: Mapping[str, Value]) -> tuple[int, int]:
        """Width and height of the frames it makes for a shot of that width and height, in pixels.

        Raises:
            Ex4dError: BAD_INPUT for an option.
        """
        ...

    def identity(self, options: Mapping[str, Value], progress: Progress = nobody) -> Mapping[str, str]:
        """What decides the pixels beside conditioning, seed and options: names and hashes of the weights in use.

        `available` speaks of the weights in their usual place; options may name others, so this is what tells whether
        a shot can be made. Weights that were never seen before are read for it once, which takes minutes: `progress` is
        told, and may raise to stop it.

        Raises:
            Ex4dError: UNAVAILABLE where packages or weights are missing, with what to do; BAD_INPUT and others for
                weights that are not the right ones.
        """
        ...

    def frames(self, request: GenerateRequest) -> Iterator[tuple[int, U8]]:
        """The frames of a shot, each as soon as it is ready.

        A frame depends on conditioning, seed and options alone, never on which others are wanted: a job that was
        interrupted asks for the missing ones and gets the pixels that a single run would have given.

        Yields:
            (index, [h, w, 3] uint8 sRGB), of the size that `size` tells.

        Raises:
            Ex4dError: BAD_INPUT for an option, CANCELLED, UNAVAILABLE where weights are missing, LIMIT where memory is.
        """
        ...
