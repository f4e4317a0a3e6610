# SPDX-License-Identifier: Apache-2.0
"""A colour and a mask video as a conditioning: which frames, which pixels, and what is said about odd ones."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clip_maker import encode, ffmpeg, numbered, numbers

from ex4d.generate.video_input import read_videos
from ex4d.images import write_png
from ex4d.upstream.frames import binarise, draw_kernels, erode
from ex4d.values import U8
from shared_protocol.errors import NOT_A_CLIP, NOT_FOUND, SIZE_MISMATCH, Ex4dError

FRAMES, WIDTH, HEIGHT = 6, 64, 48
LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "bgr0")


def grey(levels: U8) -> U8:
    return levels[..., None].repeat(3, axis=3)


def noise(frames: int = FRAMES) -> U8:
    return np.random.default_rng(0).integers(0, 256, (frames, HEIGHT, WIDTH)).astype(np.uint8)


@pytest.fixture
def colour(tmp_path: Path) -> Path:
    return encode(tmp_path / "color.mkv", numbered(FRAMES), "30000/1001", *LOSSLESS)


def test_pixels_stay_as_they_are_and_masks_become_binary(colour: Path, tmp_path: Path) -> None:
    levels = noise()
    levels[0] = 255
    mask = encode(tmp_path / "mask.mkv", grey(levels), "30000/1001", *LOSSLESS)
    found = read_videos(colour, mask)
    made = found.conditioning
    assert np.array_equal(made.colour, numbered(FRAMES))  # where nothing was seen too
    assert np.array_equal(made.mask, levels > 127)
    assert np.allclose(made.coverage, (levels > 127).mean(axis=(1, 2)))
    assert made.fps == Fraction(30000, 1001)
    assert made.lead_in == 0
    assert found.notes == ()


def test_a_mask_of_another_rate_is_told(colour: Path, tmp_path: Path) -> None:
    levels = np.full((FRAMES, HEIGHT, WIDTH), 255, np.uint8)
    levels[1:, :, :9] = 0
    found = read_videos(colour, encode(tmp_path / "mask.mkv", grey(levels), "24", *LOSSLESS))
    assert found.notes == ("color.mkv has 30000/1001 fps, mask.mkv 24: they are taken frame for frame",)
    assert found.conditioning.fps == Fraction(30000, 1001)


def test_the_red_channel_of_a_coloured_mask_counts(colour: Path, tmp_path: Path) -> None:
    levels = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    levels[:, :, :32, 0] = 255
    levels[:, 24:, :, 1:] = 255
    made = read_videos(colour, encode(tmp_path / "mask.mkv", levels, "30000/1001", *LOSSLESS)).conditioning
    assert made.mask[:, :, :32].all()
    assert not made.mask[:, :, 32:].any()


def test_folders_of_pictures_are_read_as_well(tmp_path: Path) -> None:
    levels = np.where(noise(3) > 99, 255, 0).astype(np.uint8)
    for t, picture in enumerate(numbered(3)):
        write_png(tmp_path / "colour" / f"{t + 1:04d}.png", picture)
        write_png(tmp_path / "mask" / f"{t + 1:04d}.png", levels[t])
    made = read_videos(tmp_path / "colour", tmp_path / "mask").conditioning
    assert np.array_equal(made.colour, numbered(3))
    assert np.array_equal(made.mask, levels > 0)


@pytest.mark.parametrize(
    ("wanted", "shown", "said"),
    [
        (0, range(FRAMES), ""),
        (FRAMES, range(FRAMES), ""),
        (4, [0, 1, 3, 5], "4 of 6 frames are taken"),
        (1, [0], "1 of 6 frames are taken"),
        (8, [0, 1, 2, 3, 4, 5, 5, 5], "the last of 6 frames is held"),
    ],
)
def test_frames_are_picked_as_the_public_code_picks_them(
    colour: Path, tmp_path: Path, wanted: int, shown: list[int], said: str
) -> None:
    levels = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    levels[0] = 255
    for t in range(1, FRAMES):
        levels[t, : 4 * t] = 255
    found = read_videos(colour, encode(tmp_path / "mask.mkv", grey(levels), "30000/1001", *LOSSLESS), wanted)
    assert numbers(found.conditioning.colour) == list(shown)
    assert np.array_equal(found.conditioning.mask, levels[list(shown)] > 0)
    assert " ".join(found.notes).startswith(said)
    assert bool(found.notes) == bool(said)


@pytest.mark.parametrize(
    ("frames", "size", "words"),
    [
        (4, (WIDTH, HEIGHT), ("color.mkv has 6 frames of 64x48", "mask.mkv 4 of 64x48")),
        (FRAMES, (32, 24), ("color.mkv has 6 frames of 64x48", "mask.mkv 6 of 32x24")),
    ],
)
def test_videos_that_do_not_fit_are_told_with_both_numbers(
    colour: Path, tmp_path: Path, frames: int, size: tuple[int, int], words: tuple[str, ...]
) -> None:
    mask = encode(tmp_path / "mask.mkv", numbered(frames, *size), "30000/1001", *LOSSLESS)
    with pytest.raises(Ex4dError, match="same length and size") as caught:
        read_videos(colour, mask)
    assert caught.value.code == SIZE_MISMATCH
    assert all(word in caught.value.message for word in words)


def test_files_without_frames_are_named(colour: Path, tmp_path: Path) -> None:
    text, sound, empty = tmp_path / "notes.mp4", tmp_path / "sound.wav", tmp_path / "empty.mp4"
    text.write_text("not a movie")
    empty.write_bytes(b"")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", str(sound))
    cut = encode(tmp_path / "cut.mp4", numbered(FRAMES), "24")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    for path, code in (
        (text, NOT_A_CLIP),
        (sound, NOT_A_CLIP),
        (empty, NOT_A_CLIP),
        (cut, NOT_A_CLIP),
        (tmp_path / "gone.mp4", NOT_FOUND),
    ):
        for pair in ((path, colour), (colour, path)):
            with pytest.raises(Ex4dError, match=path.name) as caught:
                read_videos(*pair)
            assert caught.value.code == code, path


@pytest.mark.parametrize(
    ("first", "rest", "said"),
    [
        (0, 0, "mask.mkv is black from end to end"),
        (255, 255, "mask.mkv is white from end to end"),
        (120, 255, "mask.mkv shows 0% of the first frame as seen"),
        (255, 0, ""),
    ],
)
def test_a_mask_that_looks_wrong_gets_a_note(colour: Path, tmp_path: Path, first: int, rest: int, said: str) -> None:
    levels = np.full((FRAMES, HEIGHT, WIDTH), rest, np.uint8)
    levels[0] = first
    found = read_videos(colour, encode(tmp_path / "mask.mkv", grey(levels), "30000/1001", *LOSSLESS))
    assert " ".join(found.notes).startswith(said)
    assert bool(found.notes) == bool(said)


def test_a_threshold_and_an_erosion_give_the_same_in_either_order() -> None:
    levels, kernels = noise(), draw_kernels(FRAMES, 1)
    binary = np.where(binarise(levels), 255, 0).astype(np.uint8)
    assert np.array_equal(binarise(erode(levels, kernels)), binarise(erode(binary, kernels)))


def test_the_public_example_is_read_whole(reference: Callable[[str], Path]) -> None:
    found = read_videos(reference("flower/render_180.mp4"), reference("flower/mask_180.mp4"))
    made = found.conditioning
    assert made.colour.shape == (49, 512, 512, 3)
    assert (made.fps, found.notes) == (Fraction(30), ())
    assert made.mask[0].all()
    # What its notes tell of the mask's mean levels.
    assert made.coverage[[0, 6, 12, 24, 48]] * 255 == pytest.approx([255, 74.8, 44.6, 132.2, 242.8], abs=0.5)
    assert made.colour[~made.mask].mean() < 8  # what is not seen is black, but for what the codec smeared
