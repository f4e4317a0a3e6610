# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a reconstruct job brings along."""

from __future__ import annotations

import hashlib
from pathlib import Path

from blender_addon.core import events as ev
from blender_addon.core.downloads import Job
from shared_protocol.errors import NOT_FOUND, Ex4dError
from shared_protocol.messages import Asset, JobInfo, Reconstruct


class Backend:
    """Takes uploads and jobs."""

    def __init__(self) -> None:
        self.jobs: list[Reconstruct] = []

    def watch(self, job_id: str) -> JobInfo:
        if not self.jobs:
            raise Ex4dError(NOT_FOUND, "There is no such job.")
        return JobInfo(job_id, "reconstruct", "queued", "", 0, 0, "")

    def upload(self, path: Path, _report: object) -> Asset:
        data = path.read_bytes()
        return Asset(hashlib.sha256(data).hexdigest(), len(data), path.name)

    def submit(self, job: Reconstruct, *, job_id: str) -> None:
        self.jobs.append(job)


def test_every_file_arrives_in_its_own_place(tmp_path):
    names = {"clip": "clip.mp4", "depth": "depth.npz", "source_camera": "camera.json", "points": "points.json"}
    for field, name in names.items():
        (tmp_path / name).write_text(field)
    files = {field: tmp_path / name for field, name in names.items()}
    asked = ev.StartJob("a" * 32, Reconstruct(clip=(), first=3), tmp_path, **files)
    backend = Backend()
    # Taken up again, as when the .blend is opened anew, it is the same job.
    Job.of(asked).taken_up(ev.FollowJob("a" * 32, tmp_path)).attach(backend, lambda _: None, lambda: False)
    (job,) = backend.jobs
    assert job.first == 3
    got = {"clip": job.clip[0], "depth": job.depth[0], "source_camera": job.source_camera, "points": job.points}
    assert {field: asset.name for field, asset in got.items()} == names
    (tmp_path / "points.json").unlink()
    bare = ev.StartJob("b" * 32, Reconstruct(clip=()), tmp_path, clip=files["clip"])
    backend = Backend()
    Job.of(bare).attach(backend, lambda _: None, lambda: False)
    assert (backend.jobs[0].points, backend.jobs[0].source_camera, backend.jobs[0].depth) == (None, None, ())
