# SPDX-License-Identifier: Apache-2.0
"""Ids of artifacts: the hash of everything that decides what is in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from ex4d.versions import ALGORITHMS
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, Ex4dError
from shared_protocol.plain import to_plain

from .journal import Job

_MOVIES: Final = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .m2v .mts .m2ts .ts .mxf .ogv .wmv .flv .3gp .vob .dv .gif".split()
)
_PICTURES: Final = frozenset(".png .jpg .jpeg .tif .tiff .exr .bmp .webp .tga .hdr .jp2 .dpx .npz .npy".split())
_TABLES: Final = frozenset({".json", ".npz"})  # of camera paths and of points
_NOTHING: Final[Mapping[str, str]] = {}


def kind_of(job: Job) -> str:
    """ "reconstruct", "render" or "generate"."""
    return type(job).__name__.lower()


def suffix_of(asset: m.Asset) -> str:
    """The file suffix under which the worker sees an asset: the readers choose the format by it.

    Raises:
        Ex4dError: NOT_A_CLIP for a suffix that no reader knows.
    """
    suffix = _suffix(asset)
    if suffix not in _MOVIES and suffix not in _PICTURES:
        raise Ex4dError(
            NOT_A_CLIP,
            f"'{asset.name}' is neither a movie nor a picture that can be read.",
            "Bring a movie (mp4, mov, mkv, ...) or an image sequence (png, jpg, tif, exr).",
        )
    return suffix


def camera_suffix_of(asset: m.Asset) -> str:
    """The same for a camera path.

    Raises:
        Ex4dError: BAD_INPUT for a suffix that is not a camera path's.
    """
    return _table_suffix(asset, "camera path")


def points_suffix_of(asset: m.Asset) -> str:
    """The same for a file of known points.

    Raises:
        Ex4dError: BAD_INPUT for a suffix that is not such a file's.
    """
    return _table_suffix(asset, "file of points")


def _table_suffix(asset: m.Asset, what: str) -> str:
    suffix = _suffix(asset)
    if suffix not in _TABLES:
        raise Ex4dError(BAD_INPUT, f"'{asset.name}' is not a {what}.", f"Bring a .json or .npz {what}.")
    return suffix


def _suffix(asset: m.Asset) -> str:
    return PurePosixPath(asset.name.replace("\\", "/")).suffix.lower()


def lead_in_seed(job: m.Render) -> int:
    """The seed that a rendering is made with: without a lead-in, nothing is drawn and every seed is the same."""
    return job.seed if job.lead_in else 0


def artifact_id(job: Job, identity: Mapping[str, str] = _NOTHING) -> str:
    """64 hex digits: the same for jobs that make the same files, whatever the inputs were called.

    Args:
        job: what is asked for.
        identity: of the weights of a generator or estimator, which the worker alone knows; see
            `backend.work.artifact_of`.
    """
    kind = kind_of(job)
    spec: dict[str, Any] = to_plain(job)
    if isinstance(job, m.Reconstruct):
        for name, assets in (("clip", job.clip), ("depth", job.depth), ("sky_mask", job.sky_mask)):
            spec[name] = [(a.sha256, suffix_of(a)) for a in assets]
        camera = job.source_camera
        spec["source_camera"] = None if camera is None else (camera.sha256, camera_suffix_of(camera))
        spec["points"] = None if job.points is None else (job.points.sha256, points_suffix_of(job.points))
        spec["depth_options"] = sorted(spec["depth_options"])
    if isinstance(job, m.Render):
        spec["seed"] = lead_in_seed(job)
    if isinstance(job, m.Generate):
        spec["options"] = sorted(spec["options"])
    if not isinstance(job, m.Render):
        spec["identity"] = sorted(identity.items())
    text = json.dumps([kind, spec, ALGORITHMS[kind]], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
