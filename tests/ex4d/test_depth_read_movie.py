# SPDX-License-Identifier: Apache-2.0
"""Depth movies: the values that are stored, of any number of bits, and what is no depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_maker import encode, ffmpeg
from depths import estimate_depth
from test_depth_file import clip_of

from ex4d.depth.convert import FAR, NEAR
from ex4d.depth.preview import turbo
from ex4d.depth.read import open_depth
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, SIZE_MISMATCH, Ex4dError

pytestmark = pytest.mark.filterwarnings("error")

T, H, W = 5, 48, 64
RAMP = np.stack([np.linspace(0.05 + 0.02 * t, 0.95, H * W).reshape(H, W) for t in range(T)])


def grey(path: Path, bits: int, *options: str) -> np.ndarray:
    """A movie of `RAMP` with so many bits; returns the whole numbers that are in it."""
    values = np.round(RAMP * (2**bits - 1)).astype("u1" if bits == 8 else "<u2")
    name = "gray" if bits == 8 else f"gray{bits}le"
    raw = ("-f", "rawvideo", "-pix_fmt", name, "-s", f"{W}x{H}", "-framerate", "24", "-i", "pipe:0")
    ffmpeg(*raw, *options, str(path), feed=values.tobytes())
    return values


def everything(path: Path) -> F32:
    stored = open_depth([path])
    return np.stack(list(stored.read(range(stored.total))))


@pytest.mark.parametrize(
    ("name", "bits", "options"),
    [
        ("a.mkv", 8, ("-c:v", "ffv1")),
        ("a.mkv", 10, ("-c:v", "ffv1")),
        ("a.mkv", 12, ("-c:v", "ffv1")),
        ("a.mkv", 16, ("-c:v", "ffv1")),
        ("a.mov", 16, ("-c:v", "png", "-pix_fmt", "gray16be")),
        ("a.mp4", 8, ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "gray")),
        ("a.mp4", 10, ("-c:v", "libx265", "-x265-params", "lossless=1:log-level=none", "-pix_fmt", "gray10le")),
        ("a.mkv", 8, ("-c:v", "ffv1", "-pix_fmt", "gbrp")),
    ],
)
def test_lossless_grey_movies_come_back_exactly(tmp_path: Path, name: str, bits: int, options: tuple[str, ...]) -> None:
    stored = grey(tmp_path / name, bits, *options)
    np.testing.assert_array_equal(everything(tmp_path / name), stored.astype(np.float32))


@pytest.mark.parametrize(
    ("codec", "pixel_format", "bits"),
    [("ffv1", "yuv420p", 8), ("ffv1", "yuv420p10le", 10), ("ffv1", "yuv444p12le", 12), ("mjpeg", "yuvj422p", 8)],
)
def test_grey_in_colour_formats_spans_the_whole_range(tmp_path: Path, codec: str, pixel_format: str, bits: int) -> None:
    grey(tmp_path / "a.mkv", 8, "-c:v", codec, "-q:v", "1", "-pix_fmt", pixel_format)
    found = everything(tmp_path / "a.mkv") / (2**bits - 1)
    np.testing.assert_allclose(found, RAMP, atol=0.02)
    assert np.abs(found - RAMP).mean() < 0.004


def test_a_movie_is_relative_disparity_and_its_steps_and_losses_are_told(tmp_path: Path) -> None:
    grey(tmp_path / "a.mp4", 8, "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p")
    depth = estimate_depth(clip_of(T, H, W), files=[tmp_path / "a.mp4"])
    assert depth.z[0, -1, -1] == pytest.approx(NEAR, rel=0.1)
    assert depth.z[0, 0, 0] == pytest.approx(FAR, rel=0.1)
    assert "depth has only 8 bits: expect steps in it" in depth.notes
    assert "h264 compression is not exact: expect noise at the edges of depth" in depth.notes


def test_sixteen_bit_movies_told_to_hold_depth_count_millimetres(tmp_path: Path) -> None:
    stored = grey(tmp_path / "a.mkv", 16, "-c:v", "ffv1")
    depth = estimate_depth(clip_of(T, H, W), files=[tmp_path / "a.mkv"], options={"depth_kind": "depth"})
    np.testing.assert_array_equal(depth.z, (stored * np.float32(0.001)).astype(np.float32))
    assert depth.notes == ("values of the movie read as millimetres, 0 as background",)
    part = estimate_depth(
        clip_of(2, H, W), files=[tmp_path / "a.mkv"], first=30, options={"depth_kind": "depth", "depth_first": 3}
    )
    np.testing.assert_array_equal(part.z, depth.z[2:4])


def test_false_colours_and_pictures_are_no_depth(tmp_path: Path) -> None:
    false = np.stack([turbo((1 / (0.1 + frame)).astype(np.float32), 1.0, 10.0) for frame in RAMP])
    encode(tmp_path / "turbo.mp4", false, "24")
    encode(tmp_path / "turbo.mkv", false, "24", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    for name in ("turbo.mp4", "turbo.mkv"):
        with pytest.raises(Ex4dError, match=f"{name} is a coloured movie .frame 1.: .* false colours") as caught:
            estimate_depth(clip_of(T, H, W), files=[tmp_path / name])
        assert caught.value.code == BAD_INPUT


def test_movies_of_other_lengths_sizes_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    grey(path, 16, "-c:v", "ffv1")
    with pytest.raises(Ex4dError, match="has 5 frames; the clip's frames 1 to 6 need 6") as caught:
        estimate_depth(clip_of(6, H, W), files=[path])
    assert caught.value.code == SIZE_MISMATCH
    with pytest.raises(Ex4dError, match=f"depth is {W} x {H}, the clip is 50 x 50") as caught:
        estimate_depth(clip_of(T, 50, 50), files=[path])
    assert caught.value.code == SIZE_MISMATCH
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(Ex4dError) as caught:
            estimate_depth(clip_of(T, H, W), files=[path])
        assert caught.value.code in (NOT_A_CLIP, SIZE_MISMATCH)
