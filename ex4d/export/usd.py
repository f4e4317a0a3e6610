# SPDX-License-Identifier: Apache-2.0
"""The shot as USD: one animated mesh and its cameras, or the cameras alone.

USD's camera axes are x right, y up, looking along -z: a point (x, y, z) of ours is (x, -y, -z) there. The stage is Y up
with one metre for each unit, so Blender's importer, which turns Y up to Z up, brings everything in where a
reconstruction stands whose root was not moved: the source camera of the first frame looks along +Y with Z up.

    /ex4d                   Xform, the default prim
    /ex4d/mesh              Mesh: points, extent and displayColor (linear, one per vertex) at every frame;
                            primvars:seen (bool, one per face) where it changes; primvars:st, the same throughout
    /ex4d/source_camera     Camera: the one that took the clip
    /ex4d/shot_camera       Camera: the new one, where there is one

Needs usd-core, the extra "usd".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ex4d.export.posed import PosedMesh
from ex4d.files import replacing
from ex4d.mesh.lift import ray_positions
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import BORDER, F32, F64, Bool, CameraPath, Intrinsics
from shared_protocol.errors import BAD_INPUT, DISK, UNAVAILABLE, Ex4dError

ROOT = "/ex4d"
SOURCE_CAMERA, SHOT_CAMERA = "source_camera", "shot_camera"

_FLIP: F64 = np.diag([1.0, -1.0, -1.0, 1.0])  # our axes <-> USD's; its own inverse
_SENSOR = 0.36  # longer side of the picture, in tenths of a unit as USD has it: Blender's default of 36 mm
_ABOUT = (
    "Depth watertight mesh and cameras of a re-shot clip. Axes: Y up, cameras look along -Z; one unit is a metre. "
    "The world is that of the scene: (x, y, z) here is (x, -y, -z) in OpenCV axes."
)

_encoded = np.arange(256) / 255.0  # IEC 61966-2-1
_LINEAR: F32 = np.where(_encoded <= 0.04045, _encoded / 12.92, ((_encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def need_usd() -> None:
    """Raises Ex4dError(UNAVAILABLE) where usd-core is not installed."""
    try:
        import pxr.Usd  # noqa: F401
    except ImportError as error:
        raise Ex4dError(
            UNAVAILABLE, "USD files cannot be written: usd-core is missing.", 'Run pip install "ex4d-blender[usd]".'
        ) from error


def write_mesh(
    path: Path,
    meshes: Iterable[PosedMesh],
    cameras: Mapping[str, CameraPath],
    *,
    fps: Fraction,
    clipping: tuple[float, float],
    first_frame: int = 1,
    on_frame: Callable[[int], None] = lambda _: None,
) -> None:
    """Writes the mesh of every frame and the cameras as one file. One frame at a time is held in memory.

    Args:
        path: ends in .usdc or .usd; replaced in one step.
        meshes: one for each frame, all of the same size.
        cameras: name of the prim to its path, of as many frames as there are meshes.
        fps: frames per second.
        clipping: near and far distance that the cameras show, scene units.
        first_frame: time code of the first frame.
        on_frame: called with how many frames are written.

    Raises:
        Ex4dError: UNAVAILABLE without usd-core, BAD_INPUT for another ending or no frames, DISK.
    """
    if path.suffix.lower() not in (".usdc", ".usd"):  # as text, each frame would write the whole file anew
        raise Ex4dError(BAD_INPUT, f"{path.name} is not a name for an animated mesh.", "End it in .usdc or .usd.")
    need_usd()
    with replacing(path) as part, _told_in_our_words(path):
        stage = _new_stage(part, fps, first_frame)
        _define_cameras(stage, cameras, clipping, first_frame)
        count = _write_frames(stage, meshes, first_frame, on_frame)
        if not count:
            raise Ex4dError(BAD_INPUT, "There are no frames to export.")
        stage.SetEndTimeCode(first_frame + count - 1)
        stage.GetRootLayer().Save()
        del stage  # closes the file: not every system renames an open one


def write_cameras(
    path: Path,
    cameras: Mapping[str, CameraPath],
    *,
    fps: Fraction,
    clipping: tuple[float, float],
    first_frame: int = 1,
) -> None:
    """Writes cameras alone.

    Args:
        path: ends in .usda (text), .usdc or .usd (binary); replaced in one step.
        cameras: name of the prim to its path, at least one, all of the same length.
        fps: frames per second.
        clipping: near and far distance that the cameras show, scene units.
        first_frame: time code of the first frame.

    Raises:
        Ex4dError: UNAVAILABLE without usd-core, BAD_INPUT for another ending, DISK.
    """
    if path.suffix.lower() not in (".usda", ".usdc", ".usd"):
        raise Ex4dError(BAD_INPUT, f"{path.name} is not a name for a USD file.", "End it in .usda or .usdc.")
    need_usd()
    with replacing(path) as part, _told_in_our_words(path):
        stage = _new_stage(part, fps, first_frame)
        _define_cameras(stage, cameras, clipping, first_frame)
        stage.SetEndTimeCode(first_frame + max(len(camera.intrinsics) for camera in cameras.values()) - 1)
        stage.GetRootLayer().Save()
        del stage


def _new_stage(path: Path, fps: Fraction, first_frame: int) -> Any:
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.CreateNew(str(path))
    stage.GetRootLayer().documentation = _ABOUT
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(float(fps))
    stage.SetFramesPerSecond(float(fps))
    stage.SetStartTimeCode(first_frame)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, ROOT).GetPrim())
    return stage


def _write_frames(stage: Any, meshes: Iterable[PosedMesh], first_frame: int, on_frame: Callable[[int], None]) -> int:
    from pxr import Vt

    mesh = primvars = None
    seen_before: Bool | None = None
    count = 0
    for count, posed in enumerate(meshes, start=1):
        if mesh is None or primvars is None:
            mesh, primvars = _define_mesh(stage, posed.mesh.intrinsics)
        time = first_frame + count - 1
        points = (posed.points() * _FLIP.diagonal()[:3]).astype(np.float32)
        mesh.GetPointsAttr().Set(Vt.Vec3fArray.FromNumpy(points), time)
        extent = np.stack([points.min(axis=0), points.max(axis=0)])
        mesh.GetExtentAttr().Set(Vt.Vec3fArray.FromNumpy(extent), time)
        picture = np.pad(posed.picture, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge")
        primvars["displayColor"].Set(Vt.Vec3fArray.FromNumpy(_LINEAR[picture.reshape(-1, 3)]), time)
        seen = face_valid(posed.mesh)
        if seen_before is None or not np.array_equal(seen, seen_before):  # a bool holds until the next sample
            primvars["seen"].Set(Vt.BoolArray.FromNumpy(seen), time)
            seen_before = seen
        stage.GetRootLayer().Save()  # appends this frame, and lets go of it
        on_frame(count)
    return count


def _define_mesh(stage: Any, camera: Intrinsics) -> tuple[Any, dict[str, Any]]:
    """The mesh with all that stays the same, and its primvars by name."""
    from pxr import Sdf, UsdGeom, Vt

    triangles = faces(camera.height, camera.width)
    mesh = UsdGeom.Mesh.Define(stage, f"{ROOT}/mesh")
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(triangles), 3, np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(triangles.reshape(-1)))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateOrientationAttr(UsdGeom.Tokens.rightHanded)
    mesh.CreateDoubleSidedAttr(True)
    mesh.CreatePointsAttr()
    mesh.CreateExtentAttr()
    api = UsdGeom.PrimvarsAPI(mesh)
    u, v = ray_positions(camera.height, camera.width)
    grid = np.stack(np.meshgrid(u / camera.width, 1.0 - v / camera.height), axis=-1).reshape(-1, 2)
    st = api.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex)
    st.Set(Vt.Vec2fArray.FromNumpy(grid.astype(np.float32)))
    return mesh, {
        "displayColor": mesh.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex),
        "seen": api.CreatePrimvar("seen", Sdf.ValueTypeNames.BoolArray, UsdGeom.Tokens.uniform),
    }


def _define_cameras(
    stage: Any, cameras: Mapping[str, CameraPath], clipping: tuple[float, float], first_frame: int
) -> None:
    from pxr import Gf, Sdf, UsdGeom

    for name, path in cameras.items():
        camera = UsdGeom.Camera.Define(stage, f"{ROOT}/{name}")
        poses = _FLIP @ path.world_from_camera @ _FLIP
        matrices = [Gf.Matrix4d(pose.T.tolist()) for pose in poses]  # USD has row vectors
        _set(camera.AddTransformOp(), matrices, first_frame, sampled=bool(np.ptp(poses, axis=0).any()))
        width, height = path.width, path.height
        fx, fy, cx, cy = path.intrinsics.T
        pixel = _SENSOR / max(width, height)
        across, up = np.full_like(fx, width * pixel), height * pixel * fx / fy
        lens = {
            camera.CreateFocalLengthAttr(): fx * pixel,
            camera.CreateHorizontalApertureAttr(): across,
            camera.CreateVerticalApertureAttr(): up,
            camera.CreateHorizontalApertureOffsetAttr(): (width / 2.0 - cx) / width * across,
            camera.CreateVerticalApertureOffsetAttr(): (cy - height / 2.0) / height * up,
        }
        zooms = bool(np.ptp(path.intrinsics, axis=0).any())
        for attribute, values in lens.items():
            # All or none: Blender's importer drops an offset without samples beside one that has them.
            _set(attribute, values.tolist(), first_frame, sampled=zooms)
        camera.CreateClippingRangeAttr(Gf.Vec2f(*clipping))
        for key, pixels in (("width", width), ("height", height)):
            # Blender shows these as custom properties; USD's own cameras know nothing of pixels.
            camera.GetPrim().CreateAttribute(f"userProperties:{key}", Sdf.ValueTypeNames.Int).Set(pixels)


def _set(attribute: Any, values: Sequence[Any], first_frame: int, *, sampled: bool) -> None:
    """A sample for each frame, or the first value for all time."""
    if not sampled:
        attribute.Set(values[0])
        return
    for t, value in enumerate(values):
        attribute.Set(value, first_frame + t)


@contextmanager
def _told_in_our_words(path: Path) -> Iterator[None]:
    from pxr import Tf

    try:
        yield
    except Tf.ErrorException as error:
        reason = error.args[0].commentary  # of several the first: the rest follow from it
        raise Ex4dError(
            DISK, f"{path} could not be written: {reason}.", "Check the space on the disk, or choose another folder."
        ) from error
