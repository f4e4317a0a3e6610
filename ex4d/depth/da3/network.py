# SPDX-License-Identifier: Apache-2.0
"""The package's network, filled strictly, and what it sees in a few frames."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ex4d.depth.da3.join import Window
from ex4d.depth.da3.models import WEIGHTS, Kind
from ex4d.models.building import without_weights
from ex4d.models.weights import WeightFiles, load_into
from ex4d.values import F32, F64

if TYPE_CHECKING:
    from ex4d.depth.rig import Rig

_PREFIX = "model."  # the network is a part of what was saved
_SKY = 0.3  # from here on it is sky to the network itself, which moves it behind everything else
_SEED = 0


def load_network(kind: Kind, place: Path, progress: Callable[[int, int], None]) -> Any:
    """The network on the CPU, in float32: it computes part of itself in fewer bits, and its head in float32.

    Raises:
        Ex4dError: BAD_INPUT for files that are cut off or are of another model.
    """
    with warnings.catch_warnings(action="ignore"):  # of a library that it reads its configs with
        from depth_anything_3.cfg import create_object, load_config
        from depth_anything_3.registry import MODEL_REGISTRY
        from depth_anything_3.utils.logger import logger

        logger.level = 0  # it prints into what a program says; errors alone are left
        config = load_config(MODEL_REGISTRY[kind.architecture])
        network = without_weights(kind.architecture, lambda: create_object(config))
    load_into(
        network,
        WeightFiles([place / WEIGHTS]),
        lambda name: name.removeprefix(_PREFIX),
        dtype=torch.float32,
        progress=progress,
    )
    return network


def look(network: Any, pictures: F32, rig: Rig) -> Window:
    """What the network sees in frames, at the size that it sees them.

    Args:
        network: of `load_network`, on the rig's device.
        pictures: [n, 3, h, w] of `picture.seen`.
        rig: where it runs.
    """
    shown = torch.from_numpy(pictures)[None].to(rig.device)
    fewer_bits = torch.autocast(rig.device.type, dtype=rig.dtype, enabled=rig.precision != "float32")
    devices = [rig.device] if rig.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(), fewer_bits:
        torch.manual_seed(_SEED)  # it looks at random samples to find out how far away the sky is to be
        found = network(shown)
    sky, extrinsics = found.get("sky"), found.get("extrinsics")
    depth = _frames(found["depth"])
    return Window(
        depth=depth,
        trust=_frames(found["depth_conf"]) if "depth_conf" in found else np.ones_like(depth),
        sky=None if sky is None else _frames(sky) >= _SKY,
        poses=None if extrinsics is None else _world_from_camera(extrinsics),
        focal=None if extrinsics is None else _numpy(found["intrinsics"])[0, :, (0, 1), (0, 1)].T,
    )


def _frames(values: torch.Tensor) -> F32:
    """[n, h, w] of [1, n, h, w] or, of the heads for one picture, [1, n, 1, h, w]."""
    values = values.float()
    return np.ascontiguousarray(values.reshape(-1, *values.shape[-2:]).cpu().numpy(), np.float32)


def _numpy(values: torch.Tensor) -> F64:
    return np.asarray(values.float().cpu().numpy(), np.float64)


def _world_from_camera(camera_from_world: torch.Tensor) -> F64:
    """[n, 4, 4], rigid to float64's precision."""
    given = _numpy(camera_from_world)[0]
    poses = np.tile(np.eye(4), (len(given), 1, 1))
    left, _, right = np.linalg.svd(given[:, :3, :3])
    turned = np.linalg.det(left @ right)
    left[:, :, 2] *= turned[:, None]
    rotations = (left @ right).transpose(0, 2, 1)
    poses[:, :3, :3] = rotations
    poses[:, :3, 3] = -np.einsum("nij,nj->ni", rotations, given[:, :3, 3])
    return poses
