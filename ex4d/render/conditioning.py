# SPDX-License-Identifier: Apache-2.0
"""A shot → what the generator is told about it: colour and mask of every frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from ex4d.cameras import camera_from_world, check_path, intrinsics_at
from ex4d.in_order import InOrder
from ex4d.memory import check_memory
from ex4d.mesh.surface import GEOMETRIES
from ex4d.render.frame import render_frame
from ex4d.render.rasterizers import DEFAULT
from ex4d.scene import scene_mesh
from ex4d.upstream.cameras import FAR, NEAR
from ex4d.upstream.mesh import UpstreamMesh, upstream_mesh
from ex4d.upstream.render import first_frame, render_upstream
from ex4d.values import BORDER, F32, U8, Bool, DWMesh, Shot, ShotConditioning
from shared_protocol.errors import BAD_INPUT, EMPTY_VIEW, SIZE_MISMATCH, Ex4dError

View = tuple[U8, Bool, F32]  # colour, mask, z-depth
OnFrame = Callable[[int, U8, Bool, F32, float], None]
Known = Callable[[int], View | None]


@dataclass(frozen=True)
class RenderOptions:
    """How a shot is rendered."""

    geometry: str = "closed"  # one of `GEOMETRIES`
    persist: bool = False  # still background that other frames saw fills holes
    rasterizer: str = DEFAULT
    filter_type: str = "angle"  # "upstream" geometry only: "angle" or "boundary"
    use_dwmesh: bool = True  # "upstream" geometry only: False drops stretched faces instead of letting them hide

    def effective(self) -> dict[str, str | bool]:
        """Those that made the pictures what they are, by name: for side-cars."""
        told = asdict(self)
        if self.geometry != "upstream":
            del told["filter_type"], told["use_dwmesh"]
        return told

    def check(self) -> None:
        """Raises Ex4dError(BAD_INPUT) for options that cannot be used together."""
        if self.geometry not in GEOMETRIES:
            raise Ex4dError(
                BAD_INPUT, f"There is no geometry called '{self.geometry}'.", f"Choose one of: {', '.join(GEOMETRIES)}."
            )
        if self.geometry != "upstream" and (self.filter_type != "angle" or not self.use_dwmesh):
            raise Ex4dError(
                BAD_INPUT,
                "The filter type and the choice of mesh belong to the public code's geometry.",
                "Add --geometry upstream, or leave out --filter_type and --use_dwmesh.",
            )
        if self.geometry == "upstream" and self.persist:
            raise Ex4dError(
                BAD_INPUT,
                "Background that stays is not part of the public code's geometry.",
                "Use --persist with --geometry closed or bounded.",
            )


def render_conditioning(
    shot: Shot,
    on_frame: OnFrame | None = None,
    *,
    known: Known = lambda index: None,
    options: RenderOptions = RenderOptions(),
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> ShotConditioning:
    """Renders every frame of a shot.

    Args:
        shot: scene, camera, and the state of the source mesh at each frame.
        on_frame: called as on_frame(index, colour, mask, z, coverage) after each frame, in order; z is [h, w] float32
            z-depth in the new camera, 0 where there is no surface. It may raise to stop.
        known: gives colour, mask and z of a frame that was rendered earlier, so that it is not rendered again.
        options: how.
        progress: called as progress(phase, done, total) while what all frames share is prepared; it may raise to stop.

    Raises:
        Ex4dError: EMPTY_VIEW when no frame shows any of the surface (after the last frame), SIZE_MISMATCH
            when camera and source have differing lengths, BAD_INPUT for a camera or options that cannot be used,
            LIMIT for more frames than fit into memory.
    """
    path, source = shot.path, shot.source
    check_path(path)
    options.check()
    total = len(path.world_from_camera)
    if len(source.frame) != total:
        raise Ex4dError(
            SIZE_MISMATCH, f"The camera has {total} frames, the source mesh {len(source.frame)}.", "Ship both again."
        )
    check_memory(
        total * path.height * path.width * 4,
        f"{total} frames of {path.width}x{path.height}",
        "Render fewer frames at once, or smaller ones.",
    )
    colour = np.empty((total, path.height, path.width, 3), np.uint8)
    mask = np.empty((total, path.height, path.width), np.bool_)
    coverage = np.empty(total, np.float64)
    render = _upstream(shot, options) if options.geometry == "upstream" else _own(shot, options)
    keep = _persistence(shot, options, progress) if options.persist else None

    def view(index: int) -> tuple[int, View]:
        earlier = known(index)
        if earlier is None:
            earlier = render(index) if keep is None else keep(index, *render(index))
        return index, earlier

    def ready(found: tuple[int, View]) -> None:
        index, (colour[index], mask[index], z) = found
        coverage[index] = mask[index].mean()
        if on_frame is not None:
            on_frame(index, colour[index], mask[index], z, float(coverage[index]))

    # Two frames at once: while one draws on all cores, the mesh of the other is made on one.
    with InOrder(ready, 2 if keep is None else 1) as rendering:
        for index in range(total):
            rendering.add(partial(view, index))
    if not coverage.any():
        raise Ex4dError(
            EMPTY_VIEW,
            "The camera sees none of the reconstructed surface.",
            "Move it in front of the mesh or turn it towards it.",
        )
    return ShotConditioning(shot=shot, colour=colour, mask=mask, coverage=coverage, fps=shot.path.fps)


def _own(shot: Shot, options: RenderOptions) -> Callable[[int], View]:
    """What renders the frame of an index with our mesh."""
    scene, path, source = shot.scene, shot.path, shot.source

    def frame(index: int) -> View:
        shown = int(source.frame[index])
        return render_frame(
            scene_mesh(scene, source, index),
            scene.clip.frames[shown],
            camera_from_world(scene.camera.world_from_camera[shown]) @ path.world_from_camera[index],
            intrinsics_at(path, index),
            geometry=options.geometry,
            rasterizer=options.rasterizer,
        )

    return frame


def _upstream(shot: Shot, options: RenderOptions) -> Callable[[int], View]:
    """The same as the public code does it; its first frame is the source's, whatever the camera."""
    scene, path, source = shot.scene, shot.path, shot.source
    if not any(_within_upstream(scene_mesh(scene, source, t)) for t in range(len(source.frame))):
        raise Ex4dError(
            BAD_INPUT,
            f"No depth of the clip lies between {NEAR:g} and {FAR:g} units, where the public code's camera sees.",
            "Give depth in another unit, or use --geometry closed.",
        )

    def frame(index: int) -> View:
        shown = int(source.frame[index])
        picture = scene.clip.frames[shown]
        mesh = upstream_mesh_at(shot, options, index)
        pose = camera_from_world(scene.camera.world_from_camera[shown]) @ path.world_from_camera[index]
        colour, mask, z = render_upstream(mesh, pose, intrinsics_at(path, index), rasterizer=options.rasterizer)
        if index == 0 and picture.shape == colour.shape:
            colour, mask = first_frame(picture)
            z = scene_mesh(scene, source, 0).depth[BORDER:-BORDER, BORDER:-BORDER].copy()
        return colour, mask, z

    return frame


def upstream_mesh_at(shot: Shot, options: RenderOptions, index: int) -> UpstreamMesh:
    """The public code's mesh of the source at one frame of a shot, in the source camera's axes."""
    ours = scene_mesh(shot.scene, shot.source, index)
    return upstream_mesh(
        np.ascontiguousarray(ours.depth[BORDER:-BORDER, BORDER:-BORDER]),
        shot.scene.clip.frames[int(shot.source.frame[index])],
        ours.intrinsics,
        filter_type=options.filter_type,
        use_dwmesh=options.use_dwmesh,
    )


def _within_upstream(mesh: DWMesh) -> bool:
    """Whether any of the picture lies between that code's clipping planes."""
    depth = mesh.depth[BORDER:-BORDER, BORDER:-BORDER]
    return bool(((depth > NEAR) & (depth < FAR)).any())


def _persistence(
    shot: Shot, options: RenderOptions, progress: Callable[[str, int, int], None]
) -> Callable[[int, U8, Bool, F32], View]:
    """What fills a rendered frame with still background that other frames saw."""
    from ex4d.persist import build_background, fill  # loads Numba

    background = build_background(shot.scene, lambda done, total: progress("Finding the background", done, total))

    def filled(index: int, colour: U8, mask: Bool, z: F32) -> View:
        view = background.view(
            shot.source,
            index,
            shot.path.world_from_camera[index],
            intrinsics_at(shot.path, index),
            wanted=~mask,
            rasterizer=options.rasterizer,
        )
        return fill(colour, mask, z, view)

    return filled
