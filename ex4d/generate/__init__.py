# SPDX-License-Identifier: Apache-2.0
"""Generators: from the conditioning of a shot to its frames. Importing this loads no generator's libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from ex4d.doors import Door
from ex4d.generate.preview import PreviewGenerator
from ex4d.values import U8, Conditioning

__all__ = ["GENERATORS", "Generator"]


class Generator(Door, Protocol):
    """Paints a shot."""

    geometry: str  # the kind of mesh it works best with, one of `ex4d.mesh.surface.GEOMETRIES`

    def frames(
        self,
        conditioning: Conditioning,
        *,
        seed: int,
        options: Mapping[str, str | int | float | bool],
        wanted: Sequence[int],
        progress: Callable[[str, int, int], None],
    ) -> Iterator[tuple[int, U8]]:
        """The frames of a shot, each as soon as it is ready.

        A frame depends on the inputs alone, never on which others are wanted: a job that was interrupted asks for the
        missing ones and gets the pixels that a single run would have given.

        Args:
            conditioning: what was seen of the shot.
            seed: of everything that is drawn at random.
            options: the generator's own settings.
            wanted: indices into the shot's frames, counted from 0.
            progress: called as progress(phase, done, total) at each step, which is where it may raise
                Ex4dError(CANCELLED) to stop the work.

        Yields:
            (index, [h, w, 3] uint8 sRGB).

        Raises:
            Ex4dError: BAD_INPUT for an option, CANCELLED.
        """
        ...


GENERATORS: dict[str, Generator] = {"preview": PreviewGenerator()}
