# SPDX-License-Identifier: Apache-2.0
"""A small folder of reference numbers in the layout that check_parity reads, made in the plainest way: one vertex, one
face, one pixel at a time, from the description of what the public code does. Nothing of the engine is used.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np

HEIGHT, WIDTH, FOCAL, BORDER, FRAMES = 9, 12, 11.0, 20.0, 33
SELECTED, SELECTED_FLOAT = [0, 4, 13, 21], [2, 9]
MOVES = ("30", "60", "90", "180")
KINDS = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "BF16"}


def write_tensors(file: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes safetensors; uint16 holds the bits of bfloat16."""
    header: dict[str, object] = {"__metadata__": metadata}
    data = b""
    for name, value in tensors.items():
        packed = np.ascontiguousarray(value).tobytes()
        span = [len(data), len(data) + len(packed)]
        header[name] = {"dtype": KINDS[str(value.dtype)], "shape": list(value.shape), "data_offsets": span}
        data += packed
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_folder(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Writes both files of the group "mesh" and returns their tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"dw_mesh.safetensors": dw_mesh(), "preprocess.safetensors": preprocess()}
    for file, values in tensors.items():
        write_tensors(folder / file, values, metadata(file))
    return tensors


def metadata(file: str) -> dict[str, str]:
    if file != "dw_mesh.safetensors":
        return {}
    sizes = {"H": HEIGHT, "W": WIDTH, "f": FOCAL, "border_depth": BORDER, "num_frames": FRAMES}
    return {name: f"{value:g}" for name, value in sizes.items()}


def dw_mesh() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    # The triangles at two corners of the picture lie in the plane of the back: so that it does not matter which of them
    # is seen, the picture's edge has one colour.
    frames[:, [0, -1]] = frames[:, :, [0, -1]] = (90, 160, 30)
    depth = (3.0 + 0.1 * rng.random((2, HEIGHT, WIDTH))).astype(np.float32)
    depth[0, 2:6, 3:7] = 1.5
    depth[1, 4:7, 5:9] = 1.2
    bordered = depth.copy()
    for t in range(2):
        for j in range(HEIGHT):
            for i in range(WIDTH):
                if j in (0, HEIGHT - 1) or i in (0, WIDTH - 1):
                    bordered[t, j, i] = BORDER
    rays = np.array(
        [[[(i - WIDTH / 2) / FOCAL, (j - HEIGHT / 2) / FOCAL, 1.0] for i in range(WIDTH)] for j in range(HEIGHT)],
        np.float32,
    )
    vertices = (bordered[..., None] * rays).reshape(2, -1, 3)
    faces = all_faces()
    out = {
        "frames": frames,
        "depth": depth,
        "depth_bordered": bordered,
        "K": np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32),
        "rays_direction": rays,
        "rays_origin": np.zeros((1, 1, 3), np.float32),
        "vertices": vertices,
        "faces": faces,
        "radius": np.array(float(bordered[0].min()) + 0.15),
        "projection": projection(),
        "fov_xy": np.array([2 * math.atan(WIDTH / 2 / FOCAL), 2 * math.atan(HEIGHT / 2 / FOCAL)]),
        "source_of_frame": np.arange(FRAMES, dtype=np.int64) % 2,
        "selected_frames": np.array(SELECTED, np.int64),
        "selected_float_frames": np.array(SELECTED_FLOAT, np.int64),
    }
    for rule in ("angle", "boundary"):
        out[f"{rule}.rgba"] = np.stack([painted(vertices[t], faces, frames[t], rule) for t in range(2)])
    kept = [face for face in faces if not is_bad(vertices[1][face], "angle")]
    out["nodw.faces_frame31"] = np.array(kept, np.int32)
    for move in MOVES:
        poses = np.stack([pose(move, k, FRAMES, out["radius"]) for k in range(FRAMES)]).astype(np.float32)
        used = poses.copy()
        used[:, :3] *= -1
        out[f"cam{move}.poses"], out[f"cam{move}.extrinsics_saved"] = poses, used
        out[f"cam{move}.mvp"] = projection() @ used
        rgba = {
            t: picture(vertices[t % 2], faces, out["angle.rgba"][t % 2], used[t]) for t in SELECTED + SELECTED_FLOAT
        }
        out[f"cam{move}.ref_rgba_float"] = np.stack([rgba[t] for t in SELECTED_FLOAT]).astype(np.float32)
        mask = np.stack([255 * (rgba[t][..., 3:] > 125) if t else np.full((HEIGHT, WIDTH, 1), 255) for t in SELECTED])
        colour = [rgba[t][..., :3] if t else frames[0] for t in SELECTED]
        out[f"cam{move}.ref_mask_uint8"] = mask.astype(np.uint8)
        out[f"cam{move}.ref_rgb_uint8"] = (np.stack(colour) * (mask > 0)).astype(np.uint8)
    for count, move in ((20, "60"), (60, "180")):
        poses = [pose(move, k, count, out["radius"]) for k in range(count)]
        out[f"poses.n{count}.cam{move}"] = np.array(poses, np.float32)
    return out


def all_faces() -> np.ndarray:
    quads = [j * WIDTH + i for j in range(HEIGHT - 1) for i in range(WIDTH - 1)]
    first = [(q + WIDTH, q, q + 1) for q in quads]
    second = [(q + WIDTH, q + 1, q + WIDTH + 1) for q in quads]
    last = HEIGHT * WIDTH - 1
    return np.array([*first, *second, (WIDTH - 1, 0, last), (last, 0, last + 1 - WIDTH)], np.int32)


def is_bad(corners: np.ndarray, rule: str) -> bool:
    points = [tuple(float(v) for v in corner) for corner in corners]
    if rule == "boundary":
        x, y, z = (max(c) - min(c) for c in zip(*points, strict=True))
        return z / (max(x, y) + 1e-8) > 2.0
    angles = []
    for k in range(3):
        p = np.subtract(points[k - 2], points[k])
        q = np.subtract(points[k - 1], points[k])
        angles.append(math.degrees(math.acos(max(-1.0, min(1.0, p @ q / math.dist(p, (0, 0, 0)) / math.hypot(*q))))))
    return min(angles) < 2.5


def painted(vertices: np.ndarray, faces: np.ndarray, frame: np.ndarray, rule: str) -> np.ndarray:
    rgba = np.array([[*pixel, 255] for row in frame for pixel in row], np.uint8)
    for face in faces:
        if is_bad(vertices[face], rule):
            for vertex in face:
                rgba[vertex] = 0
    return rgba


def pose(move: str, k: int, count: int, radius: float) -> np.ndarray:
    """Camera from world as it is built there: rows right, up, forward."""
    too_far = max(49 / count, count / 49)
    a = (2 * math.pi if move == "180" else math.radians(int(move))) * too_far * k / (count - 1)
    eye = np.array([radius * math.sin(a), 0.2 * radius * (math.cos(a) - 1), 0.0])
    if move != "180":
        eye[1:] = 0.2 * radius * (abs(math.cos(a)) - 1), radius - radius * abs(math.cos(a))
    forward = np.array([0, 0, radius]) - eye
    forward /= math.hypot(*forward)
    right = np.cross(forward, (0, 1, 0))
    right /= math.hypot(*right)
    view = np.eye(4)
    for row, axis in enumerate((right, np.cross(right, forward), forward)):
        view[row] = [*axis, -(axis @ eye)]
    return view


def projection() -> np.ndarray:
    near, far = 1e-3, 1e3
    matrix = np.zeros((4, 4), np.float32)
    matrix[0, 0], matrix[1, 1] = 2 * FOCAL / WIDTH, -2 * FOCAL / HEIGHT
    matrix[2, 2], matrix[2, 3], matrix[3, 2] = -(far + near) / (far - near), -2 * far * near / (far - near), -1
    return matrix


def picture(vertices: np.ndarray, faces: np.ndarray, rgba: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """One ray at a time against all triangles (Möller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection",
    1997), in the camera's axes right, up, backward.
    """
    points = vertices.astype(np.float64) @ camera[:3, :3].astype(np.float64).T + camera[:3, 3]
    origin, one, other = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    p, q = one - origin, other - origin
    out = np.zeros((HEIGHT, WIDTH, 4))
    for j in range(HEIGHT):
        for i in range(WIDTH):
            ray = np.array([(i + 0.5 - WIDTH / 2) / FOCAL, -(j + 0.5 - HEIGHT / 2) / FOCAL, -1.0])
            across = np.cross(ray, q)
            area = (p * across).sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                u = (-origin * across).sum(axis=1) / area
                v = (np.cross(-origin, p) @ ray) / area
                z = (q * np.cross(-origin, p)).sum(axis=1) / area
            hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (z >= 1e-3) & (z <= 1e3)
            if hit.any():
                nearest = int(np.argmin(np.where(hit, z, np.inf)))
                weights = np.array([1 - u[nearest] - v[nearest], u[nearest], v[nearest]])
                out[j, i] = weights @ rgba[faces[nearest]]
    return out


def preprocess() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    rgb = rng.integers(0, 256, (5, 14, 18, 3), dtype=np.uint8)
    mask = np.where(rng.random((5, 7, 9, 1)) < 0.04, 40, 255).repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
    out = {"source_rgb": rgb, "source_mask": mask}
    out["indices.10_to_4"] = np.array([0, 3, 6, 9])
    out["indices.10_to_5"] = np.array([0, 2, 4, 6, 9])  # 2.25, 4.5 and 6.75 are cut off
    out["indices.3_to_9"] = np.array([0, 1, 2])
    # Three of five frames at half the size, and eight at the size that they have.
    for case, read, kernels, half in (
        ("small", [0, 2, 4], [2, 5, 3], True),
        ("long", range(5), [4, 2, 8, 3, 2], False),
    ):
        colour = [halved(rgb[t]) if half else rgb[t] for t in read]
        seen = [eroded(halved(mask[t]) if half else mask[t], k) >= 128 for t, k in zip(read, kernels, strict=True)]
        while len(seen) < 8 and not half:
            colour.append(colour[-1])
            seen.append(seen[-1])
        values = np.empty(np.shape(colour), np.uint16)
        for t, j, i, c in np.ndindex(values.shape):
            values[t, j, i, c] = bfloat16(colour[t][j, i, c], seen[t][j, i, 0])
        out[f"{case}.color"] = np.moveaxis(np.stack(colour), -1, 0)
        out[f"{case}.erosion_kernels"] = np.array(kernels)
        out[f"{case}.mask"] = np.moveaxis(np.stack(seen), -1, 0).astype(np.uint8)
        out[f"{case}.color_masked_bf16"] = np.moveaxis(values, -1, 0)
    return out


def halved(frame: np.ndarray) -> np.ndarray:
    """Mean of 2x2 pixels, rounded up at one half: what bilinear resizing to exactly half the size comes to."""
    out = np.zeros((frame.shape[0] // 2, frame.shape[1] // 2, frame.shape[2]), np.uint8)
    for j, i, c in np.ndindex(out.shape):
        out[j, i, c] = (int(frame[2 * j : 2 * j + 2, 2 * i : 2 * i + 2, c].astype(int).sum()) + 2) // 4
    return out


def eroded(mask: np.ndarray, kernel: int) -> np.ndarray:
    out = mask.copy()
    for j, i, c in np.ndindex(mask.shape):
        top, left = j - kernel // 2, i - kernel // 2
        out[j, i, c] = mask[max(top, 0) : top + kernel, max(left, 0) : left + kernel, c].min()
    return out


def bfloat16(level: int, seen: bool) -> int:
    """Bits of 2 * (level / 255) - 1, rounded to 8 significant bits before and after (ties to even)."""

    def rounded(value: float) -> float:
        mantissa, exponent = math.frexp(value)
        return math.ldexp(round(mantissa * 256), exponent - 8)

    value = rounded(2 * rounded(float(np.float32(int(level) * bool(seen) / 255))) - 1)
    return int.from_bytes(struct.pack("<f", value)[2:], "little")
