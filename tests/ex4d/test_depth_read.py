# SPDX-License-Identifier: Apache-2.0
"""Depth files as they are stored: EXR channels and parts, arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ex4d.depth.read import open_depth
from ex4d.images import write_exr, write_png
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, SIZE_MISMATCH, Ex4dError

pytestmark = pytest.mark.filterwarnings("error")

H, W = 6, 8
PLANES = np.random.default_rng(3).uniform(1.0, 9.0, (5, H, W)).astype(np.float32)


def everything(path: Path, channel: str = "") -> F32:
    """[T, h, w] all that is stored."""
    stored = open_depth([path], channel)
    return np.stack(list(stored.read(range(stored.total))))


def parts(path: Path, channels: dict[str, list[str]]) -> Path:
    """An EXR of several parts, each with channels of their own; channel k of the file holds `PLANES[k]`."""
    planes = iter(PLANES)
    made = [
        OpenEXR.Part({"name": part}, {name: next(planes) for name in sorted(names)}) for part, names in channels.items()
    ]
    with OpenEXR.File(made) as file:
        file.write(str(path))
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            (name, "disparity")
            for name in ("disparity", "Disparity", "left.disparity.Y", "disp", "disp_0", "leftDisp0")
        ),
        *((name, "depth") for name in ("Z", "display.Z", "displacement.Z", "beauty.depth")),
    ],
)
def test_names_tell_what_values_are(tmp_path: Path, name: str, kind: str) -> None:
    write_exr(tmp_path / "a.exr", {name: PLANES[0]})
    np.savez(tmp_path / "a.npz", **{name: PLANES})
    assert open_depth([tmp_path / "a.exr"], name).kind == open_depth([tmp_path / "a.npz"], name).kind == kind


BLENDER = {
    "ViewLayer.Combined": ["ViewLayer.Combined.R", "ViewLayer.Combined.G"],
    "ViewLayer.Mist": ["ViewLayer.Mist.Z"],
    "ViewLayer.Depth": ["ViewLayer.Depth.Z"],
}


def test_depth_is_found_among_the_parts_of_a_file(tmp_path: Path) -> None:
    whole_names = parts(tmp_path / "blender.exr", BLENDER)
    short = {part: [name.removeprefix(f"{part}.") for name in names] for part, names in BLENDER.items()}
    short_names = parts(tmp_path / "other.exr", short)
    for path in (whole_names, short_names):
        np.testing.assert_array_equal(everything(path)[0], PLANES[3])
        assert not open_depth([path]).notes
        for channel, plane in (
            ("ViewLayer.Mist.Z", 2),
            ("viewlayer.combined.g", 0),
            ("Combined.R", 1),
            ("Depth.Z", 3),
        ):
            np.testing.assert_array_equal(everything(path, channel)[0], PLANES[plane])


def test_a_channel_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    path = parts(tmp_path / "a.exr", BLENDER)
    with pytest.raises(Ex4dError, match=r"no channel 'Depth.V'. It has: ViewLayer.Combined.G, .*ViewLayer.Depth.Z"):
        open_depth([path], "Depth.V")
    with pytest.raises(Ex4dError, match=r"several channels 'Z': ViewLayer.Mist.Z, ViewLayer.Depth.Z"):
        open_depth([path], "Z")
    write_exr(tmp_path / "b.exr", {"Z": PLANES[0]})
    stored = open_depth([path, tmp_path / "b.exr"], "Depth.Z")
    with pytest.raises(Ex4dError, match=r"b.exr has no channel 'ViewLayer.Depth.Z'. It has: Z") as caught:
        list(stored.read([0, 1]))
    assert caught.value.code == BAD_INPUT


def test_two_channels_that_might_be_depth_are_told(tmp_path: Path) -> None:
    path = parts(tmp_path / "a.exr", {"far": ["far.Depth.Z"], "near": ["near.Depth.Z"]})
    assert open_depth([path]).notes == ("depth is read from the channel far.Depth.Z; there is near.Depth.Z as well",)
    np.testing.assert_array_equal(everything(path, "near.Depth.Z")[0], PLANES[1])


def test_grey_exr_is_depth_and_colour_is_not_unless_a_channel_is_named(tmp_path: Path) -> None:
    write_exr(tmp_path / "grey.exr", dict.fromkeys("RGB", PLANES[0]))
    np.testing.assert_array_equal(everything(tmp_path / "grey.exr")[0], PLANES[0])
    colour = tmp_path / "colour.exr"
    write_exr(colour, dict(zip("RGB", PLANES, strict=False)))
    with pytest.raises(Ex4dError, match=r"coloured picture.*depth_channel") as caught:
        open_depth([colour])
    assert caught.value.code == BAD_INPUT
    np.testing.assert_array_equal(everything(colour, "B")[0], PLANES[2])


def test_only_what_has_channels_can_be_asked_for_one(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((H, W), np.uint16))
    with pytest.raises(Ex4dError, match="no channels to choose from"):
        open_depth([tmp_path / "a.png"], "R")
    np.savez(tmp_path / "a.npz", near=PLANES, far=PLANES * 2)
    np.testing.assert_array_equal(everything(tmp_path / "a.npz", "far"), PLANES * 2)
    with pytest.raises(Ex4dError, match=r"no array 'z'. It has: near, far"):
        open_depth([tmp_path / "a.npz"], "z")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f2", "<f8", "<u2", ">i4", "u1"])
@pytest.mark.parametrize("shape", [(5, H, W), (5, H, W, 1), (5, 1, H, W)])
def test_arrays_of_any_layout_come_back(tmp_path: Path, kind: str, order: str, shape: tuple[int, ...]) -> None:
    values = np.asarray(PLANES.astype(kind).reshape(shape), order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", depth=values)
    np.savez_compressed(tmp_path / "c.npz", other=np.zeros(3), depth=values)
    for name in ("a.npy", "b.npz", "c.npz"):
        np.testing.assert_array_equal(everything(tmp_path / name), values.astype(np.float32).reshape(PLANES.shape))
        stored = open_depth([tmp_path / name])
        some = list(stored.read([1, 3]))
        np.testing.assert_array_equal(some, values.astype(np.float32).reshape(PLANES.shape)[[1, 3]])


def test_an_array_for_each_frame(tmp_path: Path) -> None:
    for t, plane in enumerate(PLANES):
        np.save(tmp_path / f"z{t + 11}.npy", plane)
    stored = open_depth([tmp_path])
    assert (stored.total, stored.numbers) == (5, (11, 12, 13, 14, 15))
    np.testing.assert_array_equal(list(stored.read(range(5))), PLANES)
    np.save(tmp_path / "z13.npy", PLANES[:, :3])
    with pytest.raises(Ex4dError, match=r"z13.npy holds 5 frames of 8x3, z11.npy 1 frame of 8x6") as caught:
        list(stored.read(range(5)))
    assert caught.value.code == SIZE_MISMATCH


def _objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _huge(path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1, 1 << 20, 1 << 20)})
    path.write_bytes(head.getvalue())


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_objects, NOT_A_CLIP),
        (_huge, "LIMIT"),
        (lambda path: np.save(path, PLANES > 2.0), BAD_INPUT),
        (lambda path: np.save(path, PLANES.astype(np.complex64)), BAD_INPUT),
        (lambda path: np.save(path, np.zeros((2, 3, 4, 5), np.float32)), BAD_INPUT),
        (lambda path: np.save(path, np.zeros((0, 3, 4), np.float32)), BAD_INPUT),
        (lambda path: np.save(path, np.array([("a", 1)], [("n", "U1"), ("k", "i4")])), BAD_INPUT),
        (lambda path: path.write_bytes(b""), NOT_A_CLIP),
        (lambda path: path.write_bytes(b"\x93NUMPY\x03\x00" + bytes(200)), NOT_A_CLIP),
    ],
)
def test_arrays_that_are_no_depth_are_refused(tmp_path: Path, make: Callable[[Path], None], code: str) -> None:
    path = tmp_path / "a.npy"
    make(path)
    inside = tmp_path / "a.npz"
    with zipfile.ZipFile(inside, "w") as archive:
        archive.write(path, "depth.npy")
    for file in (path, inside):
        with pytest.raises(Ex4dError) as caught:
            open_depth([file])
        assert caught.value.code.lower() == code.lower()
        assert str(caught.value).count("\n") == 0


def _files(folder: Path) -> list[Path]:
    np.save(folder / "a.npy", PLANES)
    np.savez(folder / "stored.npz", depth=PLANES)
    np.savez_compressed(folder / "deflated.npz", depth=PLANES)
    write_exr(folder / "a.exr", {"Z": PLANES[0]})
    write_png(folder / "a.png", (PLANES[0] * 1000).astype(np.uint16))
    return sorted(folder.iterdir())


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_broken_files_are_refused_or_read_but_never_end_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("files")
    path = data.draw(st.sampled_from(_files(folder)))
    whole = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(whole)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[:cut] if data.draw(st.booleans()) else whole)
    try:
        found = everything(path)
    except Ex4dError:
        return
    assert found.ndim == 3


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.98])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, share: float) -> None:
    for path in _files(tmp_path):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(Ex4dError, match=path.name) as caught:
            everything(path)
        assert caught.value.code == NOT_A_CLIP, path.name


def test_a_compressed_array_that_was_changed_is_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", depth=PLANES)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[600] ^= 1  # one bit of one value
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(Ex4dError, match="not a whole npz") as caught:
        everything(tmp_path / "a.npz")
    assert caught.value.code == NOT_A_CLIP
