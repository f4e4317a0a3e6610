# SPDX-License-Identifier: Apache-2.0
"""What a depth estimator is, and what one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ex4d.doors import Door
from ex4d.settings import Setting, Value
from ex4d.values import F32, F64, Bool, Clip

Progress = Callable[[str, int, int], None]  # progress(phase, done, total); may raise Ex4dError(CANCELLED)

# What numbers mean. "disparity": 1 / z up to a scale and a shift, larger is nearer; "depth": z up to a scale;
# "metric": z in metres.
Gives = Literal["disparity", "depth", "metric"]
GivesInAll = Literal["disparity", "depth", "metric", "either"]  # "either": it depends on files or options


def nobody(*_: object) -> None:
    """Whom nobody listens to."""


@dataclass(frozen=True)
class Nature:
    """What an estimator is with certain options: its options may name one model or another."""

    model: str  # of `ex4d.models`, a repository or a path; "" for what has no weights
    licence: str  # of code and weights
    commercial_use: bool
    gives: Gives
    steady: bool  # over time, by itself
    size: int  # bytes of weights


@dataclass(frozen=True, eq=False)
class Estimate:
    """One frame's depth as it was estimated."""

    values: F32  # [H, W] in the size of the clip's frames; in "depth" and "metric", what is no depth is background
    gives: Gives
    sky: Bool | None = None  # [H, W] where the estimator itself knows it
    focal: float | None = None  # pixels of the clip's frames
    world_from_camera: F64 | None = None  # [4, 4], in the unit of `values`


@dataclass(frozen=True, eq=False)
class DepthRequest:
    """A clip whose depth is wanted."""

    clip: Clip
    options: Mapping[str, Value]  # the estimator's own settings; what is left out has its default
    files: Sequence[Path] = ()  # depth that was brought along
    first: int = 0  # the clip's first frame within the whole shot: depth files are counted from the shot's start
    commercial: bool = True  # only what may be used commercially
    focal: float | None = None  # pixels of the clip's frames, where somebody knows it and the estimator uses it
    progress: Progress = nobody
    note: Callable[[str], None] = nobody  # note(text): what a person should know of how it was done
    workspace: Path | None = None  # for arrays of the whole clip (`ex4d.on_disk.disk_array`)


class DepthEstimator(Door, Protocol):
    """Gives a clip its depth. `licence` and `commercial_use` are those of what it does without options."""

    gives: GivesInAll
    steady: bool  # over time, by itself
    draft: bool  # a guess, good for blocking out a move
    uses_focal: bool  # its depth depends on a focal length that somebody knows; else it is told none
    size: int  # bytes of the weights that it needs without options
    settings: tuple[Setting, ...]  # its options

    def nature(self, options: Mapping[str, Value], commercial: bool) -> Nature:
        """What it is with these options, on this machine.

        Raises:
            Ex4dError: UNAVAILABLE where packages or weights are missing, or where the licence of the weights that the
                options name does not allow commercial use and `commercial` asks for it; BAD_INPUT for an option.
        """
        ...

    def settle(
        self, options: Mapping[str, Value], commercial: bool, height: int, width: int
    ) -> tuple[dict[str, Value], str]:
        """The options with nothing left open: where they leave the model to the machine, the best one that is here, is
        allowed, and fits the memory that is free; where none fits, the one that takes least.

        Args:
            height, width: of the frames; 0 where they are not known yet, then memory is not asked.

        Returns:
            All options, and why a better model was not taken; "" where none was passed over.

        Raises:
            Ex4dError: as `nature`.
        """
        ...

    def fits(self, height: int, width: int, options: Mapping[str, Value], commercial: bool) -> str:
        """Whether the memory that is free suffices for frames of that size: "", or a sentence with both numbers.

        Raises:
            Ex4dError: as `nature`.
        """
        ...

    def identity(self, options: Mapping[str, Value], commercial: bool, progress: Progress = nobody) -> dict[str, str]:
        """sha256 of every file that decides the depth, by its name; {} where there are no weights.

        Weights that were never seen before are read for it once.

        Raises:
            Ex4dError: as `nature`.
        """
        ...

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        """Depth of every frame, in order, each as soon as it is known. Memory does not grow with the clip's length.

        Raises:
            Ex4dError: whatever `progress` raises; as `nature`; LIMIT where memory does not suffice; BAD_INPUT for files
                that do not fit the clip; INTERNAL where a network gives no numbers.
        """
        ...
