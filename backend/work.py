# SPDX-License-Identifier: Apache-2.0
"""What the worker does with a job: hands the files of the store to the engine, and tells what comes out."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Final

import cv2
import numpy as np

from ex4d import pipeline
from ex4d.cameras import load_path
from ex4d.doctor import doors as installed_doors
from ex4d.doors import Door, named
from ex4d.generate import GENERATORS
from ex4d.render import RenderOptions
from ex4d.settings import Setting, read_settings
from ex4d.values import U8, CameraPath, SourceModel
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, CANCELLED, INTERNAL, LIMIT, Ex4dError
from shared_protocol.limits import MAX_GLIMPSE

from .ids import artifact_id, camera_suffix_of, lead_in_seed, suffix_of
from .pipe import Glimpse, Made, PipeMessage, Progress, Run
from .shelf import inputs_of
from .state_folder import Folders
from .store import disk_error, sha256_of, sync_folder

_log = logging.getLogger(__name__)

_NEWS_S: Final = 0.1  # least time between two messages about the same phase
_GLIMPSE_S: Final = 0.5  # least time between two glimpses
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_WINDOWS_DEVICE = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def doors() -> tuple[m.Door, ...]:
    """Every estimator, rasterizer and generator, with whether it works here."""
    return tuple(_door(kind, door) for kind, door in installed_doors())


def _door(kind: str, door: Door) -> m.Door:
    works, reason = door.available()
    return m.Door(
        kind,
        door.name,
        door.label,
        door.licence,
        door.commercial_use,
        works,
        "" if works else reason,
        geometry=str(getattr(door, "geometry", "")),  # generators have these
        lead_in=int(getattr(door, "lead_in", 0)),
        settings=tuple(map(_setting, getattr(door, "settings", ()))),
    )


def _setting(setting: Setting) -> m.SettingInfo:
    least, most = (None if end is None else float(end) for end in (setting.least, setting.most))
    label = setting.label or setting.name.replace("_", " ").capitalize()
    return m.SettingInfo(
        setting.name, label, setting.help, setting.default, setting.choices, least, most, setting.group
    )


def artifact_of(job: m.Generate, folders: Folders) -> str:
    """Id of what a generate job makes here and now: its settings in full, and its weights, have their say.

    Reads the weights where they are not known yet: slow.

    Raises:
        Ex4dError: as `perform`; BAD_INPUT or UNAVAILABLE for the generator or an option.
    """
    with _as_one_line(folders, {}, job.generator):
        generator = named(GENERATORS, job.generator, "generator")
        settings = read_settings(generator.settings, dict(job.options), generator.name)
        identity = generator.identity(dict(job.options))
        return artifact_id(replace(job, options=tuple(settings.items())), identity)


def perform(run: Run, folders: Folders, send: Callable[[PipeMessage], None], stopped: Callable[[], bool]) -> None:
    """Makes what is missing of an artifact.

    Args:
        run: what to make.
        folders: of the state.
        send: takes `Progress` and `Made`.
        stopped: whether to stop at the next step.

    Raises:
        Ex4dError: what a person is told; INTERNAL for a bug, whose traceback is in the log.
    """
    temp = folders.temp / f"{run.artifact[:16]}-{os.getpid()}"
    names: dict[str, str] = {}  # server-made name of an input -> the artist's
    try:
        with _as_one_line(folders, names, run.artifact[:12]):
            report = _Report(run, folders.artifacts / run.artifact, send, stopped)
            _perform(run, folders, temp, report, names)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


@contextmanager
def _as_one_line(folders: Folders, names: dict[str, str], what: str) -> Iterator[None]:
    """Makes of every failure inside one line for a person. A bug's traceback is in the log."""
    try:
        yield
    except Ex4dError as exc:
        raise Ex4dError(exc.code, _for_a_person(exc.message, names), _for_a_person(exc.hint, names)) from exc
    except MemoryError as exc:
        _log.exception("out of memory")
        raise Ex4dError(
            LIMIT, "The backend's memory does not suffice for this job.", "Use fewer or smaller frames."
        ) from exc
    except OSError as exc:
        _log.exception("a file operation failed")
        raise disk_error(exc, str(exc.filename or what)) from exc
    except Exception as exc:
        _log.exception("a bug")
        raise Ex4dError(
            INTERNAL,
            f"The backend met a bug of its own ({type(exc).__name__}).",
            f"See its log {folders.log}.",
        ) from exc


def _perform(run: Run, folders: Folders, temp: Path, report: _Report, names: dict[str, str]) -> None:
    job = run.job
    if isinstance(job, m.Reconstruct):
        clip = _bring(job.clip, temp / "clip", folders, names)
        depth = _bring(job.depth, temp / "depth", folders, names)
        options = pipeline.ReconstructOptions(
            estimator=job.estimator,
            depth_options=_depth_options(job),
            first=job.first,
            count=job.count,
            fps=None if job.fps is None else Fraction(*job.fps),
            focal=job.focal,
            lens=job.lens,
            max_side=job.max_side,
        )
        inputs = [{"name": a.name, "sha256": a.sha256} for a in inputs_of(job)]
        source_camera = _source_camera(job, temp, folders, names)
        pipeline.reconstruct(report.folder, clip, depth, options, report, inputs, source_camera=source_camera)
    elif isinstance(job, m.Render):
        path, source = _cameras(job)
        pipeline.render(
            report.folder,
            folders.artifacts / job.scene,
            path,
            source,
            report,
            RenderOptions(geometry=job.geometry, persist=job.persist),
            lead_in=job.lead_in,
            seed=lead_in_seed(job),
        )
    else:
        if artifact_of(job, folders) != run.artifact:
            raise Ex4dError(
                BAD_INPUT, f"The files of the generator '{job.generator}' changed while the job waited.", "Try again."
            )
        pipeline.generate(
            report.folder,
            folders.artifacts / run.scene,
            folders.artifacts / job.conditioning,
            job.generator,
            job.seed,
            dict(job.options),
            report,
        )


def _depth_options(job: m.Reconstruct) -> dict[str, m.OptionValue]:
    told = dict(job.depth_options)
    return {"depth_kind": job.depth_kind, **told} if job.depth_kind != "auto" else told


def _source_camera(job: m.Reconstruct, temp: Path, folders: Folders, names: dict[str, str]) -> CameraPath | None:
    if job.source_camera is None:
        return None
    (file,) = _bring((job.source_camera,), temp / "camera", folders, names, camera_suffix_of)
    return load_path(file)


def _bring(
    assets: tuple[m.Asset, ...],
    folder: Path,
    folders: Folders,
    names: dict[str, str],
    suffix: Callable[[m.Asset], str] = suffix_of,
) -> list[Path]:
    """Gives uploads names that readers understand: our own characters only, a known suffix, sequences numbered."""
    if not assets:
        return []
    folder.mkdir(parents=True)
    stem = _clean(assets[0].name, sequence=len(assets) > 1) or folder.name
    paths = []
    for number, asset in enumerate(assets, 1):
        name = f"{stem}_{number:04d}" if len(assets) > 1 else stem
        path = folder / (name + suffix(asset))
        _link(folders.assets / asset.sha256, path)
        names[str(path)] = names[path.name] = asset.name
        paths.append(path)
    return paths


def _clean(name: str, sequence: bool) -> str:
    """The stem of an artist's file name in letters, digits, "_" and "-"; of a sequence, what its names share."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if sequence:
        stem = stem.rstrip("0123456789")
    clean = _UNSAFE.sub("_", stem)[:64].strip("_-")
    return "" if _WINDOWS_DEVICE.fullmatch(clean) else clean


def _link(asset: Path, path: Path) -> None:
    try:
        os.link(asset, path)
    except OSError:  # file systems without hard links
        shutil.copyfile(asset, path)


def _for_a_person(text: str, names: dict[str, str]) -> str:
    """Puts the artist's file names for ours, and the message into one line of bounded length that can be sent."""
    for ours in sorted(names, key=len, reverse=True):
        text = text.replace(ours, names[ours])
    return " ".join(text.split())[:1000].encode(errors="replace").decode()  # names of files may be no Unicode


def _cameras(job: m.Render) -> tuple[CameraPath, SourceModel]:
    c = job.cameras
    path = CameraPath(
        world_from_camera=np.array([s.world_from_camera for s in c], np.float64).reshape(-1, 4, 4),
        intrinsics=np.array([(s.fx, s.fy, s.cx, s.cy) for s in c], np.float64),
        width=job.width,
        height=job.height,
        fps=Fraction(*job.fps),
    )
    source = SourceModel(
        frame=np.array([s.source_frame for s in c], np.int32),
        focal=np.array([s.source_focal for s in c], np.float64),
        cx=np.array([s.source_cx for s in c], np.float64),
        cy=np.array([s.source_cy for s in c], np.float64),
        disparity_scale=np.array([s.disparity_scale for s in c], np.float64),
        disparity_shift=np.array([s.disparity_shift for s in c], np.float64),
    )
    return path, source


class _Report:
    """`ex4d.pipeline.Report`: tells the server, makes files durable, and stops the work when that is asked for."""

    def __init__(
        self, run: Run, folder: Path, send: Callable[[PipeMessage], None], stopped: Callable[[], bool]
    ) -> None:
        self.folder = folder
        self._artifact = run.artifact
        self._send, self._stopped = send, stopped
        self._phase, self._told, self._shown = "", 0.0, 0.0
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
        self._kept = {f.name: _stamp(folder / f.name) for f in run.done}

    def progress(self, phase: str, done: int, total: int) -> None:
        """See `ex4d.pipeline.Report`. Coalesced: a client needs no more than some ten a second."""
        self._stop_here()
        now = time.monotonic()
        if phase != self._phase or done == total or now - self._told >= _NEWS_S:
            self._phase, self._told = phase, now
            self._send(Progress(self._artifact, phase, done, total))

    def file(self, name: str) -> None:
        """See `ex4d.pipeline.Report`. The server records the file, so it must have reached the disk before."""
        self._stop_here()
        path = self.folder / name
        stamp = _stamp(path)
        if self._kept.get(name) == stamp:
            return
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        for folder in {path.parent, self.folder}:
            sync_folder(folder)
        self._kept[name] = stamp
        self._send(Made(self._artifact, m.FileInfo(name, path.stat().st_size, sha256_of(path))))

    def glimpse(self, picture: U8) -> None:
        """See `ex4d.pipeline.Report`. Large ones are scaled down; of many in a short time only some are told."""
        now = time.monotonic()
        if now - self._shown < _GLIMPSE_S:
            return
        self._shown = now
        height, width = picture.shape[:2]
        scale = MAX_GLIMPSE / max(width, height)
        if scale < 1.0:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = picture.shape[:2]
        self._send(Glimpse(self._artifact, width, height, picture.tobytes()))

    def _stop_here(self) -> None:
        if self._stopped():
            raise Ex4dError(CANCELLED, "Cancelled.")


def _stamp(path: Path) -> tuple[int, int, int]:
    """Differs as soon as a file was written anew."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
