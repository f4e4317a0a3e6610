# SPDX-License-Identifier: Apache-2.0
"""A ground-truth scene through the engine: what is measured is what a shot would be made from."""

from __future__ import annotations

from collections.abc import Callable

from ex4d.cameras import static_source
from ex4d.evaluate.geometry import Rendered
from ex4d.evaluate.ground_truth import MoveTruth, SceneTruth
from ex4d.render import render_conditioning
from ex4d.render.conditioning import RenderOptions
from ex4d.scene import build_scene
from ex4d.values import F32, U8, Bool, Clip, DepthVideo, Scene, Shot


def reconstructed(truth: SceneTruth, z: F32, geometry: str = "closed") -> Scene:
    """The scene that the engine makes of the clip, its true camera and some depth [T, H, W], for a kind of mesh.

    Raises:
        Ex4dError: as `ex4d.scene.build_scene`.
    """
    clip = Clip(truth.colour, truth.camera.fps, truth.name)
    return build_scene(clip, DepthVideo(z, "file", False), camera=truth.camera, sharpen=geometry != "upstream")


def rendered(
    scene: Scene, move: MoveTruth, options: RenderOptions, on_frame: Callable[[int], None] = lambda index: None
) -> list[Rendered]:
    """Colour, mask and depth of every frame of a move.

    Args:
        scene: made by `reconstructed`.
        move: whose camera it is seen from.
        options: geometry and the rest.
        on_frame: called with each frame's index when it is rendered.

    Raises:
        Ex4dError: as `ex4d.render.render_conditioning`.
    """
    frames: list[Rendered] = []

    def keep(index: int, colour: U8, mask: Bool, z: F32, coverage: float) -> None:
        frames.append((colour, mask, z))
        on_frame(index)

    shot = Shot(scene, move.camera, static_source(scene, len(move.camera.world_from_camera)))
    render_conditioning(shot, keep, options=options)
    return frames
