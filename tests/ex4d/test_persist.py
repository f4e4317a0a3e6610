# SPDX-License-Identifier: Apache-2.0
"""Background that other frames saw, in rooms whose truth is known from any camera at any time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from mesh_cases import towards
from persist_cases import LENS, Box, filmed, trace

from ex4d.cameras import static_source
from ex4d.mesh import adjust_depth
from ex4d.persist import Background, View, build_background, fill
from ex4d.persist.evidence import MOST_FRAMES, key_frames
from ex4d.persist.layers import MOST_LAYERS
from ex4d.persist.space import filled_space
from ex4d.render import render_frame
from ex4d.scene import build_scene, scene_mesh
from ex4d.values import F64, U8, Bool, DepthVideo, Scene, SourceModel
from shared_protocol.errors import BAD_INPUT, CANCELLED, Ex4dError

FRAMES = 7
THING = Box((0.0, 1.4, 4.5), (0.25, 0.9, 0.25), 1.0)
POLE = Box((1.2, 0.0, 5.0), (0.25, 3.0, 0.2), 2.0)
AHEAD = (0.0, 0.0, 6.0)
FEW = 0.02  # share of the added pixels, at edges of things: the pictures are small
EYES = ((-1.5, 0.0, 0.5), (1.8, -0.5, 1.0), (0.0, -1.0, 1.5))


def walk() -> list[list[Box]]:
    """A box that crosses the room behind nothing and before the pole's foot."""
    return [[THING.at(-2.2 + 4.4 * k / (FRAMES - 1), 1.4, 4.0), POLE] for k in range(FRAMES)]


def pan(frames: int = FRAMES) -> F64:
    """A camera that moves sideways and looks ahead."""
    return np.stack([towards((-1.2 + 2.4 * k / (frames - 1), 0.0, 0.0), AHEAD) for k in range(frames)])


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame before and after, and the truth."""

    before: Bool
    colour: U8
    mask: Bool
    truth: U8
    true_z: np.ndarray
    z: np.ndarray

    @property
    def added(self) -> Bool:
        return self.mask & ~self.before

    @property
    def wrong(self) -> Bool:
        """Added pixels that do not show what is there."""
        differs = np.abs(self.colour.astype(int) - self.truth).max(axis=-1) > 3
        return self.added & (differs | (np.abs(self.z - self.true_z) > 0.02 * self.true_z))


def shown(scene: Scene, background: Background, boxes: list[Box], t: int, pose: F64) -> Frame:
    source = static_source(scene, len(scene.mesh_depth))
    own = np.linalg.inv(scene.camera.world_from_camera[t]) @ pose
    colour, mask, z = render_frame(scene_mesh(scene, source, t), scene.clip.frames[t], own, LENS)
    view = background.view(source, t, pose, LENS, wanted=~mask)
    filled_colour, filled, filled_z = fill(colour, mask, z, view)
    np.testing.assert_array_equal(filled_colour[mask], colour[mask])  # what the frame itself saw stays
    np.testing.assert_array_equal(filled_z[mask], z[mask])
    assert (filled | ~mask).all()
    return Frame(mask, filled_colour, filled, *trace(boxes, pose, LENS), filled_z)


@pytest.fixture(scope="module")
def still_camera() -> tuple[Scene, Background]:
    scene = filmed(walk())
    return scene, build_background(scene)


@pytest.fixture(scope="module")
def moving_camera() -> tuple[Scene, Background]:
    scene = filmed(walk(), pan())
    return scene, build_background(scene)


@pytest.mark.parametrize("t", [0, 3, FRAMES - 1])
def test_behind_a_moving_box_the_true_wall_appears_and_the_box_itself_only_once(
    still_camera: tuple[Scene, Background], t: int
) -> None:
    frames = [shown(*still_camera, walk()[t], t, towards(eye, AHEAD)) for eye in EYES]
    added = sum(int(frame.added.sum()) for frame in frames)
    assert added > 60
    assert sum(int(frame.wrong.sum()) for frame in frames) <= FEW * added


@pytest.mark.parametrize("t", [0, 3, FRAMES - 1])
def test_a_moving_camera_reveals_more(moving_camera: tuple[Scene, Background], t: int) -> None:
    frames = [shown(*moving_camera, walk()[t], t, towards(eye, AHEAD)) for eye in EYES]
    added = sum(int(frame.added.sum()) for frame in frames)
    assert added > 600
    assert sum(int(frame.wrong.sum()) for frame in frames) <= FEW * added
    assert 1 < len(moving_camera[1].layers) <= MOST_LAYERS


def test_a_camera_that_stands_still_needs_one_layer_whole_behind_what_moves(
    still_camera: tuple[Scene, Background],
) -> None:
    _, background = still_camera
    (layer,) = background.layers
    clean, z = trace([POLE], np.eye(4), LENS)
    assert layer.known.mean() > 0.9
    assert np.abs(layer.picture.astype(int) - clean)[layer.known].max() <= 1
    np.testing.assert_allclose(layer.z[layer.known], z[layer.known], rtol=1e-5)


def test_nothing_moves_and_the_camera_stands_still_so_there_is_nothing_to_add() -> None:
    boxes = [THING, POLE]
    scene = filmed([boxes] * 4)
    background = build_background(scene)
    for eye in EYES:
        assert not shown(scene, background, boxes, 1, towards(eye, AHEAD)).added.any()


def test_nothing_moves_and_the_camera_does_so_its_parallax_is_what_is_added() -> None:
    boxes = [THING, POLE]
    poses = pan(5)
    scene = filmed([boxes] * 5, poses)
    background = build_background(scene)
    added = wrong = 0
    for eye in EYES:
        pose = towards(eye, AHEAD)
        frame = shown(scene, background, boxes, 2, pose)
        added, wrong = added + int(frame.added.sum()), wrong + int(frame.wrong.sum())
        rows, columns = np.nonzero(frame.added)
        z = frame.z[rows, columns]
        points = np.stack([(columns + 0.5 - LENS.cx) / LENS.fx * z, (rows + 0.5 - LENS.cy) / LENS.fy * z, z, z**0])
        seen = np.zeros(len(z), np.bool_)
        for t in (0, 1, 3, 4):
            x, y, there = (np.linalg.inv(poses[t]) @ pose @ points)[:3]
            u, v = x / there * LENS.fx + LENS.cx, y / there * LENS.fy + LENS.cy
            inside = (there > 0) & (u > 0) & (u < LENS.width) & (v > 0) & (v < LENS.height)
            i, j = np.where(inside, u, 0).astype(int), np.where(inside, v, 0).astype(int)
            seen |= inside & (there < scene.mesh_depth[t, 2:-2, 2:-2][j, i] * 1.05)
        assert seen.mean() > 0.99
    assert added > 600
    assert wrong <= FEW * added


def test_a_textured_thing_that_slides_along_itself_is_not_background() -> None:
    belt = Box((0.0, 1.8, 4.5), (5.0, 0.4, 0.4), 3.0, 6.0)
    frames = [[dataclasses.replace(belt, slide=(0.4 * k, 0.0, 0.0))] for k in range(FRAMES)]
    scene = filmed(frames)
    background = build_background(scene)
    _, z = trace(frames[0], np.eye(4), LENS)
    (layer,) = background.layers
    assert layer.known[z > 6.0].mean() > 0.8
    assert layer.known[(z > 4.0) & (z < 4.3)].mean() < 0.02


def test_one_frame_has_no_other_to_learn_from() -> None:
    boxes = [THING, POLE]
    scene = filmed([boxes])
    background = build_background(scene)
    assert background.layers == ()
    assert not shown(scene, background, boxes, 0, towards(EYES[0], AHEAD)).added.any()


def seen_from(scene: Scene, source: SourceModel, pose: F64) -> View:
    return build_background(scene).view(source, 3, pose, LENS)


@pytest.mark.parametrize("poses", [None, pan()], ids=["still camera", "moving camera"])
@pytest.mark.parametrize("change", ["disparity", "lens"])
def test_what_an_artist_sets_moves_the_background_with_the_mesh(change: str, poses: F64 | None) -> None:
    scene = filmed(walk(), poses)
    pose = towards((-0.5, 0.0, 0.2), AHEAD)
    source = static_source(scene, FRAMES)
    if change == "disparity":
        source = dataclasses.replace(
            source, disparity_scale=np.full(FRAMES, 1.1), disparity_shift=np.full(FRAMES, 0.02)
        )
        z = adjust_depth(scene.mesh_depth[:, 2:-2, 2:-2], 1.1, 0.02)
        changed = build_scene(scene.clip, DepthVideo(z, "file", False), camera=scene.camera)
    else:
        source = dataclasses.replace(source, focal=source.focal * 1.2, cx=source.cx + 3.0, cy=source.cy - 2.0)
        lens = scene.camera.intrinsics * [1.2, 1.2, 1.0, 1.0] + [0.0, 0.0, 3.0, -2.0]
        changed = dataclasses.replace(scene, camera=dataclasses.replace(scene.camera, intrinsics=lens))
    ours = seen_from(scene, source, pose)
    if poses is None:  # what stands still then is the same, whatever the depth and the lens
        expected = seen_from(changed, static_source(changed, FRAMES), pose)
    else:  # only the layers' geometry: what stands still is found before anything is set
        unset = build_background(scene)
        layers = tuple(
            dataclasses.replace(layer, z=adjust_depth(layer.z, 1.1, 0.02))
            if change == "disparity"
            else dataclasses.replace(layer, lens=layer.lens * [1.2, 1.2, 1.0, 1.0] + [0.0, 0.0, 3.0, -2.0])
            for layer in unset.layers
        )
        expected = Background(changed, layers, unset.alignment).view(static_source(changed, FRAMES), 3, pose, LENS)
    unchanged = seen_from(scene, static_source(scene, FRAMES), pose)
    assert ours.mask.mean() > 0.01
    assert (ours.mask == expected.mask).mean() > 0.99
    both = ours.mask & expected.mask
    assert np.abs(ours.colour.astype(int) - expected.colour)[both].max() <= 1
    np.testing.assert_allclose(ours.z[both], expected.z[both], rtol=1e-4)
    both = ours.mask & unchanged.mask
    assert np.abs(ours.colour.astype(int) - unchanged.colour)[both].mean() > 2


def test_depth_that_wobbles_from_frame_to_frame_still_fills() -> None:
    exact = filmed(walk())
    rng = np.random.default_rng(1)
    wobble = rng.normal(1.0, 0.015, FRAMES)[:, None, None] * rng.normal(
        1.0, 0.003, exact.mesh_depth[:, 2:-2, 2:-2].shape
    )
    z = (exact.mesh_depth[:, 2:-2, 2:-2] * wobble).astype(np.float32)
    scene = build_scene(exact.clip, DepthVideo(z, "file", False), camera=exact.camera)
    background = build_background(scene)
    assert background.layers[0].known.mean() > 0.85
    added = wrong = 0
    for eye in EYES:
        frame = shown(scene, background, walk()[3], 3, towards(eye, AHEAD))
        added += int(frame.added.sum())
        off = np.abs(frame.colour.astype(int) - frame.truth).max(axis=-1) > 30
        wrong += int((frame.added & off).sum())
    assert added > 0.01 * 3 * LENS.width * LENS.height
    assert wrong <= 0.02 * added


def test_only_what_is_wanted_is_shown_and_the_rest_is_black() -> None:
    scene = filmed(walk())
    background = build_background(scene)
    source, pose = static_source(scene, FRAMES), towards(EYES[0], AHEAD)
    everywhere = background.view(source, 3, pose, LENS)
    wanted = np.zeros((LENS.height, LENS.width), np.bool_)
    wanted[:, : LENS.width // 2] = True
    half = background.view(source, 3, pose, LENS, wanted=wanted)
    np.testing.assert_array_equal(half.mask, everywhere.mask & wanted)
    np.testing.assert_array_equal(half.colour[half.mask], everywhere.colour[half.mask])
    for view in (everywhere, half):
        assert not view.colour[~view.mask].any()
        assert not view.z[~view.mask].any()
        assert (view.z[view.mask] > 0.0).all()


def test_a_camera_behind_the_wall_sees_nothing_of_it(still_camera: tuple[Scene, Background]) -> None:
    scene, background = still_camera
    view = background.view(static_source(scene, FRAMES), 3, towards((0.0, 0.0, 12.0), (0.0, 0.0, 0.0)), LENS)
    assert not view.mask.any()


def test_an_unknown_rasterizer_is_refused(still_camera: tuple[Scene, Background]) -> None:
    scene, background = still_camera
    with pytest.raises(Ex4dError) as caught:
        background.view(static_source(scene, FRAMES), 0, np.eye(4), LENS, rasterizer="none")
    assert caught.value.code == BAD_INPUT


def test_long_clips_and_large_pictures_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = filmed([[THING]] * 40)
    keys = key_frames(scene)
    assert len(keys.z) == MOST_FRAMES
    size = LENS.width * LENS.height
    monkeypatch.setattr("ex4d.persist.evidence._MOST_BYTES", 16 * size * 6)
    keys = key_frames(scene)
    assert len(keys.z) == 6
    np.testing.assert_array_equal(keys.pictures[-1], scene.clip.frames[-1])


def test_it_tells_how_far_it_is_and_can_be_stopped() -> None:
    scene = filmed([[THING]] * 3)
    told: list[tuple[int, int]] = []
    build_background(scene, lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        if done:
            raise Ex4dError(CANCELLED, "Stopped.")

    with pytest.raises(Ex4dError, match="Stopped"):
        build_background(scene, stop)


def wobbling(scene: Scene, scales: np.ndarray, shifts: np.ndarray, noise: float = 0.0) -> Scene:
    """The scene with another scale and shift of the disparity in each frame."""
    rng = np.random.default_rng(3)
    z = scene.mesh_depth[:, 2:-2, 2:-2]
    wrong = [adjust_depth(own, scale, shift) for own, scale, shift in zip(z, scales, shifts, strict=True)]
    wrong = np.stack(wrong) * rng.normal(1.0, noise, z.shape).astype(np.float32)
    return build_scene(scene.clip, DepthVideo(wrong, "file", False), camera=scene.camera)


@pytest.mark.parametrize("poses", [None, pan()], ids=["still camera", "moving camera"])
def test_scale_and_shift_of_each_frames_depth_are_found(poses: F64 | None) -> None:
    exact = filmed(walk(), poses)
    assert build_background(exact).alignment == ((1.0, 0.0),) * FRAMES
    scales, shifts = np.linspace(0.95, 1.06, FRAMES), np.linspace(0.008, -0.008, FRAMES)
    scene = wobbling(exact, scales, shifts)
    alignment = build_background(scene).alignment
    z = np.linspace(3.0, 8.0, 20, dtype=np.float32)
    together = np.stack(
        [
            adjust_depth(adjust_depth(z, *wrong), *found)
            for wrong, found in zip(zip(scales, shifts, strict=True), alignment, strict=True)
        ]
    )
    spread = together / together[FRAMES // 2]
    assert np.abs(spread - 1.0).max() < (0.003 if poses is None else 0.01)
    apart = np.stack([adjust_depth(z, *wrong) for wrong in zip(scales, shifts, strict=True)])
    assert np.abs(apart / apart[FRAMES // 2] - 1.0).max() > 0.03


def test_frames_between_the_key_frames_are_aligned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ex4d.persist.evidence.MOST_FRAMES", 4)
    scene = wobbling(filmed(walk()), np.linspace(0.95, 1.06, FRAMES), np.zeros(FRAMES))
    alignment = np.array(build_background(scene).alignment)
    assert np.abs(alignment[:, 0] * np.linspace(0.95, 1.06, FRAMES) - alignment[3, 0] * 1.005).max() < 0.003


def test_noise_in_the_depth_of_things_that_stand_still_adds_nothing() -> None:
    boxes = [THING, POLE]
    scene = wobbling(filmed([boxes] * 5), np.array([1.0, 1.02, 0.98, 1.01, 0.99]), np.zeros(5), noise=0.005)
    background = build_background(scene)
    for eye in EYES:
        assert shown(scene, background, boxes, 1, towards(eye, AHEAD)).added.sum() <= 3


def test_space_behind_a_moving_thing_is_filled_and_goes_on_where_the_pictures_edge_cuts_it_off() -> None:
    moving = np.zeros((40, 60), np.bool_)
    moving[10:30, :12] = True
    near, far = filled_space(moving, np.full(moving.shape, 4.0, np.float32), 50.0)
    beyond = (near.shape[0] - 40) // 2
    assert near.shape == far.shape == (40 + 2 * beyond, 60 + 2 * beyond)
    assert beyond > 10
    middle = near[beyond + 20], far[beyond + 20]
    width = 24 / 50.0 * 4.0  # cut off at its middle
    assert middle[0][beyond] == middle[0][beyond - 10] == 4.0
    assert middle[1][beyond] == middle[1][beyond - 10]
    assert 4.0 + width < middle[1][beyond] < 4.0 + 3.0 * width
    assert 4.0 < middle[1][beyond + 11] < middle[1][beyond + 6] < middle[1][beyond]  # less deep towards the outline
    assert (far < near)[:, beyond + 20 :].all()
