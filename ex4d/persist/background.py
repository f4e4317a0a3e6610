# SPDX-License-Identifier: Apache-2.0
"""Filling the holes of a rendered frame with background that other frames of the clip saw.

A hole is filled only where all of the way from the new camera to the background is known to be empty: before what this
frame's source camera sees, or before the still background that another frame saw (`ex4d.persist.space`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ex4d.doors import choose
from ex4d.mesh.lift import adjust_depth
from ex4d.mesh.surface import plain
from ex4d.persist.align import Affine, align, align_all
from ex4d.persist.evidence import depth_of, edge_reach, grown, key_frames
from ex4d.persist.layers import Layer, build_layers, shows
from ex4d.persist.space import Camera, clear_ways, filled_space, solid, things
from ex4d.render.clip_space import to_clip
from ex4d.render.frame import NEAR
from ex4d.render.rasterizers import DEFAULT, RASTERIZERS
from ex4d.render.resolve import resolve
from ex4d.values import BORDER, F32, F64, U8, Bool, DWMesh, Intrinsics, Scene, SourceModel

_FIRST = 1.01  # ratio of depths within which an earlier layer is shown rather than a later one


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
    alignment: tuple[Affine, ...]  # of each frame of the scene: what brings its disparity to that of the layers

    def view(
        self,
        source: SourceModel,
        index: int,
        world_from_camera: F64,
        intrinsics: Intrinsics,
        *,
        wanted: Bool | None = None,
        cleared: bool = False,
        rasterizer: str = DEFAULT,
    ) -> View:
        """What a camera sees of the background at one frame of a shot.

        Args:
            source: the state of the source mesh; what the artist set moves the background in the same way.
            index: the frame of the shot.
            world_from_camera: [4, 4] pose of the new camera in the scene's world.
            intrinsics: of the new camera.
            wanted: [h, w] where it is asked for; None = everywhere.
            cleared: as if all that moves were taken away; else where the way to it is known to be clear.
            rasterizer: one of `RASTERIZERS`.

        Raises:
            Ex4dError: BAD_INPUT or UNAVAILABLE for the rasterizer.
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
        mask = np.isfinite(z) if wanted is None else np.isfinite(z) & wanted
        if not cleared:
            mask = self._reached(mask, z, meshes, source, index, world_from_camera, intrinsics)
        colour[~mask], z[~mask] = 0, 0.0
        return View(colour, mask, z)

    def _mesh(self, layer: Layer, source: SourceModel, index: int) -> DWMesh:
        """A layer in agreement with the mesh of a shot's frame: its depth, and what the artist set.

        The lens is set in relation to that of the frame's own camera.
        """
        frame = int(source.frame[index])
        height, width = layer.z.shape
        own, (fx, fy, cx, cy) = (self.scene.camera.intrinsics[frame], (float(value) for value in layer.lens))
        zoom = float(source.focal[index] / own[0])
        lens = Intrinsics(
            width, height, fx * zoom, fy * zoom,
            cx + float(source.cx[index] - own[2]), cy + float(source.cy[index] - own[3]),
        )  # fmt: skip
        scale, shift = (float(source.disparity_scale[index]), float(source.disparity_shift[index]))
        aligned, off = self.alignment[frame]
        z = adjust_depth(layer.z, scale / aligned, shift - scale * off / aligned)
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
        """Where of `mask` the way to the background is clear."""
        frame = int(source.frame[index])
        focal, cx, cy, scale, shift = (
            float(values[index])
            for values in (source.focal, source.cx, source.cy, source.disparity_scale, source.disparity_shift)
        )
        own_z = adjust_depth(depth_of(self.scene, frame), scale, shift)
        own = Camera(solid(own_z), self.scene.camera.world_from_camera[frame], np.array([focal, focal, cx, cy]))
        moving = self._moving(frame)
        around = grown(moving, edge_reach(*moving.shape))
        others = []
        for layer, mesh in zip(self.layers, meshes, strict=True):
            disparity, lens = (solid(mesh.depth[BORDER:-BORDER, BORDER:-BORDER]), mesh.intrinsics)
            if layer.same_camera(own.world_from_camera, self.scene.camera.intrinsics[frame]):
                disparity = np.where(around, disparity, np.maximum(disparity, own.disparity))
            others.append(Camera(disparity, layer.world_from_camera, np.array([lens.fx, lens.fy, lens.cx, lens.cy])))
        filled = filled_space(moving, own_z, focal)
        return clear_ways(mask, z, world_from_camera, intrinsics, own, others, filled)

    def _moving(self, frame: int) -> Bool:
        """What of a frame is not known to stand still, [H, W]."""
        scene = self.scene
        z = adjust_depth(depth_of(scene, frame), *self.alignment[frame])
        pose, lens = (scene.camera.world_from_camera[frame], scene.camera.intrinsics[frame])
        moving = np.ones(z.shape, np.bool_)
        for layer in self.layers:
            moving &= ~shows(layer, z, pose, lens, scene.clip.frames[frame])
        return things(moving)


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
    aligned, of_keys = align(keys)
    layers = build_layers(aligned, step)
    return Background(scene, tuple(layers), align_all(scene, aligned, of_keys))


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
    """What a camera sees of a layer's faces: no skirts, so that layers do not hide each other."""
    whole = plain(mesh)
    surface = dataclasses.replace(whole, faces=whole.faces[whole.valid], valid=whole.valid[whole.valid])
    pose = np.linalg.inv(layer.world_from_camera) @ world_from_camera
    position = to_clip(surface.points, pose, intrinsics, NEAR * float(mesh.depth.min()))
    door = choose(RASTERIZERS, rasterizer, "rasterizer")
    ids = door.visible(position, surface.faces, (intrinsics.height, intrinsics.width))
    return resolve(ids, position, surface, layer.picture)
