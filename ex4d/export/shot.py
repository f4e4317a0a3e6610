# SPDX-License-Identifier: Apache-2.0
"""A shot as files for other programs: what is in it, and writing it to a folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ex4d.cameras import load_path, save_path, static_source
from ex4d.export.ply import write_ply
from ex4d.export.posed import posed_mesh, source_camera
from ex4d.export.usd import SHOT_CAMERA, SOURCE_CAMERA, need_usd, write_cameras, write_mesh
from ex4d.scene import load_scene
from ex4d.step_folders import load_conditioning
from ex4d.values import CameraPath, Scene, SourceModel

JSON_FILES = {SOURCE_CAMERA: "source_camera.json", SHOT_CAMERA: "camera.json"}
_NEAR, _FAR = 1e-3, 100.0  # what the cameras show, in pivots and far depths: as the extension sets them in Blender


@dataclass(frozen=True, eq=False)
class ExportShot:
    """What is exported, frame by frame."""

    scene: Scene
    source: SourceModel  # how the mesh stands at each frame
    new_camera: CameraPath | None  # as many frames as `source`

    def cameras(self) -> dict[str, CameraPath]:
        """The source camera and, where there is one, the new one, by the names that they get in USD."""
        new = self.new_camera
        fps = self.scene.clip.fps if new is None else new.fps
        source = source_camera(self.scene, self.source, fps)
        return {SOURCE_CAMERA: source} if new is None else {SOURCE_CAMERA: source, SHOT_CAMERA: new}


def load_shot(scene_folder: Path, conditioning_folder: Path | None = None, camera: Path | None = None) -> ExportShot:
    """Reads a scene and what was made of it.

    Args:
        scene_folder: as `ex4d.scene.save_scene` wrote it.
        conditioning_folder: a rendered shot: its new camera, and the mesh as it stood then, without the lead-in.
        camera: a new camera by itself, in the scene's world: frame k goes with frame k of the clip, at the clip's
            rate; where it is longer, the last frame holds. With neither of the two, the clip's frames.

    Raises:
        Ex4dError: a file is missing or broken.
    """
    if conditioning_folder is not None:
        made = load_conditioning(scene_folder, conditioning_folder)
        path, own = made.shot.path, slice(made.lead_in, None)
        source = SourceModel(**{name: values[own] for name, values in vars(made.shot.source).items()})
        new = replace(path, world_from_camera=path.world_from_camera[own], intrinsics=path.intrinsics[own])
        return ExportShot(made.shot.scene, source, new)
    given = None if camera is None else load_path(camera)
    scene = load_scene(scene_folder)
    if given is None:
        return ExportShot(scene, static_source(scene, len(scene.clip.frames)), None)
    source = static_source(scene, len(given.world_from_camera))
    return ExportShot(scene, source, replace(given, fps=scene.clip.fps))


def export(
    folder: Path,
    shot: ExportShot,
    kinds: Collection[str],
    progress: Callable[[str, int, int], None],
    *,
    first_frame: int = 1,
    seen_only: bool = False,
) -> None:
    """Writes a shot: `ply/0001.ply …`, `mesh.usdc`, `camera.usda`, `source_camera.json` and `camera.json`.

    Args:
        folder: made if missing.
        shot: what to write.
        kinds: which of "ply", "usd", "camera_usd", "camera_json".
        progress: called with a phase, and how many of how many frames of it are written.
        first_frame: number of the first frame, in names and time codes.
        seen_only: PLY without the faces that the source camera did not see.

    Raises:
        Ex4dError: UNAVAILABLE for USD without usd-core, BAD_INPUT for a mesh that cannot be made, DISK.
    """
    if "usd" in kinds or "camera_usd" in kinds:
        need_usd()
    cameras, total = shot.cameras(), len(shot.source.frame)
    fps = cameras[SOURCE_CAMERA].fps
    clipping = (shot.scene.pivot * _NEAR, shot.scene.far * _FAR)
    if "camera_json" in kinds:
        for name, path in cameras.items():
            save_path(folder / JSON_FILES[name], path)
    if "camera_usd" in kinds:
        write_cameras(folder / "camera.usda", cameras, fps=fps, clipping=clipping, first_frame=first_frame)
    if "ply" in kinds:
        for t in range(total):
            file = folder / "ply" / f"{first_frame + t:04d}.ply"
            write_ply(file, posed_mesh(shot.scene, shot.source, t), seen_only=seen_only)
            progress("Writing PLY", t + 1, total)
    if "usd" in kinds:
        write_mesh(
            folder / "mesh.usdc",
            (posed_mesh(shot.scene, shot.source, t) for t in range(total)),
            cameras,
            fps=fps,
            clipping=clipping,
            first_frame=first_frame,
            on_frame=lambda done: progress("Writing USD", done, total),
        )
