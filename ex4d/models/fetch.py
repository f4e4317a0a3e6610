# SPDX-License-Identifier: Apache-2.0
"""One large file from the hub: an interrupted download goes on where it stopped, also in another process.

`huggingface_hub` itself starts a file anew when its process was ended; with files of 5 to 18 GB that is an evening
lost. So the bytes are written here, over the library's own connection, to a `.part` file that gets the file's name only
when size and sha256 are those that the hub tells.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Final

from ex4d.files import disk_error
from ex4d.models.hub import RemoteFile, telling
from ex4d.models.places import PART
from ex4d.models.spec import ModelSpec
from ex4d.models.verify import Progress, keep, read_sha256
from shared_protocol.errors import CANCELLED, UNAVAILABLE, Ex4dError

_WAITS: Final = (1, 2, 4, 8)  # seconds before another try, after connections that brought nothing
_SILENCE: Final = 30.0  # seconds without a byte until a connection is given up


def fetch(
    spec: ModelSpec, commit: str, file: RemoteFile, path: Path, progress: Progress, stop: threading.Event
) -> None:
    """Fetches a file, from where an earlier try ended.

    Args:
        spec, commit, file: what is fetched.
        path: where it goes; its folder is made.
        progress: is told how many bytes more have arrived; a negative number, when they turned out to be of no use.
        stop: set by another thread to end this one; what has arrived stays for the next time.

    Raises:
        Ex4dError: CANCELLED after `stop`; UNAVAILABLE when the hub cannot be reached or sent something else; NOT_FOUND;
            DISK when it cannot be written.
    """
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        with telling(spec, path):
            _fill(spec, commit, file, part, progress, stop)
        have = part.stat().st_size
        sha256 = read_sha256(part)
        if have != file.size or sha256 != file.sha256:
            part.unlink()
            progress(-have)
            raise Ex4dError(
                UNAVAILABLE,
                f"{file.path} of {spec.repository} arrived damaged ({have} bytes; {file.size} were announced).",
                "It was removed again; try once more.",
            )
        os.replace(part, path)
    except OSError as error:
        raise disk_error(path, error) from error
    keep(path, sha256)


def part_of(path: Path) -> Path:
    """Where the bytes of a file lie until all are there."""
    return path.with_name(path.name + PART)


def _fill(
    spec: ModelSpec, commit: str, file: RemoteFile, part: Path, progress: Progress, stop: threading.Event
) -> None:
    """Tries until `part` has the file's size. Each connection that brought something allows all tries again."""
    waits = list(_WAITS)
    while (have := part.stat().st_size) < file.size:
        if stop.is_set():
            raise Ex4dError(CANCELLED, "The download was stopped.", "The same command goes on with it.")
        try:
            _append(spec, commit, file, part, progress, stop)
            ended = "The connection ended early."
        except OSError:  # the disk; a refusal of the hub; offline mode: waiting changes none of these
            raise
        except Ex4dError:
            raise
        except Exception as error:  # the connection, in the classes of the HTTP library that huggingface_hub uses
            if not waits:
                raise
            ended = str(error)
        if part.stat().st_size > have:
            waits = list(_WAITS)
        elif not waits:
            raise ConnectionError(ended)
        else:
            stop.wait(waits.pop(0))


def _append(
    spec: ModelSpec, commit: str, file: RemoteFile, part: Path, progress: Progress, stop: threading.Event
) -> None:
    """Appends what one connection brings."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    have = part.stat().st_size
    url = hf_hub_url(spec.repository, file.path, revision=commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={have}-"}
    # A connection that breaks is tried again by our caller, from where it broke.
    how: dict[str, Any] = {"headers": headers, "timeout": _SILENCE, "follow_redirects": True}
    with http_stream_backoff("GET", url, retry_on_exceptions=(), **how) as response:
        hf_raise_for_status(response)
        resumes = response.status_code == 206
        with part.open("ab") as out:
            if have and not resumes:  # the server sends all of it
                out.truncate(0)
                progress(-have)
            for chunk in response.iter_raw():  # as they come in: nothing waits in a buffer to be lost
                if stop.is_set():
                    return
                out.write(chunk)
                out.flush()
                progress(len(chunk))
