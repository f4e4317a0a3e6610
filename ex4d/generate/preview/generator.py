# SPDX-License-Identifier: Apache-2.0
"""The preview as a member of the table of generators."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

import numpy as np

from ex4d.cameras import camera_from_world, intrinsics_at
from ex4d.generate.door import GenerateRequest, Progress, nobody
from ex4d.settings import Setting, Value, read_settings
from ex4d.values import F32, U8, Bool, Intrinsics, ShotConditioning
from shared_protocol.errors import BAD_INPUT, Ex4dError

# The outermost seen pixels have the colours of both sides of an edge mixed in: they give way to what is painted, the
# next ones blend, and from this many pixels inside on nothing is touched.
_FEATHER = 2.5


class PreviewGenerator:
    """Mesh colours where seen; holes filled from other frames, the rest inpainted. Not a final picture."""

    name = "preview"
    label = "Preview (not a final picture)"
    licence = "Apache-2.0"
    commercial_use = True
    geometry = "bounded"
    lead_in = 0
    settings: tuple[Setting, ...] = ()

    def available(self) -> tuple[bool, str]:
        """It works wherever the base packages are installed."""
        missing = [module for module in ("cv2", "numba") if importlib.util.find_spec(module) is None]
        if missing:
            return False, f"missing: {', '.join(missing)} (pip install opencv-contrib-python-headless numba)."
        return True, ""

    def size(self, width: int, height: int, options: Mapping[str, Value]) -> tuple[int, int]:
        """The shot's own size."""
        read_settings(self.settings, options, self.name)
        return width, height

    def identity(self, options: Mapping[str, Value], progress: Progress = nobody) -> Mapping[str, str]:
        """It has no weights."""
        return {}

    def frames(self, request: GenerateRequest) -> Iterator[tuple[int, U8]]:
        """See `ex4d.generate.door.Generator.frames`. Nothing is drawn at random, so the seed makes no difference.

        Raises:
            Ex4dError: BAD_INPUT for any option (there are none) or a conditioning without a scene, CANCELLED.
        """
        read_settings(self.settings, request.options, self.name)
        conditioning, wanted, progress = request.conditioning, request.wanted, request.progress
        if not isinstance(conditioning, ShotConditioning):
            raise Ex4dError(
                BAD_INPUT,
                "The preview paints from the scene, and two videos do not tell it.",
                "Give the folders of a scene and its conditioning, or choose another generator.",
            )
        if not wanted:
            return
        from ex4d.generate.preview.layers import draw  # these load OpenCV and Numba
        from ex4d.generate.preview.plate import plate_of, stands_still
        from ex4d.generate.preview.world import STEPS, build_world
        from ex4d.persist import build_background

        def step(done: int) -> None:
            progress("Building the background", done, STEPS)

        shot = conditioning.shot
        source, path, camera = shot.source, shot.path, shot.scene.camera
        background = None
        if not stands_still(shot.scene):
            background = build_background(
                shot.scene, lambda done, total: progress("Finding the background", done, total)
            )
        step(0)
        colour, z, seen_from = plate_of(shot.scene, background)
        layers = build_world(shot.scene, (colour, z), step)
        plate_from_world = camera_from_world(camera.world_from_camera[seen_from])
        zoom = camera.intrinsics[seen_from, 0] / camera.intrinsics[source.frame, 0]
        centre = camera.intrinsics[seen_from, 2:] - camera.intrinsics[source.frame, 2:]
        for index in wanted:
            focal = float(source.focal[index] * zoom[index])
            lens = intrinsics_at(path, index)
            behind, covered = draw(
                layers,
                Intrinsics(
                    shot.scene.intrinsics.width, shot.scene.intrinsics.height, focal, focal,
                    float(source.cx[index] + centre[index, 0]), float(source.cy[index] + centre[index, 1]),
                ),
                (float(source.disparity_scale[index]), float(source.disparity_shift[index])),
                shot.scene.far,
                plate_from_world @ path.world_from_camera[index],
                lens,
            )  # fmt: skip
            if background is not None:
                view = background.view(
                    source, index, path.world_from_camera[index], lens, wanted=~conditioning.mask[index]
                )
                behind = np.where(view.mask[..., None], view.colour, behind).astype(np.float32)
                covered = covered | view.mask
            yield index, compose(conditioning.colour[index], conditioning.mask[index], behind, covered)


def compose(colour: U8, mask: Bool, behind: F32, covered: Bool) -> U8:
    """What was seen, over what is painted behind it.

    Args:
        colour: [h, w, 3] sRGB.
        mask: [h, w] True = seen. From the third pixel inside the mask on, the result equals `colour`.
        behind: [h, w, 3] float32 0..255.
        covered: [h, w] where `behind` has a colour; elsewhere a membrane is stretched over the gap.
    """
    import cv2

    from ex4d.generate.preview.fill import membrane

    if mask.all():
        return colour.copy()
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)  # 1 on the outermost pixels
    share = np.clip((inside - 1.0) / (_FEATHER - 1.0), 0.0, 1.0)
    share = np.where(covered, share, mask).astype(np.float32)[..., None]
    out = colour * share + behind * (np.float32(1.0) - share)
    known = covered | mask
    if not known.all():
        out = membrane(out.astype(np.float32), known)
    painted: U8 = np.clip(out + 0.5, 0.0, 255.0).astype(np.uint8)
    return painted
