# SPDX-License-Identifier: GPL-3.0-or-later
"""One job as the background thread sees it: submitted, watched, its files brought to the disk one by one."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared_protocol.client import Client
from shared_protocol.errors import BAD_MESSAGE, CANCELLED, INTERNAL, NOT_FOUND, Ex4dError
from shared_protocol.messages import CANCELLED as STATE_CANCELLED
from shared_protocol.messages import (
    DONE,
    FAILED,
    FINISHED,
    Asset,
    FileInfo,
    FileList,
    Generate,
    JobInfo,
    Reconstruct,
    Render,
)

from . import events as ev
from .link import LOST
from .project import disk_error, input_files, link_shot, safe_target, write_file

_log = logging.getLogger(__name__)

_REPORT_EVERY_S = 0.1  # of upload progress


@dataclass
class Job:
    """State of one job on this side. All times and files are the thread's own."""

    job_id: str
    folder: Path
    message: Reconstruct | Render | Generate | None = None  # None: submitted by an earlier Blender session
    clip: Path | None = None
    depth: Path | None = None
    source_camera: Path | None = None
    points: Path | None = None
    sky: Path | None = None
    link_from: Path | None = None
    attached: bool = False  # the backend of this connection knows that we watch
    info: JobInfo | None = None
    missing: dict[str, FileInfo] = field(default_factory=dict)
    here: set[str] = field(default_factory=set)
    glimpse: int = 0  # number of the one that was brought last
    over: bool = False
    forgotten: bool = False  # nobody here waits for it; it is still handed to the backend

    @classmethod
    def of(cls, command: ev.StartJob | ev.FollowJob) -> Job:
        """The record for a command."""
        if isinstance(command, ev.FollowJob):
            return cls(command.job_id, command.folder, link_from=command.link_from)
        return cls(
            command.job_id,
            command.folder,
            command.job,
            command.clip,
            command.depth,
            command.source_camera,
            command.points,
            command.sky,
            command.link_from,
        )

    def taken_up(self, command: ev.StartJob | ev.FollowJob) -> Job:
        """This job as it is asked for anew: from the start, with what is known of it already."""
        fresh = Job.of(command)
        fresh.message = fresh.message or self.message
        fresh.clip, fresh.depth = fresh.clip or self.clip, fresh.depth or self.depth
        fresh.source_camera = fresh.source_camera or self.source_camera
        fresh.points, fresh.sky = fresh.points or self.points, fresh.sky or self.sky
        return fresh

    # ---- with the backend

    def attach(self, client: Client, emit: Callable[[ev.Event], None], cancelled: Callable[[], bool]) -> None:
        """Submit the job, or find it again, and learn which files are finished.

        Raises:
            Ex4dError: what the backend or the input files answer.
        """
        try:
            info = client.watch(self.job_id)
        except Ex4dError as e:
            if e.code != NOT_FOUND:
                raise
            if self.message is None:
                raise Ex4dError(NOT_FOUND, "The backend does not know this job any more.", "Run the step again.") from e
            client.submit(self._with_inputs(client, emit, cancelled), job_id=self.job_id)
            info = client.watch(self.job_id)
        self.attached = True
        self.on_info(info, emit)
        self._list(client)

    def _with_inputs(
        self, client: Client, emit: Callable[[ev.Event], None], cancelled: Callable[[], bool]
    ) -> Reconstruct | Render | Generate:
        """The message with the assets of its files in it; what the backend lacks of them is sent now."""
        if not isinstance(self.message, Reconstruct):
            assert self.message is not None  # noqa: S101 - narrowing; attach() saw to it
            return self.message

        def upload(path: Path | None, what: str) -> tuple[Asset, ...]:
            if path is None:
                return ()
            try:
                files = input_files(path, what)
                return tuple(client.upload(f, self._reporter(f.name, emit, cancelled)) for f in files)
            except OSError as e:
                raise Ex4dError(NOT_FOUND, f"The {what} '{path}' cannot be read: {e.strerror or e}.") from e

        clip, depth = upload(self.clip, "clip"), upload(self.depth, "depth")
        camera, points = upload(self.source_camera, "camera path"), upload(self.points, "tracked points")
        return replace(
            self.message,
            clip=clip,
            depth=depth,
            sky_mask=upload(self.sky, "sky mask"),
            source_camera=camera[0] if camera else None,
            points=points[0] if points else None,
        )

    def _reporter(
        self, name: str, emit: Callable[[ev.Event], None], cancelled: Callable[[], bool]
    ) -> Callable[[int, int], None]:
        last = 0.0

        def report(done: int, total: int) -> None:
            nonlocal last
            if cancelled():
                raise Ex4dError(CANCELLED, "Cancelled while the clip was sent.")
            if time.monotonic() - last > _REPORT_EVERY_S or done >= total:
                last = time.monotonic()
                emit(ev.Uploading(self.job_id, name, done, total))

        return report

    def on_info(self, info: JobInfo, emit: Callable[[ev.Event], None]) -> None:
        """News about the job."""
        self.info = info
        emit(ev.JobChanged(info))

    def on_file(self, file: FileInfo) -> None:
        """One more file is finished."""
        if file.name not in self.here:
            self.missing[file.name] = file

    def _list(self, client: Client) -> FileList | None:
        if self.info is None or not self.info.artifact:
            return None
        try:
            listing = client.files(self.info.artifact)
        except Ex4dError as e:
            if e.code == NOT_FOUND:  # nothing of it is finished yet
                return None
            raise
        for file in listing.files:
            self.on_file(file)
        return listing

    # ---- one step of work

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do now."""
        return (
            self.attached
            and not self.over
            and (bool(self.missing) or self._new_glimpse > 0 or (self.info is not None and self.info.state in FINISHED))
        )

    @property
    def _new_glimpse(self) -> int:
        """Number of the newest glimpse, where it was not looked at yet; else 0."""
        newest = 0 if self.info is None else self.info.glimpse
        return 0 if newest == self.glimpse else newest

    def step(self, client: Client, emit: Callable[[ev.Event], None]) -> None:
        """Bring in one file, or a glimpse, or finish the job.

        Raises:
            Ex4dError: the connection's, or one that ends the job.
        """
        if self.missing:
            file = self.missing[min(self.missing)]
            path = self._bring(client, file)
            del self.missing[file.name]
            self.here.add(file.name)
            emit(ev.FileArrived(self.job_id, file.name, path))
            return
        if number := self._new_glimpse:
            self._look(number, client, emit)
            return
        info = self.info
        if info is None or info.state not in FINISHED:
            return
        if info.state == FAILED:
            error = info.error
            self.over = True
            emit(
                ev.JobFailed(self.job_id, error.code, error.message, error.hint)
                if error
                else ev.JobFailed(self.job_id, INTERNAL, "The backend gave up this job without saying why.", "")
            )
        elif info.state == STATE_CANCELLED:
            self.over = True
            emit(ev.JobFailed(self.job_id, CANCELLED, "Cancelled.", ""))
        elif info.state == DONE:
            listing = self._list(client)
            if self.missing:
                return
            if listing is None or not listing.complete:
                raise Ex4dError(INTERNAL, "The backend calls this job done, and its files are not complete.")
            self.missing = {f.name: f for f in listing.files if not safe_target(self.folder, f.name).is_file()}
            if self.missing:  # deleted by hand since they came
                return
            self.over = True
            if self.link_from is not None:
                link_shot(self.link_from, self.folder)
            emit(ev.JobFinished(self.job_id, info.kind, info.artifact, self.folder))

    def _look(self, number: int, client: Client, emit: Callable[[ev.Event], None]) -> None:
        """Bring in the newest glimpse. Where it is gone by now, or cannot be shown, the job goes on without it.

        Raises:
            Ex4dError: the connection's.
        """
        self.glimpse = number
        try:
            seen = client.glimpse(self.job_id)
        except Ex4dError as e:
            if e.code in LOST:
                raise
            _log.warning("no glimpse of %s: %s", self.job_id, e)
            return
        if seen is not None:
            glimpse, rgb = seen
            emit(ev.GlimpseArrived(self.job_id, glimpse.width, glimpse.height, rgb))

    def _bring(self, client: Client, file: FileInfo) -> Path:
        """The file on our disk: as it is there already, or fetched now."""
        assert self.info is not None  # noqa: S101 - narrowing; files are known only after the first JobInfo
        path = safe_target(self.folder, file.name)
        if same_file(path, file):
            return path
        data = client.fetch(self.info.artifact, file.name)
        if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise Ex4dError(BAD_MESSAGE, f"The file '{file.name}' arrived damaged.", "Run the step again.")
        write_file(path, data)
        return path


def same_file(path: Path, file: FileInfo) -> bool:
    """Whether the file on the disk is the one the backend has.

    Raises:
        Ex4dError: DISK when it cannot be read.
    """
    try:
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest() == file.sha256
    except OSError as e:
        raise disk_error(e, path) from e
