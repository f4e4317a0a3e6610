# SPDX-License-Identifier: Apache-2.0
"""Movies in: every frame, once, in order, upright, square, at the right rate, in the right colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clip_maker import encode, ffmpeg, numbered, numbers

import ex4d.clip
from ex4d import memory
from ex4d.clip import read_clip, write_video
from ex4d.media.ffmpeg import stream
from ex4d.media.probe import probe
from ex4d.on_disk import workspace
from shared_protocol.errors import BAD_INPUT, CANCELLED, LIMIT, NOT_A_CLIP, NOT_FOUND, UNSUPPORTED, Ex4dError

NTSC = Fraction(60000, 1001)
H264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "12", "-bf", "2", "-g", "5")


def notes_of(clip: object) -> str:
    return "; ".join(getattr(clip, "notes"))  # noqa: B009


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi", "a.ts", "a.webm"])
@pytest.mark.parametrize("fps", ["60000/1001", "24000/1001", "30000/1001", "25", "24"])
def test_every_frame_comes_back_in_order_at_the_exact_rate(tmp_path: Path, name: str, fps: str) -> None:
    codec = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8") if name == "a.webm" else H264
    clip = read_clip([encode(tmp_path / name, numbered(23), fps, *codec)])
    assert numbers(clip.frames) == list(range(23))
    assert clip.fps == Fraction(fps)
    assert clip.name == "a"


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((97, 53), ()),
        ((97, 53), ("-c:v", "ffv1", "-pix_fmt", "bgr0")),
        ((48, 90), ()),
        ((33, 24), ("-c:v", "mpeg4", "-q:v", "2")),
    ],
)
def test_odd_and_portrait_sizes_are_kept(tmp_path: Path, size: tuple[int, int], options: tuple[str, ...]) -> None:
    frames = numbered(5, *size)
    clip = read_clip([encode(tmp_path / "a.mkv", frames, "30", *options)])
    assert clip.frames.shape == frames.shape
    assert numbers(clip.frames) == [0, 1, 2, 3, 4]
    if "ffv1" in options:
        np.testing.assert_array_equal(clip.frames, frames)


def test_one_frame_is_a_clip_and_keeps_its_rate(tmp_path: Path) -> None:
    clip = read_clip([encode(tmp_path / "a.mp4", numbered(1), "60000/1001")])
    assert clip.frames.shape == (1, 48, 64, 3)
    assert clip.fps == NTSC


def test_only_the_frames_asked_for_are_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(30), "25", *H264)
    assert numbers(read_clip([path], first=7, count=4).frames) == [7, 8, 9, 10]
    assert numbers(read_clip([path], first=27).frames) == [27, 28, 29]
    short = read_clip([path], first=26, count=10)
    assert numbers(short.frames) == [26, 27, 28, 29]
    assert "10 frames were asked for" in notes_of(short)
    with pytest.raises(Ex4dError, match=r"Frame 31 is beyond the end.*30 frames") as caught:
        read_clip([path], first=30)
    assert caught.value.code == BAD_INPUT


def test_frames_cut_away_by_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mp4", numbered(20), "25", *H264)
    ffmpeg("-ss", "0.28", "-i", str(whole), "-c", "copy", str(tmp_path / "b.mp4"))
    clip = read_clip([tmp_path / "b.mp4"])
    assert clip.fps == 25
    seen = numbers(clip.frames)
    assert seen == list(range(seen[0], 20))
    assert seen[0] == 7


def test_large_frames_are_scaled_down(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(3, 120, 60), "25")
    clip = read_clip([path], max_side=50)
    assert clip.frames.shape == (3, 25, 50, 3)
    assert "120x60 to 50x25" in notes_of(clip)
    assert read_clip([path], max_side=120).frames.shape == (3, 60, 120, 3)
    thin = encode(tmp_path / "thin.mp4", numbered(2, 160, 4), "25")
    assert read_clip([thin], max_side=16).frames.shape == (2, 2, 16, 3)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, angle: int) -> None:
    frames = numbered(3)
    encode(tmp_path / "a.mp4", frames, "25")
    ffmpeg("-display_rotation", str(angle), "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / "b.mp4"))
    clip = read_clip([tmp_path / "b.mp4"])
    expected = np.rot90(frames, angle // 90, axes=(1, 2))
    assert clip.frames.shape == expected.shape
    assert np.abs(clip.frames.astype(int) - expected).mean() < 3
    assert "turned by" in notes_of(clip)
    assert read_clip([tmp_path / "b.mp4"], max_side=32).frames.shape[1:3] == ((32, 24) if angle != 180 else (24, 32))


@pytest.mark.parametrize(("sar", "size"), [("4/3", (85, 48)), ("1/2", (64, 96))])
def test_pixels_are_made_square(tmp_path: Path, sar: str, size: tuple[int, int]) -> None:
    encode(tmp_path / "a.mp4", numbered(3), "25", "-vf", f"setsar={sar}", *H264)
    clip = read_clip([tmp_path / "a.mp4"])
    assert (clip.frames.shape[2], clip.frames.shape[1]) == size
    assert numbers(clip.frames) == [0, 1, 2]
    assert "made square" in notes_of(clip)


@pytest.mark.parametrize(
    "options",
    [
        ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-top", "1", "-q:v", "2"),
        ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264opts", "tff=1:interlaced=1", "-qp", "4"),
    ],
)
def test_interlaced_movies_are_deinterlaced_frame_for_frame(tmp_path: Path, options: tuple[str, ...]) -> None:
    frames = numbered(6, 64, 64)
    options = tuple(o for o in options if o not in ("-top", "1")) if "mpeg2video" in options else options
    path = encode(tmp_path / "a.mkv", frames, "25", "-vf", "setfield=tff", *options)
    clip = read_clip([path])
    assert numbers(clip.frames) == [0, 1, 2, 3, 4, 5]
    assert "deinterlaced" in notes_of(clip)


def test_progressive_movies_are_left_alone(tmp_path: Path) -> None:
    clip = read_clip([encode(tmp_path / "a.mp4", numbered(3), "25", *H264)])
    assert clip.notes == ()


def test_a_variable_rate_is_resampled_and_said(tmp_path: Path) -> None:
    # Frames 0..9 at 25 fps, then each one shown three times as long.
    times = "setpts='if(lt(N,10),N,10+(N-10)*3)/25/TB'"
    encode(tmp_path / "a.mp4", numbered(20), "25", "-vf", times, *H264)
    clip = read_clip([tmp_path / "a.mp4"])
    assert clip.fps == 25
    assert "variable frame rate" in notes_of(clip)
    seen = numbers(clip.frames)
    assert seen[:11] == list(range(11))
    assert seen[10:22] == [n for n in range(10, 14) for _ in range(3)]
    assert len(seen) in range(38, 42)  # how long the last one stands is the container's word


def test_times_that_jump_are_refused(tmp_path: Path) -> None:
    times = "setpts='if(lt(N,5),N,N+25*9000)/25/TB'"
    path = encode(tmp_path / "a.mp4", numbered(10), "25", "-vf", times, *H264)
    with pytest.raises(Ex4dError, match=r"frame times of a\.mp4 jump") as caught:
        read_clip([path])
    assert caught.value.code == UNSUPPORTED


def test_containers_without_times_of_showing_are_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mpg", numbered(12), "30000/1001", "-c:v", "mpeg2video", "-q:v", "2", "-bf", "2")
    clip = read_clip([path])
    assert numbers(clip.frames) == list(range(12))
    assert clip.fps == Fraction(30000, 1001)


def test_a_title_about_damage_is_no_damage(tmp_path: Path) -> None:
    options = ("-metadata", "title=corrupt truncated partial file", *H264)
    clip = read_clip([encode(tmp_path / "corrupt.mkv", numbered(3), "25", *options)])
    assert clip.notes == ()


def test_a_stuck_ffmpeg_is_ended(tmp_path: Path) -> None:
    slow = ["-f", "lavfi", "-i", "color=s=16x16:r=25,realtime=speed=0.001", "-f", "rawvideo", "pipe:1"]
    with stream(slow, stall_s=0.5) as running:
        assert running.process.stdout is not None
        running.process.stdout.read()
        code, _ = running.end()
    assert running.stuck
    assert code != 0


def test_ranges_and_matrices_follow_the_tags(tmp_path: Path) -> None:
    colours = [(200, 30, 40), (20, 180, 60), (30, 60, 210), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    frames = np.zeros((2, 32, 96, 3), np.uint8)
    for k, colour in enumerate(colours):
        frames[:, :, k * 16 : k * 16 + 16] = colour
    for matrix, tag in (("bt709", "bt709"), ("bt601", "smpte170m")):
        for span, fmt in (("tv", "yuv420p"), ("pc", "yuvj420p")):
            path = encode(
                tmp_path / f"{matrix}{span}.mp4", frames, "25",
                "-vf", f"scale=out_color_matrix={matrix}:out_range={span},format={fmt}",
                "-c:v", "libx264", "-qp", "1", "-colorspace", tag, "-color_range", span,
            )  # fmt: skip
            got = read_clip([path]).frames[:, :, 4::16][:, :, :6].astype(int)
            assert np.abs(got - frames[:, :, 4::16][:, :, :6]).max() <= 4, (matrix, span)


def test_untagged_movies_follow_the_habit_of_players(tmp_path: Path) -> None:
    frames = np.zeros((1, 720, 1280, 3), np.uint8)
    frames[:] = (200, 30, 40)
    for matrix, size in (("bt709", (1280, 720)), ("bt601", (320, 240))):
        cut = np.ascontiguousarray(frames[:, : size[1], : size[0]])
        options = ("-vf", f"scale=out_color_matrix={matrix},format=yuv420p,setparams=colorspace=unknown")
        path = encode(tmp_path / f"{matrix}.mkv", cut, "25", *options, "-c:v", "libx264", "-qp", "1")
        clip = read_clip([path])
        assert np.abs(clip.frames[0, 50, 50].astype(int) - (200, 30, 40)).max() <= 4
        assert ("BT.709" in notes_of(clip)) == (matrix == "bt709")


def test_ten_bit_and_hdr_become_eight_bit_srgb_with_a_note(tmp_path: Path) -> None:
    deep = read_clip([encode(tmp_path / "a.mkv", numbered(3), "25", "-c:v", "ffv1", "-pix_fmt", "yuv422p10le")])
    assert numbers(deep.frames) == [0, 1, 2]
    assert "8 bits" in notes_of(deep)
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv")
    to_pq = (
        "format=gbrp,zscale=tin=bt709:pin=bt709:min=gbr:rin=full:t=linear:p=bt709:m=gbr:npl=203,format=gbrpf32le,"
        "zscale=p=bt2020:t=smpte2084:m=bt2020nc:r=limited:npl=203,format=yuv444p10le"
    )
    frames = numbered(3, 97, 53)
    hdr = read_clip([encode(tmp_path / "h.mkv", frames, "25", "-vf", to_pq, "-c:v", "ffv1", *tags)])
    assert numbers(hdr.frames) == [0, 1, 2]
    assert "HDR (PQ)" in notes_of(hdr)
    slope = slice(30, 50)
    assert np.abs(hdr.frames[:, slope].astype(int) - frames[:, slope]).mean() < 25  # toned, not another picture


def test_a_rate_given_for_a_movie_replaces_its_own(tmp_path: Path) -> None:
    clip = read_clip([encode(tmp_path / "a.mp4", numbered(3), "25")], fps=Fraction(24))
    assert clip.fps == 24
    assert len(clip.frames) == 3
    assert "24 fps instead of its own 25" in notes_of(clip)


def test_a_movie_that_is_cut_off_says_what_can_be_read(tmp_path: Path) -> None:
    frames = numbered(40)
    frames[:, 20:] = np.random.default_rng(1).integers(0, 255, frames[:, 20:].shape)  # so that frames weigh something
    path = encode(tmp_path / "a.mp4", frames, "25", *H264, "-movflags", "+faststart")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(Ex4dError, match="cut off before its first frame"):
        read_clip([cut])
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(Ex4dError, match=r"damaged or cut off.*can be read") as caught:
        read_clip([cut])
    assert caught.value.code == NOT_A_CLIP
    assert numbers(read_clip([cut], count=5).frames) == [0, 1, 2, 3, 4]
    cut.write_bytes(encode(tmp_path / "b.mp4", numbered(9), "25").read_bytes()[:-500])  # its index is at the end
    with pytest.raises(Ex4dError, match="cut off") as caught:
        read_clip([cut])
    assert caught.value.code == NOT_A_CLIP


def test_what_is_no_movie_gets_one_clear_line(tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac", str(sound))
    text = tmp_path / "text.mp4"
    text.write_text("not a movie\n" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    cases = [(sound, NOT_A_CLIP, "sound, but no pictures"), (text, NOT_A_CLIP, "cannot be read")]
    cases += [(empty, NOT_A_CLIP, "cannot be read"), (tmp_path / "no.mp4", NOT_FOUND, "not there")]
    for path, code, words in cases:
        with pytest.raises(Ex4dError, match=words) as caught:
            read_clip([path])
        assert caught.value.code == code
        assert "\n" not in str(caught.value)


def test_cover_pictures_of_sound_files_are_no_clip(tmp_path: Path) -> None:
    cover = encode(tmp_path / "c.png", numbered(1), "25", "-c:v", "png")
    tune = tmp_path / "tune.mp4"
    inputs = ("-f", "lavfi", "-i", "sine=d=0.2", "-i", str(cover))
    ffmpeg(
        *inputs, "-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "mjpeg", "-disposition:v", "attached_pic", str(tune)
    )
    with pytest.raises(Ex4dError, match="sound, but no pictures"):
        read_clip([tune])


def test_playlists_do_not_make_it_read_other_files(tmp_path: Path) -> None:
    encode(tmp_path / "secret.mp4", numbered(3), "25")
    for name, text in {
        "list.mp4": f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n",
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(Ex4dError) as caught:
            read_clip([tmp_path / name])
        assert caught.value.code == NOT_A_CLIP


def test_odd_file_names_are_only_names(tmp_path: Path) -> None:
    for name in ("-i.mp4", "a%03d.mp4", "file:x|y.mp4", "ä ö '\".mp4"):
        path = encode(tmp_path / "plain.mp4", numbered(2), "25").rename(tmp_path / name)
        assert len(read_clip([path]).frames) == 2


def test_senseless_ranges_are_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(2), "25")
    for wrong in ({"first": -1}, {"count": -1}, {"max_side": -1}, {"fps": Fraction(0)}):
        with pytest.raises(Ex4dError) as caught:
            read_clip([path], **wrong)  # type: ignore[arg-type]
        assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match="Choose one movie"):
        read_clip([path, path])
    with pytest.raises(Ex4dError, match="No file"):
        read_clip([])


def test_more_frames_than_fit_into_memory_are_refused_before_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.mp4", numbered(9), "25")
    monkeypatch.setattr(memory, "MAX_BYTES", 5 * 64 * 48 * 3)
    with pytest.raises(Ex4dError, match="9 frames of 64x48") as caught:
        read_clip([path])
    assert caught.value.code == LIMIT
    assert len(read_clip([path], count=5).frames) == 5


@pytest.mark.parametrize("packets", [9, 1])
def test_with_a_workspace_frames_lie_on_the_disk_and_may_be_any_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packets: int
) -> None:
    path = encode(tmp_path / "a.mp4", numbered(9), "25")
    held = read_clip([path])
    monkeypatch.setattr(memory, "MAX_BYTES", 5 * 64 * 48 * 3)
    monkeypatch.setattr(
        ex4d.clip, "probe", lambda path, limit=0: dataclasses.replace(probe(path, limit), packets=packets)
    )
    told: list[tuple[int, int]] = []
    with workspace(tmp_path) as folder:
        clip = read_clip([path], workspace=folder, progress=lambda done, total: told.append((done, total)))
        assert isinstance(clip.frames, np.memmap)
        np.testing.assert_array_equal(clip.frames, held.frames)
    assert told == [(n, max(n, packets)) for n in range(1, 10)]
    assert (clip.fps, clip.name, clip.notes) == (held.fps, held.name, held.notes)


def test_reading_stops_where_its_progress_is_told_to_stop(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", numbered(9), "25")

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise Ex4dError(CANCELLED, "Cancelled.")

    with pytest.raises(Ex4dError) as caught:
        read_clip([path], progress=stop)
    assert caught.value.code == CANCELLED


def test_written_movies_come_back(tmp_path: Path) -> None:
    frames = numbered(7, 97, 53)
    path = tmp_path / "deep" / "out.mp4"
    write_video(path, frames, NTSC)
    clip = read_clip([path])
    assert clip.fps == NTSC
    assert clip.frames.shape == (7, 54, 98, 3)  # one copied row and column: 4:2:0 needs even sides
    assert numbers(clip.frames[:, :53, :97]) == list(range(7))
    assert np.abs(clip.frames[:, 20:53, :97].astype(int) - frames[:, 20:]).mean() < 2
    assert [p.name for p in path.parent.iterdir()] == ["out.mp4"]
    write_video(path, (frame for frame in frames[:2]), Fraction(25))
    assert len(read_clip([path]).frames) == 2


def test_a_movie_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_video(path, numbered(2), Fraction(25))
    before = path.read_bytes()
    with pytest.raises(Ex4dError, match="one size"):
        write_video(path, [numbered(1)[0], numbered(1, 32, 32)[0]], Fraction(25))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    for wrong, fps in (([], Fraction(25)), (numbered(1), Fraction(0))):
        with pytest.raises(Ex4dError) as caught:
            write_video(path, wrong, fps)
        assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize(
    ("name", "shape", "fps"),
    [
        ("clips/goldfish_mpeg4.mp4", (25, 576, 1024, 3), 30),
        ("clips/portrait_full_range.mp4", (25, 768, 512, 3), 25),
        ("flower/input.mp4", (49, 512, 512, 3), 30),
    ],
)
def test_real_clips(reference: Callable[[str], Path], name: str, shape: tuple[int, ...], fps: int) -> None:
    clip = read_clip([reference(name)])
    assert clip.frames.shape == shape
    assert clip.fps == fps
    assert clip.notes == ()
    if "portrait" in name:  # a white wall: read as limited range it would be clipped, the other way it would be grey
        assert np.percentile(clip.frames[0], 1) < 25
        assert 200 < np.percentile(clip.frames[0], 90) < 255


def test_a_real_clip_with_an_edit_list(reference: Callable[[str], Path]) -> None:
    clip = read_clip([reference("clips/hd_30fps.mp4")], max_side=320)
    assert clip.frames.shape == (145, 180, 320, 3)  # 146 are stored, one of them is cut away
    assert clip.fps == 30
    assert not any("variable" in note for note in clip.notes)  # the one that is cut away leaves a gap in the times
