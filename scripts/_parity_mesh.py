# SPDX-License-Identifier: Apache-2.0
"""Checks of the public code's geometry (dw_mesh) and of how it loads its videos (preprocess)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from _parity_book import Book, Item
from _parity_files import Array

from ex4d.upstream import (
    UpstreamMesh,
    first_frame,
    upstream_faces,
    upstream_intrinsics,
    upstream_mesh,
    upstream_path,
    upstream_radius,
)
from ex4d.upstream.cameras import extrinsics, fields_of_view, over_rotation, poses_as_built, projection
from ex4d.upstream.frames import masked_colour, prepare_colour, prepare_mask, read_indices
from ex4d.upstream.mesh import BORDER_DEPTH, FOCAL, bordered, ray_directions, upstream_vertices
from ex4d.upstream.render import conditioned, render_rgba
from ex4d.values import F64, Intrinsics

_CLOSE = 1e-5
_UNITS = 2  # cameras are matrix products in float32 there
_LEVELS, _SHARE = 2.0, 0.995  # pictures: 99.5 % of the pixels within 2 levels
_FPS = Fraction(30)  # nothing depends on it
_RASTERIZER = "numba"
_CAMERA = ("poses", "extrinsics_saved", "mvp")


@dataclass(frozen=True)
class _Clip:
    """The reference clip: where it is, and its own constants."""

    book: Book
    file: str
    lens: Intrinsics
    border: float

    def has(self, name: str) -> bool:
        """Whether the file has this tensor."""
        return name in self.book.names(self.file)

    def named(self, pattern: str) -> list[re.Match[str]]:
        """Tensors whose whole name fits."""
        return [found for name in self.book.names(self.file) if (found := re.fullmatch(pattern, name))]

    def moves(self, *results: str) -> list[str]:
        """The moves that the file has any of these results of."""
        found = (re.fullmatch(rf"cam(\w+)\.({'|'.join(results)})", name) for name in self.book.names(self.file))
        return sorted({match[1] for match in found if match})

    def meshes(self, item: Item, filter_type: str = "angle") -> list[UpstreamMesh]:
        """The mesh of every source frame."""
        return [
            upstream_mesh(depth, picture, self.lens, filter_type=filter_type, border_depth=self.border)
            for depth, picture in zip(item.input("depth"), item.input("frames"), strict=True)
        ]

    def poses(self, item: Item, move: str, frames: int) -> F64:
        """world_from_camera of a move, as far as the public code turns in so many frames."""
        radius = upstream_radius(item.input("depth")[0], self.border)
        turn = over_rotation(frames)
        return upstream_path(move, frames, radius, self.lens, _FPS, turn=turn).world_from_camera


def check_dw_mesh(book: Book, file: str) -> None:
    """Mesh, cameras and renders of recon.py."""
    with book.item(file, "size"):
        height, width = book.shape(file, "depth")[1:]
        for name, size in (("H", height), ("W", width)):
            if book.metadata(file, name, str(size)) != str(size):
                raise ValueError(f"{name} in the metadata is not that of the depth, {size}")
        lens = upstream_intrinsics(width, height, float(book.metadata(file, "f", str(FOCAL))))
        clip = _Clip(book, file, lens, float(book.metadata(file, "border_depth", str(BORDER_DEPTH))))
        _check_lens(clip)
        _check_mesh(clip)
        _check_cameras(clip)
        _check_pictures(clip)


def _check_lens(clip: _Clip) -> None:
    lens = clip.lens
    matrix = np.array([[lens.fx, 0.0, lens.cx], [0.0, lens.fy, lens.cy], [0.0, 0.0, 1.0]])
    results: dict[str, Array] = {
        "K": matrix,
        "fov_xy": np.array(fields_of_view(lens)),
        "projection": projection(lens),
        "rays_direction": ray_directions(lens),
        "rays_origin": np.zeros((1, 1, 3)),
        "faces": upstream_faces(lens.height, lens.width),
    }
    for name, value in results.items():
        if clip.has(name):
            with clip.book.item(clip.file, "faces" if name == "faces" else "lens") as item:
                item.compare(name, value, 0.0 if name == "faces" else _CLOSE)


def _check_mesh(clip: _Clip) -> None:
    with clip.book.item(clip.file, "lifting") as item:
        depth = item.input("depth")
        item.compare("depth_bordered", bordered(depth, clip.border))
        item.compare("radius", upstream_radius(depth[0], clip.border), _CLOSE)
        vertices = [upstream_vertices(z, clip.lens, clip.border) for z in depth]
        item.compare("vertices", np.stack(vertices), _CLOSE)
    for found in clip.named(r"(\w+)\.rgba"):
        with clip.book.item(clip.file, f"filter {found[1]}") as item:
            item.compare(found[0], np.stack([mesh.rgba for mesh in clip.meshes(item, found[1])]))
    for found in clip.named(r"nodw\.faces_frame(\d+)"):
        with clip.book.item(clip.file, "use_dwmesh 0") as item:
            source = int(item.input("source_of_frame")[int(found[1])])
            depth = item.input("depth")[source]
            black = np.zeros((*depth.shape, 3), np.uint8)
            mesh = upstream_mesh(depth, black, clip.lens, use_dwmesh=False, border_depth=clip.border)
            item.compare(found[0], mesh.faces)


def _check_cameras(clip: _Clip) -> None:
    for move in clip.moves(*_CAMERA):
        with clip.book.item(clip.file, f"move {move}") as item:
            names = {kind: f"cam{move}.{kind}" for kind in _CAMERA if clip.has(f"cam{move}.{kind}")}
            frames = clip.book.shape(clip.file, next(iter(names.values())))[0]
            poses = clip.poses(item, move, int(clip.book.metadata(clip.file, "num_frames", str(frames))))
            results: dict[str, Array] = {
                "poses": poses_as_built(poses),
                "extrinsics_saved": extrinsics(poses),
                "mvp": projection(clip.lens).astype(np.float32) @ extrinsics(poses).astype(np.float32),
            }
            for kind, name in names.items():
                item.compare(name, results[kind], _CLOSE, _UNITS)
    for found in clip.named(r"poses\.n(\d+)\.cam(\w+)"):
        with clip.book.item(clip.file, f"move {found[2]}, {found[1]} frames") as item:
            poses = clip.poses(item, found[2], int(found[1]))
            item.compare(found[0], poses_as_built(poses), _CLOSE, _UNITS)


def _check_pictures(clip: _Clip) -> None:
    for move in clip.moves("ref_rgba_float"):
        with clip.book.item(clip.file, f"render {move}") as item:
            views = _views(clip, item, move, "selected_float_frames")
            rgba = np.stack([rgba for _, _, rgba in views])
            item.compare_pictures(f"cam{move}.ref_rgba_float", rgba, _LEVELS, _SHARE)
    for move in clip.moves("ref_rgb_uint8", "ref_mask_uint8"):
        with clip.book.item(clip.file, f"pictures {move}") as item:
            frames = item.input("frames")
            pictures = [
                conditioned(rgba) if index else first_frame(frames[source])
                for index, source, rgba in _views(clip, item, move, "selected_frames")
            ]
            colour = np.stack([colour for colour, _ in pictures])
            mask = np.stack([mask for _, mask in pictures])[..., None] * np.uint8(255)
            for name, got in ((f"cam{move}.ref_rgb_uint8", colour), (f"cam{move}.ref_mask_uint8", mask)):
                if clip.has(name):
                    item.compare_pictures(name, got, _LEVELS, _SHARE)


def _views(clip: _Clip, item: Item, move: str, selection: str) -> list[tuple[int, int, Array]]:
    """Frame of the shot, frame of the clip and interpolated RGBA of each selected frame."""
    source_of_frame = item.input("source_of_frame")
    poses = clip.poses(item, move, len(source_of_frame))
    meshes = clip.meshes(item)
    views = []
    for index in item.input(selection).tolist():
        source = int(source_of_frame[index])
        rgba, _ = render_rgba(meshes[source], poses[index], clip.lens, rasterizer=_RASTERIZER)
        views.append((index, source, rgba))
    return views


def check_preprocess(book: Book, file: str) -> None:
    """Frame selection, resizing, erosion and masking of generate.py. Tensors there are [channels, T, H, W]."""
    for name in book.names(file):
        if found := re.fullmatch(r"indices\.(\d+)_to_(\d+)", name):
            with book.item(file, "frame selection") as item:
                item.compare(name, read_indices(int(found[1]), int(found[2])))
        elif found := re.fullmatch(r"(\w+)\.color", name):
            _check_loading(book, file, found[1])


def _check_loading(book: Book, file: str, case: str) -> None:
    wanted, height, width = book.shape(file, f"{case}.color")[1:]
    with book.item(file, f"colour {case}") as item:
        colour = prepare_colour(item.input("source_rgb"), wanted, height, width)
        item.compare(f"{case}.color", np.moveaxis(colour, -1, 0))
    with book.item(file, f"mask {case}") as item:
        kernels = item.input(f"{case}.erosion_kernels")
        mask = prepare_mask(item.input("source_mask")[..., 0], wanted, height, width, kernels)
        item.compare(f"{case}.mask", mask[None])
    with book.item(file, f"masking {case}") as item:
        colour = prepare_colour(item.input("source_rgb"), wanted, height, width)
        kernels = item.input(f"{case}.erosion_kernels")
        mask = prepare_mask(item.input("source_mask")[..., 0], wanted, height, width, kernels)
        item.compare(f"{case}.color_masked_bf16", np.moveaxis(masked_colour(colour, mask), -1, 0))
