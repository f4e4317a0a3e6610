# SPDX-License-Identifier: Apache-2.0
"""Windows of a clip that were seen one after the other become one: its depth in one unit, its cameras in one world.

Each window has a unit and a world of its own. Where two of them share frames, the ratio of their depths gives the unit,
and the cameras of those frames give how the worlds lie to each other; over these frames one fades into the other.
Depth tells the unit also where the camera hardly moves, which the distance between cameras does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ex4d.values import F32, F64, Bool

_SAMPLES = 200_000  # pixels that the unit is taken from


@dataclass(frozen=True, eq=False)
class Window:
    """What was seen in n frames, at the size that the network sees them."""

    depth: F32  # [n, h, w], up to a scale
    trust: F32  # [n, h, w], larger is surer
    sky: Bool | None = None  # [n, h, w]
    poses: F64 | None = None  # [n, 4, 4] world_from_camera, in the unit of `depth`
    focal: F64 | None = None  # [n, 2] pixels across and down, of the size that the network sees

    def part(self, start: int, stop: int) -> Window:
        """Some of its frames."""
        some = slice(start, stop)
        return Window(
            self.depth[some],
            self.trust[some],
            None if self.sky is None else self.sky[some],
            None if self.poses is None else self.poses[some],
            None if self.focal is None else self.focal[some],
        )


def plan(total: int, size: int, overlap: int) -> list[range]:
    """Frames of each window. The last one is as large as the others, and overlaps more.

    Args:
        total: frames of the clip, at least 1.
        size: frames of a window, more than `overlap`.
        overlap: frames that neighbours share; 0 for windows that tell no cameras.
    """
    if total <= size:
        return [range(total)]
    starts = [*range(0, total - size, size - overlap), total - size]
    return [range(start, start + size) for start in starts]


def joined(spans: Iterable[range], windows: Iterable[Window]) -> Iterator[Window]:
    """Frames in order, some at a time; each is final. In memory are two windows.

    The world is that of the first frame's camera, the unit that of the first window.
    """
    end, held = 0, None
    for span, window in zip(spans, windows, strict=True):
        shared = end - span.start
        if held is None:
            held = _placed(window, 1.0, _from_first(window))
        elif not shared:  # what tells no camera needs no neighbours
            yield held
            held = window
        else:
            start = len(held.depth) - shared
            yield held.part(0, start)
            held = _followed(held.part(start, start + shared), window, shared)
        end = span.stop
    if held is not None:
        yield held


def _followed(before: Window, after: Window, shared: int) -> Window:
    """The later window in the unit and world of the one before, faded into over the frames that both have."""
    both = after.part(0, shared)
    unit = _unit(before, both)
    moved = _placed(after, unit, _between(before, both, unit))
    weights = np.arange(1, shared + 1, dtype=np.float64) / (shared + 1)
    fade = weights.astype(np.float32)[:, None, None]
    depth = moved.depth.copy()
    depth[:shared] = np.exp((1 - fade) * np.log(before.depth) + fade * np.log(depth[:shared]))
    moved = replace(moved, depth=depth)
    if before.poses is None or moved.poses is None:
        return moved
    poses = moved.poses.copy()
    for index, weight in enumerate(weights):
        first, second = before.poses[index], moved.poses[index]
        poses[index, :3, :3] = mean_rotation([first[:3, :3], second[:3, :3]], [1 - weight, weight])
        poses[index, :3, 3] = (1 - weight) * first[:3, 3] + weight * second[:3, 3]
    return replace(moved, poses=poses)


def _unit(before: Window, after: Window) -> float:
    """What the later window's depth is multiplied by: the median ratio where both are surer than usual."""
    step = max(1, before.depth.size // _SAMPLES)
    first, second = before.depth.reshape(-1)[::step], after.depth.reshape(-1)[::step]
    sure = np.minimum(before.trust.reshape(-1)[::step], after.trust.reshape(-1)[::step])
    use = (sure >= np.median(sure)) & (first > 0) & (second > 0)
    return float(np.median(first[use] / second[use])) if use.any() else 1.0


def _between(before: Window, after: Window, unit: float) -> F64:
    """[4, 4] from the later window's world, in its unit already, to that of the one before."""
    found = np.eye(4)
    if before.poses is None or after.poses is None:
        return found
    turns = [first[:3, :3] @ second[:3, :3].T for first, second in zip(before.poses, after.poses, strict=True)]
    rotation = mean_rotation(turns, [1.0] * len(turns))
    shifts = before.poses[:, :3, 3] - unit * after.poses[:, :3, 3] @ rotation.T
    found[:3, :3], found[:3, 3] = rotation, np.median(shifts, axis=0)
    return found


def _placed(window: Window, unit: float, world: F64) -> Window:
    """In another unit and another world."""
    depth = (window.depth * np.float32(unit)).astype(np.float32)
    if window.poses is None:
        return replace(window, depth=depth)
    poses = window.poses.copy()
    poses[:, :3, 3] *= unit
    return replace(window, depth=depth, poses=world @ poses)


def _from_first(window: Window) -> F64:
    return np.eye(4) if window.poses is None else np.linalg.inv(window.poses[0])


def mean_rotation(rotations: list[F64], weights: list[float]) -> F64:
    """The rotation nearest to the weighted mean of some, in the sense of squared differences (an orthogonal Procrustes
    problem, solved by a singular value decomposition)."""
    total = sum(weight * rotation for weight, rotation in zip(weights, rotations, strict=True))
    left, _, right = np.linalg.svd(np.asarray(total))
    left[:, 2] *= np.linalg.det(left @ right)
    return np.asarray(left @ right, np.float64)
