# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the switched-on extension share: a clip, a backend of their own, and a pump to turn."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("EX4D_BACKEND_PROGRAM", ROOT / ".venv" / "bin" / "ex4d-backend"))


class Bench:
    """The extension in the open file, as an artist meets it: operators, settings, status line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.connection_file = self.state / "connection.json"
        preferences = bpy.context.preferences.addons["blender_addon"].preferences
        preferences.backend_program = str(PROGRAM)
        preferences.state_folder = str(self.state)
        preferences.connection_file = ""
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
        self.longest_tick = 0.0

    @property
    def scene(self) -> bpy.types.Scene:
        """The scene."""
        return bpy.context.scene

    @property
    def settings(self) -> Any:
        """What the panel shows."""
        return bpy.context.scene.ex4d

    @property
    def status(self) -> Any:
        """The status line."""
        return bpy.context.window_manager.ex4d

    @property
    def said(self) -> str:
        """What the status line says. Always one line."""
        text = f"{self.status.text} {self.status.hint}".strip()
        assert text
        assert "\n" not in text
        assert "Traceback" not in text
        return text

    def pump(self) -> int:
        """One tick of the timer."""
        from blender_addon.pump import pump

        start = time.perf_counter()
        handled = pump()
        self.longest_tick = max(self.longest_tick, time.perf_counter() - start)
        return handled

    def until(self, done: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Turn the pump until it is so."""
        end = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < end, f"not within {timeout_s:.0f} s; the status line says: {self.said}"
            if not self.pump():
                time.sleep(0.005)

    def start(self) -> int:
        """Start the backend and connect. Returns its process."""
        bpy.ops.ex4d.start_backend()
        self.until(lambda: self.status.link in ("CONNECTED", "FAILED"))
        assert self.status.link == "CONNECTED", self.said
        return backend_pid(self.connection_file)

    def reconstruct(self, clip: Path, depth: Path | None = None) -> None:
        """Bring a clip in."""
        self.settings.clip_path = str(clip)
        self.settings.depth_path = str(depth or "")
        bpy.ops.ex4d.reconstruct()
        self.until(lambda: not self.settings.reconstruct_job)

    def strips(self) -> list[bpy.types.Strip]:
        """The takes on the timeline."""
        editor = self.scene.sequence_editor
        return [s for s in editor.strips if "ex4d_job" in s] if editor is not None else []

    def frames_there(self) -> int:
        """How many frames the only strip shows."""
        (strip,) = self.strips()
        return sum(1 for element in strip.elements if not element.filename.endswith("slate.png"))


class Relay:
    """Passes one port's traffic on to another and keeps count: what really crosses the socket."""

    def __init__(self, target: int) -> None:
        self.sent = self.received = 0  # bytes to and from the target
        self.heard = bytearray()  # the first of what was sent
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: list[socket.socket] = [self._server]

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):  # already shut by the other side
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                self._open += [here, there]
                threading.Thread(target=self._pass, args=(here, there, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(there, here, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if outward:
                    self.sent += len(data)
                    self.heard += data[: max(0, (1 << 20) - len(self.heard))]
                else:
                    self.received += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def backend_pid(connection_file: Path) -> int:
    """Process of the backend that wrote the file; 0 = none."""
    try:
        return int(json.loads(connection_file.read_text())["pid"])
    except (OSError, ValueError):
        return 0


def end_backend(connection_file: Path) -> None:
    """End a backend that may be stopped, or gone."""
    pid = backend_pid(connection_file)
    for number in (signal.SIGCONT, signal.SIGTERM) if pid else ():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def write_clip(folder: Path, width: int, height: int, frames: int) -> Path:
    """A PNG sequence, written by Blender, and its depth as npz. Returns the first picture."""
    rows, columns = np.mgrid[:height, :width]
    depth = np.empty((frames, height, width), np.float32)
    for t in range(frames):
        picture = np.ones((height, width, 4), np.float32)
        picture[..., 0], picture[..., 1] = columns / width, rows / height
        picture[..., 2] = (rows // 6 + columns // 6) % 2 * 0.6
        depth[t] = 4.0 + 0.02 * columns + 0.01 * rows
        box = np.s_[height // 4 : height // 2, width // 4 + t : width // 2 + t]
        picture[box], depth[t][box] = (1.0, 0.8, 0.2, 1.0), 2.0
        image = bpy.data.images.new("clip", width, height)
        image.pixels.foreach_set(np.ascontiguousarray(picture[::-1]).ravel())
        image.filepath_raw, image.file_format = str(folder / f"clip_{t + 1:04d}.png"), "PNG"
        image.save()
        bpy.data.images.remove(image)
    np.savez(folder / "depth.npz", depth=depth)
    return folder / "clip_0001.png"


def tracked_camera(scene: bpy.types.Scene, start: int, count: int) -> bpy.types.Object:
    """A camera that hangs on a moving, scaled parent, looks at something by constraint, and zooms."""
    parent, target = (bpy.data.objects.new(name, None) for name in ("dolly", "target"))
    camera = bpy.data.objects.new("tracked", bpy.data.cameras.new("tracked"))
    for obj in (parent, target, camera):
        scene.collection.objects.link(obj)
    camera.parent, camera.location = parent, (0.2, 0.1, 0.5)
    parent.scale, target.location = (2.0, 2.0, 2.0), (0.0, 6.0, 1.0)
    constraint = camera.constraints.new("TRACK_TO")
    constraint.target, constraint.track_axis, constraint.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    for k in range(count):
        parent.location = (0.3 * k, -4.0 + 0.1 * k * k, 1.0)
        parent.keyframe_insert("location", frame=start + k)
        camera.data.lens = 35.0 + 2.0 * k
        camera.data.keyframe_insert("lens", frame=start + k)
    camera.data.shift_x = 0.02
    return camera


def tracked_film(
    folder: Path, size: tuple[int, int], poses: np.ndarray, focal: float, points: np.ndarray | None = None
) -> bpy.types.MovieClip:
    """A solved movie clip: markers where points (random ones, or [N, 3]) are seen from the poses (OpenCV axes)."""
    for t in range(len(poses)):
        image = bpy.data.images.new("film", *size)
        image.filepath_raw, image.file_format = str(folder / f"film_{t + 1:04d}.png"), "PNG"
        image.save()
        bpy.data.images.remove(image)
    film = bpy.data.movieclips.load(str(folder / "film_0001.png"))
    tracking = film.tracking
    tracking.camera.sensor_width, tracking.camera.focal_length_pixels = 36.0, focal
    if points is None:
        points = np.random.default_rng(1).uniform((-0.2, -0.2, 5.0), (0.2, 0.2, 14.0), (40, 3))
        points[:, :2] *= points[:, 2:]
    for k, point in enumerate(points):
        track = tracking.objects[0].tracks.new(name=f"point {k}", frame=1)
        for t, pose in enumerate(poses):
            x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
            where = (focal * x / z / size[0] + 0.5, 0.5 - focal * y / z / size[1])
            assert 0.0 < min(where) < max(where) < 1.0
            track.markers.insert_frame(t + 1, co=where)
    tracking.objects[0].keyframe_a, tracking.objects[0].keyframe_b = 1, len(poses)
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "CLIP_EDITOR"
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        area.spaces.active.clip = film
        bpy.ops.clip.solve_camera()
    assert tracking.objects[0].reconstruction.is_valid
    return film
