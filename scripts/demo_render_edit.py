# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in Blender without the extension: opens a saved re-shoot and renders its edit to a movie."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import bpy


def main() -> int:
    """Returns 0, or 3 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="demo_render_edit.py", description=__doc__)
    parser.add_argument("--blend", type=Path, required=True)
    parser.add_argument("--movie", type=Path, required=True, help="H.264 in mp4")
    arguments = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :])
    bpy.ops.wm.open_mainfile(filepath=str(arguments.blend))
    scene = bpy.context.scene
    missing = [str(path) for path in strip_files(scene) if not path.is_file()]
    if missing:
        print(f"error: the strip in {arguments.blend} names files that are not there: {missing[0]}", file=sys.stderr)
        return 3
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):  # since 5.0
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    scene.render.ffmpeg.format = "MPEG4"
    scene.render.ffmpeg.codec = "H264"
    scene.render.ffmpeg.constant_rate_factor = "HIGH"
    scene.render.use_sequencer = True
    _make_even(scene)
    scene.render.filepath = str(arguments.movie)
    scene.render.use_file_extension = False
    bpy.ops.render.render(animation=True)
    return 0 if arguments.movie.is_file() else 3


def _make_even(scene: bpy.types.Scene) -> None:
    """H.264 needs even sides: an odd one gets one more column or row, black, and every pixel stays where it was."""
    render = scene.render
    more_x, more_y = render.resolution_x % 2, render.resolution_y % 2
    render.resolution_x, render.resolution_y = render.resolution_x + more_x, render.resolution_y + more_y
    for strip in scene.sequence_editor.strips:  # Blender puts the new row on top; a row up, and it is the last one
        strip.transform.offset_y += more_y


def strip_files(scene: bpy.types.Scene) -> list[Path]:
    """Every picture that the scene's image strips name, in strip order."""
    strips = scene.sequence_editor.strips if scene.sequence_editor else ()
    return [
        Path(bpy.path.abspath(strip.directory)) / element.filename
        for strip in strips
        if strip.type == "IMAGE"
        for element in strip.elements
    ]


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The Python module of 4.5 can hang in the interpreter's own clean-up; everything of ours is written by now.
    os._exit(status)
