# SPDX-License-Identifier: GPL-3.0-or-later
"""What the main thread asks of the background thread (commands), and what comes back (events).

All are frozen dataclasses and travel through two queues; nothing else is shared between the threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared_protocol.errors import Ex4dError
from shared_protocol.messages import Generate, JobInfo, Reconstruct, Render, Welcome

# States of the connection, as the panel shows them.
OFF = "OFF"  # nobody asked for a connection
STARTING = "STARTING"  # the backend program was started and has not answered yet
CONNECTING = "CONNECTING"
CONNECTED = "CONNECTED"
RECONNECTING = "RECONNECTING"  # it was connected; the backend went away, and jobs wait for it
FAILED = "FAILED"  # asked for, and did not work; the message says why


# ---- commands


@dataclass(frozen=True)
class Connect:
    """Connect to the backend that wrote this file; give up after `patience_s` seconds."""

    connection_file: Path
    patience_s: float = 3.0


@dataclass(frozen=True)
class Launch:
    """Connect to the backend behind the connection file, or start one and connect to that."""

    command: tuple[str, ...]  # program and arguments
    connection_file: Path
    log_file: Path  # what the program writes to its output
    patience_s: float = 60.0  # a first start may compile


@dataclass(frozen=True)
class StopBackend:
    """Ask the backend to end. Its journal keeps the jobs that are not finished."""


@dataclass(frozen=True)
class StartJob:
    """Upload what the job needs, submit it, and bring its files into `folder` as they are finished."""

    job_id: str  # 32 hex digits
    job: Reconstruct | Render | Generate
    folder: Path
    clip: Path | None = None  # for Reconstruct: a movie, one picture of a sequence, or a folder of pictures
    depth: Path | None = None  # for Reconstruct: npz, one file of a sequence, or a folder
    source_camera: Path | None = None  # for Reconstruct: a camera path
    points: Path | None = None  # for Reconstruct: points of known depth
    sky: Path | None = None  # for Reconstruct: a mask of the sky, one file of a sequence, or a folder
    link_from: Path | None = None  # the rendered shot in this folder is put beside the job's own files


@dataclass(frozen=True)
class FollowJob:
    """Take up a job of an earlier Blender session again."""

    job_id: str
    folder: Path
    link_from: Path | None = None


@dataclass(frozen=True)
class CancelJob:
    """Stop a job at its next step."""

    job_id: str


@dataclass(frozen=True)
class ExportTake:
    """Copy a take to where it is delivered. Needs no backend."""

    take: Path
    destination: Path
    first: int  # number of the first file


@dataclass(frozen=True)
class ForgetJobs:
    """Stop bringing in files of any job (another .blend was opened). The backend goes on, also with those that it
    gets only now."""


@dataclass(frozen=True)
class Stop:
    """End the thread."""


Command = Connect | Launch | StopBackend | StartJob | FollowJob | CancelJob | ExportTake | ForgetJobs | Stop


# ---- events


@dataclass(frozen=True)
class LinkChanged:
    """The state of the connection."""

    state: str
    message: str  # one line for the status
    hint: str = ""
    code: str = ""  # of the error, where it is one
    welcome: Welcome | None = None  # with CONNECTED


@dataclass(frozen=True)
class Uploading:
    """Bytes of one input file that the backend has."""

    job_id: str
    name: str
    done: int
    total: int


@dataclass(frozen=True)
class JobChanged:
    """News about a job."""

    info: JobInfo


@dataclass(frozen=True)
class GlimpseArrived:
    """How the unfinished result of a job looks."""

    job_id: str
    width: int  # pixels
    height: int
    rgb: bytes  # sRGB, row by row from the top


@dataclass(frozen=True)
class FileArrived:
    """A file of a job lies whole in its folder."""

    job_id: str
    name: str  # relative, "/" between folder and file
    path: Path


@dataclass(frozen=True)
class JobFinished:
    """The job is done and all of its files are in the folder."""

    job_id: str
    kind: str
    artifact: str
    folder: Path


@dataclass(frozen=True)
class JobFailed:
    """The job ended without a result (failed, or cancelled: code CANCELLED)."""

    job_id: str
    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class Exported:
    """A take was copied."""

    destination: Path
    files: int


@dataclass(frozen=True)
class Problem:
    """Something that belongs to no job went wrong."""

    code: str
    message: str
    hint: str


Event = (
    LinkChanged | Uploading | JobChanged | GlimpseArrived | FileArrived | JobFinished | JobFailed | Exported | Problem
)


def failed(job_id: str, error: Ex4dError) -> JobFailed:
    """The event for an error that ends a job on this side."""
    return JobFailed(job_id, error.code, error.message, error.hint)
