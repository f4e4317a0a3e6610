# SPDX-License-Identifier: Apache-2.0
"""Lead-in: extra frames before a shot that glide from the source camera to where the new camera starts.

Generators of the EX-4D kind take the first frame for a real one, so a shot has to start with what the source camera
saw. Where it does not, frames are put before it and cut from the result. They hold the source's first frame of the
shot; the camera leaves the source camera at rest and arrives with the speed that the shot begins with.
"""

from __future__ import annotations

import cv2
import numpy as np

from ex4d.cameras import camera_from_world, check_path
from ex4d.scene import scene_mesh
from ex4d.values import BORDER, F64, CameraPath, DWMesh, Shot, SourceModel
from shared_protocol.errors import BAD_INPUT, Ex4dError

MOST = 480  # frames; twenty seconds of a glide are more than any generator can use
SAME_PLACE = 1e-4  # of the pivot's distance
SAME_VIEW = 1e-4  # radians, and share of the focal length: a twentieth of a pixel at 500
SAME_CENTRE = 0.05  # pixels
MARGIN = 0.15  # of a surface's depth: a camera that near to it, before it or behind, touches it
AROUND = 0.03  # of the picture's longest side: how near beside the camera a surface counts
DETOURS = 64  # that are tried where the straight way is blocked
WIDEST = 1.5  # how far they lead aside, in multiples of the way
SAMPLES = 96  # places along a way that are looked at
FASTEST = 6.0  # arrival, in multiples of the mean speed: more would put the whole way into the last frames
ASIDE = 3.0  # the same for what leads beside the way: more would swing wide


def check_lead_in(frames: int, seed: int = 0) -> None:
    """Raises Ex4dError(BAD_INPUT) for a number of frames that is not 0 to `MOST`, or a seed below 0."""
    if not 0 <= frames <= MOST:
        raise Ex4dError(BAD_INPUT, f"A lead-in of {frames} frames cannot be made.", f"Ask for 0 to {MOST}.")
    if seed < 0:
        raise Ex4dError(BAD_INPUT, f"A seed of {seed} cannot be used.", "Give 0 or more.")


def needs_lead_in(shot: Shot) -> bool:
    """Whether the new camera starts elsewhere, or with another lens, than the source camera.

    The source camera is that of the source frame which the shot shows first, with the lens that the source mesh has
    there, fitted to the new picture (see `with_lead_in`).
    """
    pose, lens = _source(shot)
    first, view = shot.path.world_from_camera[0], shot.path.intrinsics[0]
    away = float(np.linalg.norm(first[:3, 3] - pose[:3, 3]))
    turned = float(np.linalg.norm(_turn(pose[:3, :3], first[:3, :3])))
    zoomed = float(np.abs(view[:2] / lens[:2] - 1.0).max())
    moved = float(np.abs(view[2:] - lens[2:]).max())
    same = away <= SAME_PLACE * shot.scene.pivot and turned <= SAME_VIEW and zoomed <= SAME_VIEW
    return not (same and moved <= SAME_CENTRE)


def with_lead_in(shot: Shot, frames: int, seed: int) -> Shot:
    """The shot with `frames` more before its own; itself where none are asked for, or where it needs none.

    The first of them is the source camera exactly, and the source's picture fills it: where the new picture has another
    size, the source's is scaled by the larger of the two ratios of their sides, centred, and what stands over is cut.
    From there position, rotation (about one axis), focal length (in ratios) and principal point each set out at rest
    and arrive with the speed that they have between the shot's first two frames. Where the way leads through surface
    that the source camera saw, detours that are drawn with `seed` are tried, and the one is taken that touches the
    least surface, then the one that is hidden behind it the least, then the shortest.

    Args:
        shot: camera and source mesh.
        frames: 0 to `MOST`.
        seed: of the detours; the same seed gives the same frames.

    Raises:
        Ex4dError: BAD_INPUT for a number of frames out of range, a seed below 0, or a shot that cannot be used.
    """
    check_lead_in(frames, seed)
    check_path(shot.path)
    if frames == 0 or not needs_lead_in(shot):
        return shot
    path, (pose, lens) = shot.path, _source(shot)
    first, second = (path.world_from_camera[min(k, len(path.world_from_camera) - 1)] for k in (0, 1))
    view, then = (path.intrinsics[min(k, len(path.intrinsics) - 1)] for k in (0, 1))
    share = np.arange(frames) / frames
    poses = np.tile(np.eye(4), (frames, 1, 1))
    away, step = pose[:3, 3] - first[:3, 3], second[:3, 3] - first[:3, 3]
    aside = _aside(shot, away, step * frames, seed)
    poses[:, :3, 3] = first[:3, 3] + _glide(away, step * frames, share) + _bow(share) * aside
    turns = _glide(_turn(first[:3, :3], pose[:3, :3]), _turn(first[:3, :3], second[:3, :3]) * frames, share)
    poses[:, :3, :3] = np.stack([first[:3, :3] @ cv2.Rodrigues(turn)[0] for turn in turns])
    zoom = np.log(lens[:2] / view[:2]), np.log(then[:2] / view[:2]) * frames
    focal = [view[k] * np.exp(_glide(zoom[0][k : k + 1], zoom[1][k : k + 1], share)) for k in (0, 1)]
    centre = view[2:] + _glide(lens[2:] - view[2:], (then[2:] - view[2:]) * frames, share)
    lenses = np.concatenate([*focal, centre], axis=1)
    poses[0], lenses[0] = pose, lens
    longer = CameraPath(
        np.concatenate([poses, path.world_from_camera]),
        np.concatenate([lenses, path.intrinsics]),
        path.width,
        path.height,
        path.fps,
    )
    held = {name: np.concatenate([np.repeat(values[:1], frames), values]) for name, values in vars(shot.source).items()}
    return Shot(shot.scene, longer, SourceModel(**held))


def _source(shot: Shot) -> tuple[F64, F64]:
    """Pose [4, 4] of the source camera where the shot begins, and its lens [4] in pixels of the new picture."""
    mesh, path = scene_mesh(shot.scene, shot.source, 0), shot.path
    camera = mesh.intrinsics
    scale = max(path.width / camera.width, path.height / camera.height)
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    if (path.width, path.height) != (camera.width, camera.height):
        centre = 0.5 * np.array([camera.width, camera.height])
        lens = np.append(scale * lens[:2], scale * (lens[2:] - centre) + 0.5 * np.array([path.width, path.height]))
    return shot.scene.camera.world_from_camera[int(shot.source.frame[0])], lens


def _glide(away: F64, arrival: F64, share: F64) -> F64:
    """What is left of the way at shares 0..1 of the time: from `away`, at rest, to 0, at the speed `arrival`.

    Along the way it is the cubic Hermite curve, which keeps going forward up to three times the mean speed at its end;
    there it is s^3, and beyond s^p. What leads beside the way is added as a cubic.

    Args:
        away: [D] start minus end.
        arrival: [D] speed at the end, per whole duration. Of it, what leads back is left out, and what is beyond
            `FASTEST` times the mean speed (`ASIDE`, beside the way) is cut.
        share: [N].

    Returns:
        [N, D]; its part along the way never grows.
    """
    length, s = float(np.linalg.norm(away)), share[:, None]
    if length == 0.0:
        return np.zeros((len(share), len(away)))
    onward = -away / length
    along = float(arrival @ onward)
    beside = arrival - along * onward
    beside *= min(1.0, ASIDE * length / max(float(np.linalg.norm(beside)), 1e-300))
    pace = min(max(along / length, 0.0), FASTEST)
    gone = s * s * (3.0 - 2.0 * s) + pace * s * s * (s - 1.0) if pace < 3.0 else s**pace
    return np.asarray(away * (1.0 - gone) + beside * (s * s * (s - 1.0)), np.float64)


def _bow(share: F64) -> F64:
    """[N, 1] 0 at both ends with no slope, 1 in the middle."""
    return 16.0 * (share * (1.0 - share))[:, None] ** 2


def _turn(here: F64, there: F64) -> F64:
    """[3] rotation vector, in the axes of `here`, that leads to `there`.

    By way of the quaternion, which is the eigenvector of a symmetric matrix (Bar-Itzhack, "New method for extracting
    the quaternion from a rotation matrix", 2000): exact for small turns as for half ones.
    """
    r = here.T @ there
    upper = np.array([[r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]])
    matrix = np.block([[np.array([[np.trace(r)]]), upper], [upper.T, r + r.T - np.trace(r) * np.eye(3)]])
    w, *v = np.linalg.eigh(matrix)[1][:, -1]
    sine = float(np.linalg.norm(v))
    if sine == 0.0:
        return np.zeros(3)
    angle = 2.0 * np.arctan2(sine, abs(w))
    return np.asarray(np.array(v) * ((-angle if w < 0.0 else angle) / sine), np.float64)


def _aside(shot: Shot, away: F64, arrival: F64, seed: int) -> F64:
    """[3] how far aside the way has to lead in its middle to keep clear of what the source camera saw."""
    length = float(np.linalg.norm(away))
    straight = np.zeros(3)
    if length <= SAME_PLACE * shot.scene.pivot:
        return straight
    share = np.linspace(0.0, 1.0, SAMPLES)
    line = shot.path.world_from_camera[0, :3, 3] + _glide(away, arrival, share)
    mesh = scene_mesh(shot.scene, shot.source, 0)
    world_from_source = shot.scene.camera.world_from_camera[int(shot.source.frame[0])]
    near = _near(mesh)

    def cost(aside: F64) -> tuple[int, int]:
        return _touched(mesh, near, camera_from_world(world_from_source), line + _bow(share) * aside)

    least, best = cost(straight), straight
    if least[0] == 0:
        return straight
    rng = np.random.default_rng(seed)
    across = np.linalg.svd(away[None])[2][1:]  # two directions at right angles to the way
    angles, widths = rng.uniform(0.0, 2.0 * np.pi, DETOURS), np.sort(rng.uniform(0.0, WIDEST * length, DETOURS))
    for angle, width in zip(angles, widths, strict=True):  # the shortest first
        aside = width * (np.cos(angle) * across[0] + np.sin(angle) * across[1])
        found = cost(aside)
        if found < least:
            least, best = found, aside
    return best


def _near(mesh: DWMesh) -> F64:
    """[H, W] smallest depth around each pixel."""
    depth = mesh.depth[BORDER:-BORDER, BORDER:-BORDER]
    side = 2 * max(1, round(AROUND * max(depth.shape))) + 1
    return np.asarray(cv2.erode(depth, np.ones((side, side), np.uint8)), np.float64)


def _touched(mesh: DWMesh, near: F64, source_from_world: F64, places: F64) -> tuple[int, int]:
    """How many of the places [N, 3] touch surface that the source camera saw, and how many are hidden behind it.

    A straight way from the source camera keeps to one of its rays: it touches what lies on that ray before its end.
    """
    x, y, z = (places @ source_from_world[:3, :3].T + source_from_world[:3, 3]).T
    lens, ahead = mesh.intrinsics, z > 0.0
    over = np.where(ahead, z, 1.0)
    u, v = lens.fx * x / over + lens.cx, lens.fy * y / over + lens.cy
    seen = ahead & (u >= 0.0) & (u < lens.width) & (v >= 0.0) & (v < lens.height)
    ratio = z[seen] / near[v[seen].astype(int), u[seen].astype(int)]
    return int((np.abs(ratio - 1.0) < MARGIN).sum()), int((ratio >= 1.0 + MARGIN).sum())
