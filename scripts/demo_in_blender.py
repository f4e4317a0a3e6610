# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in Blender: what an artist does in the panel, done by the same operators.

Installs the extension from its zip, starts the backend, reconstructs, lays down a move, edits a key, renders coverage,
generates, exports the take and saves the .blend. Timers do not tick in a Blender without a window, so the extension's
pump is called here.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

addon_utils = importlib.import_module("addon_utils")  # Blender's own; it can be found once bpy is imported

PACKAGE = "bl_ext.user_default.ex4d"
PATIENCE_S = 3600.0  # without any news from the backend


class DemoError(Exception):
    """A step did not work; the text is what the status line says."""


def main() -> int:
    """Returns 0, or 3 after one line that says what is wrong."""
    arguments = _arguments()
    try:
        _install(arguments.extension)
        try:
            _reshoot(arguments)
        finally:
            _stop_backend()
            addon_utils.disable(PACKAGE)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:  # demo.py, which gets it too, says so
        return 3
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo_in_blender.py", description=__doc__.split("\n")[0])
    for name in ("extension", "backend", "state", "clip", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--depth", type=Path)
    parser.add_argument("--cam", required=True)
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("--focal", type=float, default=0.0)
    return parser.parse_args(sys.argv[sys.argv.index("--") + 1 :])


def _install(extension: Path) -> None:
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.extensions.package_install_files(filepath=str(extension), repo="user_default", enable_on_install=True)
    if PACKAGE not in bpy.context.preferences.addons:
        raise DemoError(f"{extension} could not be installed in Blender {bpy.app.version_string}.")
    print(f"Blender {bpy.app.version_string} with {extension.name}")


def _reshoot(arguments: argparse.Namespace) -> None:
    preferences = bpy.context.preferences.addons[PACKAGE].preferences
    preferences.backend_program = str(arguments.backend)
    preferences.state_folder = str(arguments.state)
    bpy.context.preferences.filepaths.save_version = 0  # one .blend, no backup beside it
    bpy.ops.wm.save_as_mainfile(filepath=str(arguments.out / "reshoot.blend"))
    scene = bpy.context.scene

    _operator("start_backend")
    _pump_until(lambda: _status().link == "CONNECTED", "connecting")
    print(f"1  {_status().text}")

    settings = scene.ex4d
    settings.clip_path = str(arguments.clip)
    settings.depth_path = str(arguments.depth) if arguments.depth else ""
    settings.frame_count = arguments.frames
    settings.focal = arguments.focal
    _operator("reconstruct")
    _pump_until(lambda: not settings.reconstruct_job, "reconstructing")
    if scene.camera is None:
        raise DemoError(_said())
    print(f"2  {_said()}")

    _operator("apply_move", move=arguments.cam)
    print(f"3  {_said()}")
    print(f"   {_edit_a_key(scene)}")

    _operator("render_conditioning")
    _pump_until(lambda: bool(settings.render_artifact), "rendering")
    print(f"4  {_said()}")

    # The clip's colours, not a film look: otherwise the edit would not show what was generated.
    _operator("match_source_colours")
    _operator("generate")
    print(f"5  {_watch_the_strip(scene)}")

    _operator("export_take", directory=str(arguments.out), first=1)
    _pump_until(lambda: (arguments.out / "take.json").is_file() and "Exported" in _status().text, "exporting")
    bpy.ops.wm.save_mainfile()
    print(f"6  {_said()}")


def _edit_a_key(scene: bpy.types.Scene) -> str:
    """Moves one key of the shot camera, as an artist would: a little higher and closer, in the middle of the move."""
    camera = scene.camera
    frames = sorted({round(point.co.x) for curve in _curves(camera) for point in curve.keyframe_points})
    middle = frames[len(frames) // 2]
    scene.frame_set(middle)
    camera.location.y += 0.05 * camera.location.length + 0.02
    camera.keyframe_insert("location", frame=middle)
    scene.frame_set(scene.frame_start)
    return f"{len(frames)} keys; the one at frame {middle} was raised by hand."


def _curves(obj: bpy.types.Object) -> list[bpy.types.FCurve]:
    animation = obj.animation_data
    layers = animation.action.layers
    return list(layers[0].strips[0].channelbag(animation.action_slot).fcurves)


def _watch_the_strip(scene: bpy.types.Scene) -> str:
    strip = next(strip for strip in scene.sequence_editor.strips if "ex4d_job" in strip)
    name, seen = strip.name, [0]

    def finished() -> bool:
        strip = scene.sequence_editor.strips.get(name)
        if strip is None:
            raise DemoError(_said())
        there = sum(1 for element in strip.elements if "slate" not in element.filename)
        if there != seen[-1]:
            seen.append(there)
        return bool(strip["ex4d_state"] == "done")

    _pump_until(finished, "generating")
    grew = len([count for count in seen if 0 < count < len(strip.elements)])
    return f"{_said()} The strip '{name}' grew {grew} times while frames were still being made."


def _operator(name: str, **settings: Any) -> None:
    try:
        result = getattr(bpy.ops.ex4d, name)(**settings)
    except RuntimeError as error:  # how Blender hands an operator's error report to a script
        raise DemoError(str(error).removeprefix("Error: ").strip()) from error
    if result != {"FINISHED"}:
        raise DemoError(_said())


def _pump_until(done: Callable[[], bool], what: str) -> None:
    pump = importlib.import_module(f"{PACKAGE}.pump").pump
    last, since, shown = "", time.monotonic(), 0.0
    while not done():
        status = _status()
        if status.level == "ERROR":
            raise DemoError(_said())
        news = f"{status.phase} {status.progress:.0%}"
        now = time.monotonic()
        if news != last:
            last, since = news, now
            if status.phase and now - shown > 5.0:
                print(f"   {news}", flush=True)
                shown = now
        elif now - since > PATIENCE_S:
            raise DemoError(f"No news from the backend for {PATIENCE_S / 60:.0f} minutes while {what}.")
        if not pump():
            time.sleep(0.02)


def _status() -> Any:
    return bpy.context.window_manager.ex4d


def _said() -> str:
    return f"{_status().text} {_status().hint}".strip()


def _stop_backend() -> None:
    if _status().link not in {"CONNECTED", "RECONNECTING"}:
        return
    _operator("stop_backend")
    deadline = time.monotonic() + 10.0
    pump = importlib.import_module(f"{PACKAGE}.pump").pump
    while _status().link == "CONNECTED" and time.monotonic() < deadline:
        pump()
        time.sleep(0.05)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The Python module of 4.5 can hang in the interpreter's own clean-up; everything of ours is written by now.
    os._exit(status)
