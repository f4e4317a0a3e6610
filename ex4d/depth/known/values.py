# SPDX-License-Identifier: Apache-2.0
"""What an artist knows of a shot beyond its pictures.

Pixels are those of the clip as it comes in (`Clip.scale` is 1), x to the right and y down, centres at +0.5; frames are
counted from 0 within the frames that are used; lengths are scene units.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ex4d.values import F64, I32

LENGTHS = 1e-6, 1e9  # scene units that make a distance, a height or a depth that somebody knows


@dataclass(frozen=True, eq=False)
class KnownPoints:
    """Points whose z-depth is known: measured on set, or of a track that something else solved.

    Frames that are not used are left aside, so that points of a whole shot do for a part of it.
    """

    frame: I32  # [N]
    at: F64  # [N, 2] x, y pixels
    z: F64  # [N] z-depth in that frame's source camera, > 0


@dataclass(frozen=True, eq=False)
class WorldPoints:
    """Points whose place is known, where the source camera's path is known in the same world: a tracker's bundles."""

    frame: I32  # [N] as in `KnownPoints`
    at: F64  # [N, 2] x, y pixels
    world: F64  # [N, 3] in the world that the source camera's path was given in


@dataclass(frozen=True)
class Measure:
    """Two points of a frame and how far they are from each other in the world."""

    frame: int
    a: tuple[float, float]  # x, y pixels
    b: tuple[float, float]
    distance: float


@dataclass(frozen=True)
class Pick:
    """A point of a frame."""

    frame: int
    x: float  # pixels
    y: float


@dataclass(frozen=True, eq=False)
class Known:
    """All of it. Each is usable alone."""

    points: KnownPoints | WorldPoints | None = None
    measures: tuple[Measure, ...] = ()
    camera_height: float | None = None  # of the first frame's camera above the ground
    ground: tuple[Pick, ...] = ()  # points on the ground; () = it is looked for in the lower part of the picture

    def __bool__(self) -> bool:
        """Whether anything is known that depth can be fitted to."""
        return self.points is not None or bool(self.measures) or self.camera_height is not None

    def told(self) -> dict[str, Any]:
        """JSON values for a side-car; of points, how many there are."""
        return {
            "points": 0 if self.points is None else len(self.points.frame),
            "measures": [asdict(measure) for measure in self.measures],
            "camera_height": self.camera_height,
            "ground": [asdict(pick) for pick in self.ground],
        }
