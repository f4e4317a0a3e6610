# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes as image strips: whole from the start, filled in any order, found by their job, never in each other's way."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon import compat, strips
from blender_addon.core.slate import slate
from shared_protocol.errors import LIMIT, Ex4dError


@pytest.fixture
def take(tmp_path: Path) -> Path:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    folder = tmp_path / "shot_ex4d" / "takes" / "clip_v001"
    folder.mkdir(parents=True)
    return folder


def add(take: Path, job_id: str = "a" * 32, *, frames: int = 4, after: str = "") -> str:
    return strips.add(
        bpy.context, bpy.context.scene, take, size=(64, 48), frames=frames, job_id=job_id, after=after,
        settings={"generator": "preview", "seed": 3},
    )  # fmt: skip


def the(name: str) -> bpy.types.Strip:
    return bpy.context.scene.sequence_editor.strips[name]


def names(name: str) -> list[str]:
    return [element.filename for element in the(name).elements]


def test_a_strip_has_its_whole_length_from_the_start_and_no_file_is_missing(take: Path) -> None:
    bpy.context.scene.frame_start = 11
    name = add(take)
    assert name == "clip_v001"
    assert names(name) == [".slate.png"] * 4
    assert compat.strip_range(the(name)) == (11, 15)
    folder = Path(bpy.path.abspath(the(name).directory))
    assert all((folder / n).is_file() for n in names(name)), "a missing first file can crash Blender"
    assert the(name).directory.startswith("//"), "the .blend and its takes can be moved together"


def test_frames_come_in_any_order_and_twice(take: Path) -> None:
    name = add(take)
    for number in (3, 1, 3):
        strips.put_frame("a" * 32, number, f"{number:04d}.png")
    assert names(name) == ["0001.png", ".slate.png", "0003.png", ".slate.png"]
    assert strips.arrived(the(name)) == 2
    strips.put_frame("a" * 32, 9, "0009.png")  # beyond the end: nothing to show it on
    strips.put_frame("b" * 32, 2, "0002.png")  # of another job
    assert strips.arrived(the(name)) == 2


def test_a_copied_and_renamed_strip_gets_the_frames_too(take: Path) -> None:
    add(take)
    the("clip_v001").name = "hero"
    copy = bpy.context.scene.sequence_editor.strips.new_image("copy", str(take / "frames" / ".slate.png"), 5, 20)
    copy.directory = the("hero").directory
    copy[strips.JOB] = "a" * 32
    strips.put_frame("a" * 32, 1, "0001.png")
    assert names("hero")[0] == names("copy")[0] == "0001.png"


def test_a_second_take_lies_above_the_first(take: Path) -> None:
    first = the(add(take)).channel
    other = take.with_name("clip_v002")
    other.mkdir()
    assert the(add(other, "b" * 32)).channel == first + 1
    bpy.context.scene.frame_start = 100
    later = take.with_name("clip_v003")
    later.mkdir()
    assert the(add(later, "c" * 32)).channel == first, "where nothing lies there is room"


def test_a_full_timeline_is_one_line(take: Path) -> None:
    add(take)
    editor = bpy.context.scene.sequence_editor
    for channel in range(1, 129):
        if not any(s.channel == channel for s in editor.strips):
            length = {"frame_end": 10} if bpy.app.version < (5, 0) else {"length": 9}
            editor.strips.new_effect(f"c{channel}", "COLOR", channel, 1, **length)
    with pytest.raises(Ex4dError) as error:
        add(take, "b" * 32)
    assert error.value.code == LIMIT


def test_how_a_take_was_made_is_on_its_strip_and_survives_saving(take: Path) -> None:
    name = add(take)
    assert strips.finish(
        "a" * 32, {"seed": 2**40, "fps": [24, 1], "inputs": [{"name": "x"}], "generator": {"name": "p"}}
    )
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    strip = the(name)
    assert strip[strips.STATE] == strips.DONE
    made = strip[strips.TAKE].to_dict()
    assert list(made.pop("fps")) == [24, 1]
    assert made == {"seed": str(2**40), "inputs": '[{"name": "x"}]', "generator": {"name": "p"}}
    assert strips.take_folder(strip) == take
    assert not strips.finish("b" * 32, {})


def test_a_take_of_nothing_goes_and_one_with_frames_stays(take: Path) -> None:
    add(take)
    other = take.with_name("clip_v002")
    other.mkdir()
    add(other, "b" * 32)
    strips.put_frame("b" * 32, 1, "0001.png")
    assert not strips.withdraw("a" * 32)
    assert strips.withdraw("b" * 32)
    assert [s.name for _, s in strips.every()] == ["clip_v002"]
    assert the("clip_v002")[strips.STATE] == strips.FAILED


def test_undo_takes_a_strip_away_and_nothing_breaks(take: Path) -> None:
    bpy.context.scene.sequence_editor_create()
    bpy.ops.ed.undo_push(message="before")
    add(take)
    bpy.ops.ed.undo_push(message="take")
    bpy.ops.ed.undo()
    assert not list(strips.every())
    strips.put_frame("a" * 32, 1, "0001.png")
    bpy.ops.ed.redo()
    strips.put_frame("a" * 32, 2, "0002.png")
    assert names("clip_v001")[1] == "0002.png"


def test_reading_ahead_is_as_the_artist_set_it(take: Path) -> None:
    editor = bpy.context.scene.sequence_editor_create()
    editor.use_prefetch = True
    add(take)
    strips.put_frame("a" * 32, 1, "0001.png")
    assert editor.use_prefetch is True


def test_a_frame_that_came_is_shown_in_place_of_the_slate(take: Path, tmp_path: Path) -> None:
    name = add(take)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 64, 48, 100
    scene.view_settings.view_transform = "Standard"
    scene.frame_set(2)
    before = shown(tmp_path / "before.png")
    image = bpy.data.images.new("white", 64, 48)
    image.pixels = [1.0] * (64 * 48 * 4)
    image.filepath_raw, image.file_format = str(take / "frames" / "0002.png"), "PNG"
    image.save()
    strips.put_frame("a" * 32, 2, "0002.png")
    assert names(name)[1] == "0002.png"
    assert before < 0.3
    assert shown(tmp_path / "after.png") > 0.99
    assert (take / "frames" / ".slate.png").read_bytes() == slate(64, 48)


@pytest.mark.parametrize(
    ("scene_size", "shot", "frame", "zoom"),
    [
        ((64, 48), (64, 48), (32, 24), 1.0),
        ((64, 48), (64, 48), (128, 96), 1.0),
        ((192, 108), (192, 108), (84, 48), 1.0),  # not quite of its shape, as multiples of 16 give
        ((192, 108), (192, 108), (96, 48), 1.0),
        ((64, 48), (64, 48), (32, 24), 2.0),  # the artist has scaled the strip
        ((128, 96), (64, 48), (32, 24), 1.0),
    ],
)
def test_frames_of_another_size_than_the_shot_fill_the_edit_with_no_bars(
    take: Path,
    tmp_path: Path,
    scene_size: tuple[int, int],
    shot: tuple[int, int],
    frame: tuple[int, int],
    zoom: float,
) -> None:
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = scene_size
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Standard"
    name = strips.add(
        bpy.context, scene, take, size=shot, frames=2, job_id="a" * 32, after="", settings={"seed": 0}
    )  # fmt: skip
    the(name).transform.scale_x *= zoom
    the(name).transform.scale_y *= zoom
    picture = np.ones((frame[1], frame[0], 4), np.float32)
    picture[: frame[1] // 2, : frame[0] // 2, 1:3] = 0.0  # a red quarter at the bottom left
    image = bpy.data.images.new("frame", *frame)
    image.pixels.foreach_set(picture.ravel())
    image.filepath_raw, image.file_format = str(take / "frames" / "0001.png"), "PNG"
    image.save()
    for _ in range(2):
        strips.put_frame("a" * 32, 1, "0001.png")
    scene.frame_set(1)
    scene.render.filepath = str(tmp_path / "edit.png")
    bpy.ops.render.render(write_still=True)
    edit = bpy.data.images.load(str(tmp_path / "edit.png"))
    pixels = np.array(edit.pixels[:]).reshape(scene_size[1], scene_size[0], 4)
    wide, high = scene_size
    assert pixels[:, wide // 2 + 2 :, :3].min() > 0.98, "the right half is white up to the edges"
    assert pixels[: high // 2 - 2, : wide // 2 - 2, 0].min() > 0.98
    assert pixels[: high // 2 - 2, : wide // 2 - 2, 1].max() < 0.02, "the bottom left is red"
    assert pixels[high // 2 + 2 :, : wide // 2 - 2, 1].min() > 0.98
    scale = the(name).transform
    assert scale.scale_x * frame[0] == pytest.approx(zoom * wide)
    assert scale.scale_y * frame[1] == pytest.approx(zoom * high)


def shown(path: Path) -> float:
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    value = sum(image.pixels[:3]) / 3.0
    bpy.data.images.remove(image)
    return value


@pytest.mark.parametrize("arrived", [(), (1,), (3,)])
def test_a_take_in_the_making_stays_whole_when_the_file_is_saved_elsewhere(
    take: Path, tmp_path: Path, arrived: tuple[int, ...]
) -> None:
    name = add(take)
    for number in arrived:
        strips.put_frame("a" * 32, number, f"{number:04d}.png")
    before = names(name)
    (tmp_path / "other" / "place").mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "other" / "place" / "copy.blend"))
    assert names(name) == before
    assert strips.take_folder(the(name)) == take
