# SPDX-License-Identifier: Apache-2.0
"""Other ways to find the triangle behind each pixel, each fed in its own natural form.

All get the same: vertices in world axes (float64), faces, the camera. All give the same: an [h, w] int32 image of
index + 1 in the computer's main memory. What depends on the size alone (ray directions in camera axes, shaders) is made
once and not counted; what depends on the mesh or the camera is made for every frame: our transform, an upload of
vertices and faces, a tree over triangles.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from benchmarks._scene import View
from ex4d.render.clip_space import projection, to_clip
from ex4d.render.rasterizers import RASTERIZERS
from ex4d.values import F64, I32, Intrinsics


class Contender(Protocol):
    """One way, for views of one size."""

    def visible(self, view: View) -> I32:
        """Index of the nearest face + 1 at each pixel's centre, 0 where there is none."""
        ...


class Ours:
    """A rasterizer of the project, by its name."""

    def __init__(self, name: str) -> None:
        self._door = RASTERIZERS[name]

    def visible(self, view: View) -> I32:
        """See `Contender`."""
        position = to_clip(view.surface.points, view.world_from_camera, view.intrinsics, view.near)
        return self._door.visible(position, view.surface.faces, view.resolution)


class Open3D:
    """open3d.t.geometry.RaycastingScene: a tree over the triangles (Embree), then one ray for each pixel."""

    def __init__(self, view: View) -> None:
        import open3d

        self._core, self._scene = open3d.core, open3d.t.geometry.RaycastingScene
        self._directions = _directions(view.intrinsics)

    def visible(self, view: View) -> I32:
        """See `Contender`. Rays start at the near plane."""
        scene = self._scene()
        points, faces = view.surface.points.astype(np.float32), view.surface.faces.astype(np.uint32)
        scene.add_triangles(self._core.Tensor(points), self._core.Tensor(faces))
        rays = np.empty((*view.resolution, 6), np.float32)
        direction = self._directions @ view.world_from_camera[:3, :3].T
        rays[..., :3] = view.world_from_camera[:3, 3] + view.near * direction
        rays[..., 3:] = direction
        found = scene.cast_rays(self._core.Tensor(rays))["primitive_ids"].numpy()
        return np.asarray(found + np.uint32(1), np.int32)  # nothing is the largest number: it becomes 0


class ModernGL:
    """OpenGL without a window (EGL); on a machine without a GPU Mesa's llvmpipe draws."""

    def __init__(self, view: View) -> None:
        import moderngl

        where = {"backend": "egl"} if sys.platform == "linux" else {}
        self._gl = moderngl.create_standalone_context(require=330, **where)
        self.renderer = str(self._gl.info["GL_RENDERER"])
        self._program = self._gl.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._vertices = self._gl.buffer(reserve=len(view.surface.points) * 12, dynamic=True)
        self._faces = self._gl.buffer(reserve=view.surface.faces.nbytes, dynamic=True)
        self._mesh = self._gl.vertex_array(self._program, [(self._vertices, "3f", "point")], self._faces)
        height, width = view.resolution
        self._ids = self._gl.texture((width, height), 1, dtype="i4")
        self._target = self._gl.framebuffer([self._ids], self._gl.depth_renderbuffer((width, height)))
        self._out = np.empty((height, width), np.int32)

    def visible(self, view: View) -> I32:
        """See `Contender`."""
        import moderngl

        points = view.surface.points.astype(np.float32)
        for buffer, data in ((self._vertices, points), (self._faces, view.surface.faces)):
            buffer.orphan(data.nbytes)
            buffer.write(data)
        matrix = projection(view.intrinsics, view.near) @ np.linalg.inv(view.world_from_camera)
        self._program["clip_from_world"].write(np.ascontiguousarray(matrix.T, np.float32))
        self._target.use()
        self._gl.enable_only(moderngl.DEPTH_TEST)
        self._target.clear()
        self._mesh.render(moderngl.TRIANGLES, vertices=view.surface.faces.size)
        self._ids.read_into(self._out)
        return self._out.copy()


_VERTEX = """
#version 330
in vec3 point;
uniform mat4 clip_from_world;
void main() { gl_Position = clip_from_world * vec4(point, 1.0); }
"""
_FRAGMENT = """
#version 330
out int id;
void main() { id = gl_PrimitiveID + 1; }
"""


def _directions(camera: Intrinsics) -> F64:
    """[h, w, 3] rays through the pixels' centres in camera axes, with z = 1: their parameter is z-depth."""
    out = np.ones((camera.height, camera.width, 3))
    out[..., 0] = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    out[..., 1] = ((np.arange(camera.height) + 0.5 - camera.cy) / camera.fy)[:, None]
    return out


RIVALS: dict[str, Any] = {"Open3D": Open3D, "moderngl": ModernGL}


def rivals(view: View) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that are installed, made ready for views like this one; and what each is, or why it is missing."""
    ready: dict[str, Contender] = {}
    told: dict[str, str] = {}
    for name, make in RIVALS.items():
        try:
            ready[name] = make(view)
            told[name] = f"{version(name.lower())} {getattr(ready[name], 'renderer', '')}".strip()
        except ImportError as error:
            told[name] = f"not installed (pip install 'ex4d-blender[bench]'): {error}"
        except Exception as error:  # a graphics library fails in its own ways: it is said, and left out
            told[name] = f"does not work here: {error}"
    return ready, told
