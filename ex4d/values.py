# SPDX-License-Identifier: Apache-2.0
"""The values that flow through the engine, one frozen dataclass each. Functions elsewhere turn one into the next.

Conventions (`docs/architecture.md`): OpenCV camera axes (x right, y down, z forward), pixel centres at +0.5, z-depth
(not ray length), scene units, frames sRGB-encoded, masks True where the source camera saw the surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

BORDER = 2  # vertices that the mesh has beyond the picture on each side: the picture's edge, and the skirt


@dataclass(frozen=True, eq=False)
class Clip:
    """Pictures from one camera. Pixels are square and the picture is upright: the reader saw to that."""

    frames: U8  # [T, H, W, 3], sRGB
    fps: Fraction
    name: str
    notes: tuple[str, ...] = ()  # what the reader did on the way in, for a person ("rotated by 90 degrees")
    scale: float = 1.0  # width of `frames` over that of the upright, square-pixel picture in the file
    focal: float | None = None  # pixels of `frames`, where the file tells it ...
    lens: str = ""  # ... and how it does, for a person ("26 mm, equivalent of 35 mm film")


@dataclass(frozen=True)
class Beyond:
    """Background of a clip: sky, or what has no depth. All of it has one depth, behind everything else."""

    z: float  # exactly that
    times: float  # as far as the 99th percentile of what stands before it


@dataclass(frozen=True, eq=False)
class DepthVideo:
    """z-depth of a clip."""

    z: F32  # [T, H, W], scene units, > 0, finite, larger is further
    estimator: str  # name of the door it came through
    draft: bool  # True: made from cues in the picture, good for blocking out a move and no more
    notes: tuple[str, ...] = ()
    metric: bool = False  # scene units are metres: the estimator says so, or something known was fitted to
    focal: float | None = None  # pixels of the clip's frames, where the estimator tells it
    poses: F64 | None = None  # [T, 4, 4] world_from_camera in the depth's units, where the estimator tells them
    beyond: tuple[Beyond, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # for side-cars: model, licence, what was done. JSON values


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera. All in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, eq=False)
class CameraPath:
    """A camera over time."""

    world_from_camera: F64  # [T, 4, 4], rigid
    intrinsics: F64  # [T, 4]: fx, fy, cx, cy in pixels
    width: int
    height: int
    fps: Fraction


@dataclass(frozen=True, eq=False)
class SourceModel:
    """How the source mesh stands at each frame of a shot: what an artist can drag on the mesh in Blender."""

    frame: I32  # [T] index into the scene's frames
    focal: F64  # [T] pixels of the scene's picture
    cx: F64  # [T]
    cy: F64  # [T]
    disparity_scale: F64  # [T] z' = 1 / (scale / z + shift)
    disparity_shift: F64  # [T]


@dataclass(frozen=True, eq=False)
class DWMesh:
    """One frame's depth watertight mesh: a grid with one vertex per texel of `depth`.

    With H, W the picture's size and B = BORDER, texel (j, i) lies on the ray through the picture's pixel position
    u = clip(i - B + 0.5, 0, W), v = clip(j - B + 0.5, 0, H): inner vertices lie on pixel centres, the next ring on
    the picture's edge with the depth of the outermost pixels, the last ring on the same rays at the far depth
    (the skirt). Two more triangles over its corners close the back.
    """

    depth: F32  # [H+4, W+4] z
    valid: Bool  # [H+3, W+3, 2] per quad: triangle below its diagonal, triangle above; False = stretched, unseen
    intrinsics: Intrinsics  # of the picture (H, W)
    lifted: F32 | None = None  # [H+4, W+4] z before the artist's adjustment, which tells where gaps are; None = `depth`


@dataclass(frozen=True, eq=False)
class Scene:
    """A reconstructed clip: what a `reconstruct` job makes."""

    clip: Clip
    mesh_depth: F32  # [T, H+4, W+4]
    mesh_valid: Bool  # [T, H+3, W+3, 2]
    camera: CameraPath  # the source camera at each frame, in the scene's world; identity poses where it stands still
    far: float  # depth of the skirt and the back
    pivot: float  # distance that preset moves turn around: a low percentile of the first frame's valid depth
    near: float  # what is near in the clip: the 1st percentile of its depth
    far_depth: float  # and what is far: the 99th
    estimator: str
    draft: bool
    notes: tuple[str, ...] = ()
    metric: bool = False  # scene units are metres
    facts: Mapping[str, Any] = field(default_factory=dict)  # where the depth comes from, as in `DepthVideo`

    def mesh(self, t: int) -> tuple[F32, Bool]:
        """Depth and validity of a frame's mesh."""
        return self.mesh_depth[t], self.mesh_valid[t]

    @property
    def intrinsics(self) -> Intrinsics:
        """The source camera's lens at the first frame; fx = fy, pixels of `clip.frames`."""
        fx, fy, cx, cy = (float(value) for value in self.camera.intrinsics[0])
        return Intrinsics(self.camera.width, self.camera.height, fx, fy, cx, cy)


@dataclass(frozen=True, eq=False)
class Shot:
    """A scene, the new camera, and the state of the source mesh at each of the new camera's frames."""

    scene: Scene
    path: CameraPath
    source: SourceModel


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditioning:
    """What the generator is told about the new shot."""

    colour: U8  # [T, h, w, 3] sRGB; where the mask is False black, but for what lossy videos have there
    mask: Bool  # [T, h, w] True = seen by the source camera
    coverage: F64  # [T] share of the picture that is seen, 0..1
    fps: Fraction
    lead_in: int = 0  # this many frames at the start only glide from the source camera to the shot's own first frame


@dataclass(frozen=True, eq=False, kw_only=True)
class ShotConditioning(Conditioning):
    """Conditioning that was rendered here: what it was rendered from is known too."""

    shot: Shot
