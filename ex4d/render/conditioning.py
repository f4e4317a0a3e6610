# SPDX-License-Identifier: Apache-2.0
"""A shot → what the generator is told about it: colour and mask of every frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ex4d.cameras import check_path, intrinsics_at
from ex4d.memory import check_memory
from ex4d.render.frame import render_frame
from ex4d.render.rasterizers import DEFAULT
from ex4d.scene import scene_mesh
from ex4d.values import U8, Bool, Conditioning, Shot
from shared_protocol.errors import EMPTY_VIEW, SIZE_MISMATCH, Ex4dError

OnFrame = Callable[[int, U8, Bool, float], None]
Known = Callable[[int], tuple[U8, Bool] | None]


def render_conditioning(
    shot: Shot,
    on_frame: OnFrame | None = None,
    *,
    known: Known = lambda index: None,
    use_dwmesh: bool = True,
    rasterizer: str = DEFAULT,
) -> Conditioning:
    """Renders every frame of a shot.

    Args:
        shot: scene, camera, and the state of the source mesh at each frame.
        on_frame: called as on_frame(index, colour, mask, coverage) after each frame, in order; it may raise to stop.
        known: gives colour and mask of a frame that was rendered earlier, so that it is not rendered again.
        use_dwmesh: see `render_frame`.
        rasterizer: one of `RASTERIZERS`.

    Raises:
        Ex4dError: EMPTY_VIEW when no frame shows any of the surface (after the last frame), SIZE_MISMATCH
            when camera and source have differing lengths, BAD_INPUT for a camera that cannot be used, LIMIT for more
            frames than fit into memory.
    """
    path, source = shot.path, shot.source
    check_path(path)
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
    for index in range(total):
        earlier = known(index)
        if earlier is not None:
            colour[index], mask[index] = earlier
        else:
            colour[index], mask[index], _ = render_frame(
                scene_mesh(shot.scene, source, index),
                shot.scene.clip.frames[source.frame[index]],
                path.world_from_camera[index],
                intrinsics_at(path, index),
                use_dwmesh=use_dwmesh,
                rasterizer=rasterizer,
            )
        coverage[index] = mask[index].mean()
        if on_frame is not None:
            on_frame(index, colour[index], mask[index], float(coverage[index]))
    if not coverage.any():
        raise Ex4dError(
            EMPTY_VIEW,
            "The camera sees none of the reconstructed surface.",
            "Move it in front of the mesh or turn it towards it.",
        )
    return Conditioning(shot, colour, mask, coverage)
