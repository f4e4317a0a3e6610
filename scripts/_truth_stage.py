# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage: bodies, some of which move, and the camera that shoots them, in Blender."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np
from _truth_cameras import Lens
from _truth_files import read, write_picture
from _truth_materials import Paints
from _truth_rays import Surfaces
from _truth_shapes import Matrix4, Shape
from mathutils import Matrix

Motion = Callable[[float], Matrix4]  # where a body stands at a time 0..1 of the clip
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's camera axes to Blender's, and back


@dataclass
class Stage:
    """What a scene puts up. Blender axes: x right, y away from the camera, z up, metres."""

    draw: random.Random
    pixel: float  # how wide one is at a distance of 1
    paints: Paints = field(init=False)
    camera: Motion = field(init=False)  # world from camera at a time 0..1, the camera in Blender's axes
    camera_moves: bool = False
    _moving: list[tuple[str, Motion]] = field(default_factory=list)
    _still: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.paints = Paints(self.draw)

    def add(self, shape: Shape, material: bpy.types.Material, motion: Motion | None = None) -> None:
        """Puts a body onto the stage. Its texture is fixed to the shape's own coordinates."""
        mesh = bpy.data.meshes.new(material.name)
        mesh.from_pydata(shape.points.tolist(), [], shape.faces)
        if shape.smooth:
            mesh.shade_smooth()
        mesh.materials.append(material)
        thing = bpy.data.objects.new(material.name, mesh)
        bpy.context.scene.collection.objects.link(thing)
        if motion is not None:
            self._moving.append((thing.name, motion))

    def thin(self, radius: float, distance: float) -> float:
        """The radius of something thin at a distance, in small pictures a larger one: 0.9 pixels wide at least."""
        return max(radius, 0.45 * self.pixel * distance)

    @property
    def still(self) -> bool:
        """Nothing moves, the source camera included."""
        return not self._moving and not self.camera_moves

    def to_time(self, u: float) -> None:
        """Moves every body to where it stands at time `u`."""
        for name, motion in self._moving:
            bpy.data.objects[name].matrix_world = Matrix(motion(u).tolist())
        bpy.context.view_layer.update()

    def source_poses(self, frames: int) -> np.ndarray:
        """The source camera's poses [T, 4, 4], OpenCV axes, in the world of the first."""
        poses = np.stack([self.camera(time_of(k, frames)) @ FLIP for k in range(frames)])
        poses = np.linalg.inv(poses[0]) @ poses
        poses[0] = np.eye(4)  # not nearly, but exactly
        return poses

    def surfaces(self) -> Surfaces:
        """The triangles as Blender evaluates them now, in the world of the first source camera."""
        depsgraph = bpy.context.evaluated_depsgraph_get()
        moving = {name for name, _ in self._moving}
        things = [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]
        if self._still is None:
            still = [_triangles(thing, depsgraph) for thing in things if thing.name not in moving]
            self._still = np.concatenate(still)
        now = [_triangles(thing, depsgraph) for thing in things if thing.name in moving]
        world = np.linalg.inv(self.camera(0.0) @ FLIP)
        return Surfaces(np.concatenate([self._still, *now]) @ world[:3, :3].T + world[:3, 3])

    def aim(self, pose: Matrix4) -> None:
        """Puts Blender's camera where a pose says, as in `source_poses`."""
        bpy.context.scene.camera.matrix_world = Matrix((self.camera(0.0) @ FLIP @ pose @ FLIP).tolist())

    def render(self, path: Path, pose: Matrix4) -> None:
        """The picture of a camera with this pose, 8-bit PNG."""
        self.aim(pose)
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "picture.png")
            bpy.context.scene.render.filepath = str(picture)
            with _quiet():
                bpy.ops.render.render(write_still=True)
            write_picture(path, read(picture))  # without the time of day that Blender notes in its files


def time_of(frame: int, frames: int) -> float:
    """0..1 for a frame counted from 0."""
    return frame / max(frames - 1, 1)


def empty_stage(lens: Lens, samples: int, draw: random.Random) -> Stage:
    """A new file with nothing but a camera, set up to render pictures whose colours are those of the materials.

    Pixels are filtered as Cycles does by default: Blackman-Harris, 1.5 pixels wide.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples, scene.cycles.seed = samples, 0
    scene.cycles.use_adaptive_sampling = scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 0
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    scene.render.use_persistent_data = True
    scene.render.resolution_x, scene.render.resolution_y = lens.width, lens.height
    scene.render.resolution_percentage = 100
    scene.render.dither_intensity = 0.0
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0.0, 1.0
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth, settings.compression = "PNG", "RGB", "8", 0
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", 36.0
    camera.lens = 36.0 * lens.focal / lens.width
    camera.clip_start, camera.clip_end = 0.001, 1000.0
    scene.camera = bpy.data.objects.new("camera", camera)
    scene.collection.objects.link(scene.camera)
    return Stage(draw, 1.0 / lens.focal)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the lines that Blender prints for every render, from outside of Python, to itself."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _triangles(thing: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> np.ndarray:
    """Corners [N, 3, 3] in Blender's world, float64."""
    evaluated = thing.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    mesh.calc_loop_triangles()
    points = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", points)
    corners = np.empty(len(mesh.loop_triangles) * 3, np.int32)
    mesh.loop_triangles.foreach_get("vertices", corners)
    matrix = np.array(evaluated.matrix_world, np.float64)
    world = points.reshape(-1, 3).astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    evaluated.to_mesh_clear()
    return world[corners].reshape(-1, 3, 3)
