# SPDX-License-Identifier: Apache-2.0
"""One picture that shows a whole re-shoot: source, conditioning and result at a few frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ex4d.images import read_png, write_png
from ex4d.values import U8, Scene
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

_WIDEST = 1980  # pixels of the sheet
_TALLEST_CELL = 440  # pixels: portrait clips get narrower columns instead of a sheet nobody can see at once
_GAP, _NAMES, _LINE = 10, 130, 24  # between cells; column of row names; height of a line of text
_PAPER, _INK, _PALE = 24, (235, 235, 235), (160, 160, 160)


def contact_sheet(
    scene: Scene,
    conditioning: Sequence[Path | U8],
    result: Sequence[Path | U8],
    out_png: Path,
    columns: int = 5,
    *,
    coverage: Sequence[float] | None = None,
    source_frames: Sequence[int] | None = None,
    made_by: str = "",
) -> None:
    """Writes a PNG with rows source, conditioning and result, at frames evenly spaced from the first to the last.

    Args:
        scene: the source.
        conditioning: colour of each frame of the shot, PNG files or [h, w, 3] u8.
        result: the generated frames, likewise; as many.
        out_png: the sheet, at most about 2000 pixels wide.
        columns: how many frames; fewer where the shot has fewer.
        coverage: share of each frame that the source saw, 0..1; written below the conditioning.
        source_frames: which frame of the scene each frame of the shot shows; frame k shows frame k by default.
        made_by: name of the generator, written below "result".

    Raises:
        Ex4dError: BAD_INPUT for no frames, SIZE_MISMATCH where the lengths differ, whatever reading and writing report.
    """
    total = len(conditioning)
    if total == 0 or columns < 1:
        raise Ex4dError(BAD_INPUT, "A contact sheet needs at least one frame.")
    for what, given in (("result", result), ("coverage", coverage), ("list of source frames", source_frames)):
        if given is not None and len(given) != total:
            raise Ex4dError(SIZE_MISMATCH, f"The conditioning has {total} frames, the {what} {len(given)}.")
    picks = sorted({round(k) for k in np.linspace(0, total - 1, min(columns, total))})
    last = len(scene.clip.frames) - 1
    shown = [min(source_frames[k] if source_frames is not None else k, last) for k in picks]
    rows = (
        ("source", [scene.clip.frames[k] for k in shown], [f"frame {k + 1}" for k in shown]),
        (
            "conditioning\ndraft depth" if scene.draft else "conditioning",
            [_picture(conditioning[k]) for k in picks],
            ["" if coverage is None else f"{coverage[k]:.0%} seen" for k in picks],
        ),
        (f"result\n{made_by}", [_picture(result[k]) for k in picks], [f"frame {k + 1} of {total}" for k in picks]),
    )
    widest_cell = (_WIDEST - _NAMES - _GAP * (len(picks) + 1)) // len(picks)
    narrow = min(min(picture.shape[1] / picture.shape[0] for picture in pictures) for _, pictures, _ in rows)
    cell = max(min(widest_cell, round(_TALLEST_CELL * narrow)), 96)
    write_png(out_png, np.concatenate([_row(name, pictures, captions, cell) for name, pictures, captions in rows]))


def _row(name: str, pictures: list[U8], captions: list[str], cell: int) -> U8:
    height = max(max(round(cell * p.shape[0] / p.shape[1]), 1) for p in pictures)
    sheet = np.full((height + _LINE + _GAP, _NAMES + (cell + _GAP) * len(pictures) + _GAP, 3), _PAPER, np.uint8)
    for line, text in enumerate(name.splitlines()):
        _write(sheet, text, _GAP, _GAP + _LINE * (line + 1), _PALE if line else _INK)
    for k, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = _NAMES + _GAP + k * (cell + _GAP)
        size = (cell, max(round(cell * picture.shape[0] / picture.shape[1]), 1))
        how = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_LINEAR
        sheet[_GAP : _GAP + size[1], left : left + cell] = cv2.resize(picture, size, interpolation=how)
        _write(sheet, caption, left, _GAP + size[1] + _LINE - 8, _PALE)
    return sheet


def _write(sheet: U8, text: str, left: int, base: int, ink: tuple[int, int, int]) -> None:
    cv2.putText(sheet, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, 1, cv2.LINE_AA)


def _picture(given: Path | U8) -> U8:
    picture = read_png(given) if isinstance(given, Path) else given
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
