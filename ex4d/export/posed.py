# SPDX-License-Identifier: Apache-2.0
"""The source mesh at each frame of a shot, placed in the scene's world, and the source camera that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ex4d.cameras import check_path
from ex4d.mesh.lift import vertices
from ex4d.scene import scene_mesh
from ex4d.values import F64, U8, CameraPath, DWMesh, Scene, SourceModel
from shared_protocol.errors import BAD_INPUT, Ex4dError


@dataclass(frozen=True, eq=False)
class PosedMesh:
    """One frame's mesh where it stands."""

    mesh: DWMesh
    picture: U8  # [H, W, 3] sRGB, the frame that the mesh was lifted from
    world_from_mesh: F64  # [4, 4] pose of the source camera, in whose axes the mesh lies

    def points(self) -> F64:
        """Positions of the vertices in the world (OpenCV axes), [V, 3] float64."""
        return np.asarray(vertices(self.mesh) @ self.world_from_mesh[:3, :3].T + self.world_from_mesh[:3, 3])


def posed_mesh(scene: Scene, source: SourceModel, t: int) -> PosedMesh:
    """The mesh at frame `t` of a shot.

    Raises:
        Ex4dError: as `ex4d.scene.scene_mesh`.
    """
    mesh = scene_mesh(scene, source, t)
    frame = int(source.frame[t])
    return PosedMesh(mesh, scene.clip.frames[frame], scene.camera.world_from_camera[frame])


def source_camera(scene: Scene, source: SourceModel, fps: Fraction) -> CameraPath:
    """The camera that sees the source picture on the mesh at each frame of a shot: its lens is the mesh's own.

    Args:
        scene: what was reconstructed.
        source: how the mesh stands at each frame.
        fps: frames per second of the shot.

    Raises:
        Ex4dError: BAD_INPUT when the shot asks for a frame that the scene has not, or for a lens that cannot be used.
    """
    camera = scene.camera
    total = len(camera.intrinsics)
    missing = (source.frame < 0) | (source.frame >= total)
    if missing.any():
        t = int(np.argmax(missing))
        raise Ex4dError(
            BAD_INPUT, f"Frame {t + 1} of the shot asks for source frame {source.frame[t] + 1}, the scene has {total}."
        )
    lens = np.stack([source.focal, source.focal, source.cx, source.cy], axis=1)
    path = CameraPath(camera.world_from_camera[source.frame], lens, camera.width, camera.height, fps)
    check_path(path)
    return path
