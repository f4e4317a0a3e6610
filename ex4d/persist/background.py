# SPDX-License-Identifier: Apache-2.0
"""Filling the holes of a rendered frame with background that other frames of the clip saw.

A hole is filled only where all of the way from the new camera to the background is known to be empty: before what this
frame's source camera sees, or before the still background that another frame saw. Behind things that move, space is
taken to be filled as far back as those things may reach; behind things that stand still nothing is known, unless a
moving camera saw it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.doors import choose
from ex4d.mesh.lift import adjust_depth
from ex4d.mesh.skirts import Surface, closed
from ex4d.persist.evidence import SAME_DEPTH, edge_reach, grown, jumps, key_frames
from ex4d.persist.kernels import clear_ways
from ex4d.persist.layers import Layer, build_layers, shows
from ex4d.render.clip_space import to_clip
from ex4d.render.compiled import in_parallel, threads
from ex4d.render.frame import NEAR
from ex4d.render.rasterizers import DEFAULT, RASTERIZERS
from ex4d.render.resolve import resolve
from ex4d.values import BORDER, F32, F64, U8, Bool, DWMesh, Intrinsics, Scene, SourceModel

_THICK = 1.0  # depth of a moving thing, in widths of it as the source camera sees it
_SLACK = 0.01
_MARGIN = 0.015
_STRIDE = 1.0


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees of the background."""

    colour: U8  # [h, w, 3] sRGB, black where the mask is False
    mask: Bool  # [h, w] True = background that may fill a hole
    z: F32  # [h, w] z-depth in the new camera, 0 where the mask is False


@dataclass(frozen=True, eq=False)
class Background:
    """The still background of a scene (`build_background`)."""

    scene: Scene
    layers: tuple[Layer, ...]

    def view(
        self,
        source: SourceModel,
        index: int,
        world_from_camera: F64,
        intrinsics: Intrinsics,
        *,
        wanted: Bool | None = None,
        rasterizer: str = DEFAULT,
    ) -> View:
        """What a camera sees of the background at one frame of a shot.

        Args:
            source: the state of the source mesh; what the artist set moves the background in the same way.
            index: the frame of the shot.
            world_from_camera: [4, 4] pose of the new camera in the scene's world.
            intrinsics: of the new camera.
            wanted: [h, w] where it is asked for; None = everywhere.
            rasterizer: one of `RASTERIZERS`.
        """
        shape = (intrinsics.height, intrinsics.width)
        colour, z = np.zeros((*shape, 3), np.uint8), np.full(shape, np.inf, np.float32)
        if not self.layers or (wanted is not None and not wanted.any()):
            return View(colour, np.zeros(shape, np.bool_), np.zeros(shape, np.float32))
        meshes = [self._mesh(layer, source, index) for layer in self.layers]
        for layer, mesh in zip(self.layers, meshes, strict=True):
            own_colour, own_mask, own_z = _draw(layer, mesh, world_from_camera, intrinsics, rasterizer)
            better = own_mask & (own_z * _FIRST < z)
            colour[better], z[better] = own_colour[better], own_z[better]
        mask = np.isfinite(z)
        if wanted is not None:
            mask &= wanted
        mask &= self._reached(mask, z, meshes, source, index, world_from_camera, intrinsics)
        colour[~mask], z[~mask] = 0, 0.0
        return View(colour, mask, z)

    def _mesh(self, layer: Layer, source: SourceModel, index: int) -> DWMesh:
        """A layer as the artist set the source mesh: lens relative to that of the frame's own camera, disparity."""
        height, width = layer.z.shape
        own = self.scene.camera.intrinsics[source.frame[index]]
        fx, fy, cx, cy = (float(value) for value in layer.lens)
        zoom = float(source.focal[index] / own[0])
        lens = Intrinsics(
            width, height, fx * zoom, fy * zoom,
            cx + float(source.cx[index] - own[2]), cy + float(source.cy[index] - own[3]),
        )  # fmt: skip
        z = adjust_depth(layer.z, float(source.disparity_scale[index]), float(source.disparity_shift[index]))
        return DWMesh(np.pad(z, BORDER, mode="edge"), layer.drawn, lens)

    def _reached(
        self,
        mask: Bool,
        z: F32,
        meshes: list[DWMesh],
        source: SourceModel,
        index: int,
        world_from_camera: F64,
        intrinsics: Intrinsics,
    ) -> Bool:
        """Where the way to the background is clear."""
        frame = int(source.frame[index])
        pose = self.scene.camera.world_from_camera[frame]
        own_z = self.scene.mesh_depth[frame, BORDER:-BORDER, BORDER:-BORDER]
        adjusted = adjust_depth(own_z, float(source.disparity_scale[index]), float(source.disparity_shift[index]))
        near, far = _filled_space(self._moving(frame), adjusted, float(source.focal[index]))
        own_lens = [float(values[index]) for values in (source.focal, source.focal, source.cx, source.cy)]
        lenses = np.array(
            [own_lens, *([m.intrinsics.fx, m.intrinsics.fy, m.intrinsics.cx, m.intrinsics.cy] for m in meshes)]
        )
        poses = [pose, *(layer.world_from_camera for layer in self.layers)]
        matrices = np.stack([np.linalg.inv(camera) @ world_from_camera for camera in poses])
        seen_z = [adjusted, *(mesh.depth[BORDER:-BORDER, BORDER:-BORDER] for mesh in meshes)]
        disparity = np.stack([_solid(values) for values in seen_z])
        rows, columns = np.nonzero(mask)
        depth = z[rows, columns]
        found = np.zeros(len(rows), np.bool_)
        lens = np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy])

        def part(start: int, stop: int) -> None:
            clear_ways(
                rows, columns, depth, lens, matrices, lenses, disparity, near, far,
                (_SLACK, _MARGIN, _STRIDE, SAME_DEPTH - 1.0), start, stop, found,
            )  # fmt: skip

        in_parallel(part, len(rows), 4 * threads())
        out = np.zeros_like(mask)
        out[rows, columns] = found
        return out

    def _moving(self, frame: int) -> Bool:
        """What of a frame is not known to stand still, [H, W]."""
        scene = self.scene
        z = np.ascontiguousarray(scene.mesh_depth[frame, BORDER:-BORDER, BORDER:-BORDER])
        pose, lens = scene.camera.world_from_camera[frame], scene.camera.intrinsics[frame]
        moving = np.ones(z.shape, np.bool_)
        for layer in self.layers:
            moving &= ~shows(layer, z, pose, lens, scene.clip.frames[frame])
        return moving


_FIRST = 1.01  # ratio of depths within which an earlier layer is shown rather than a later one


def build_background(scene: Scene, progress: Callable[[int, int], None] = lambda done, total: None) -> Background:
    """Finds the background of a scene. Once for all frames of a shot.

    Args:
        scene: the reconstructed clip.
        progress: called as progress(done, total); it may raise to stop.
    """
    keys = key_frames(scene)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, len(keys.z))

    progress(0, len(keys.z))
    return Background(scene, tuple(build_layers(keys, step)))


def fill(colour: U8, mask: Bool, z: F32, view: View) -> tuple[U8, Bool, F32]:
    """A rendered frame with its holes filled; what the frame itself saw stays as it is.

    Args:
        colour: [h, w, 3] sRGB.
        mask: [h, w].
        z: [h, w].
        view: the background from the same camera.

    Returns:
        Colour, mask and z-depth, as `render_frame`.
    """
    added = view.mask & ~mask
    return (
        np.where(added[..., None], view.colour, colour).astype(np.uint8),
        mask | added,
        np.where(added, view.z, z).astype(np.float32),
    )


def _draw(
    layer: Layer, mesh: DWMesh, world_from_camera: F64, intrinsics: Intrinsics, rasterizer: str
) -> tuple[U8, Bool, F32]:
    whole = closed(mesh)
    surface = Surface(whole.points, whole.faces[whole.valid], np.ones(int(whole.valid.sum()), np.bool_))
    pose = np.linalg.inv(layer.world_from_camera) @ world_from_camera
    position = to_clip(surface.points, pose, intrinsics, NEAR * float(mesh.depth.min()))
    door = choose(RASTERIZERS, rasterizer, "rasterizer")
    ids = door.visible(position, surface.faces, (intrinsics.height, intrinsics.width))
    return resolve(ids, position, surface, layer.picture)


def _solid(z: F32) -> F32:
    """Disparity with near things a pixel wider than they are seen: their rims are not to be looked through."""
    disparity = (1.0 / z).astype(np.float32)
    wider = np.asarray(cv2.dilate(disparity, np.ones((3, 3), np.uint8)), np.float32)
    return np.where(jumps(z), wider, disparity).astype(np.float32)


def _filled_space(moving: Bool, z: F32, focal: float) -> tuple[F32, F32]:
    """Between which depths something that moves fills space, at each pixel of the source camera; 1, 0 for nowhere.

    A thing is taken to be `_THICK` times as deep as it is wide.
    """
    height, width = z.shape
    count, label = cv2.connectedComponents(moving.astype(np.uint8), connectivity=8)
    inside = cv2.distanceTransform(moving.astype(np.uint8), cv2.DIST_L2, 5)
    half = np.zeros(count, np.float32)
    np.maximum.at(half, label.astype(np.intp).reshape(-1), inside.astype(np.float32).reshape(-1))
    thick = 2.0 * _THICK * half[label] / focal * z
    reach = edge_reach(width, height)
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.erode(np.where(moving, z, np.float32(np.inf)), window)
    far = cv2.dilate(np.where(moving, z + thick, np.float32(0.0)), window)
    around = grown(moving, reach)
    return np.where(around, near, 1.0).astype(np.float32), np.where(around, far, 0.0).astype(np.float32)
