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
    names = {
        "clip": "clip.mp4",
        "depth": "depth.npz",
        "source_camera": "camera.json",
        "points": "points.json",
        "sky": "sky.png",
    }
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
    got["sky"] = job.sky_mask[0]
    assert {field: asset.name for field, asset in got.items()} == names
    (tmp_path / "points.json").unlink()
    bare = ev.StartJob("b" * 32, Reconstruct(clip=()), tmp_path, clip=files["clip"])
    backend = Backend()
    Job.of(bare).attach(backend, lambda _: None, lambda: False)
    bare_job = backend.jobs[0]
    assert (bare_job.points, bare_job.source_camera, bare_job.depth, bare_job.sky_mask) == (None, None, (), ())


def test_a_sky_mask_is_one_picture_or_all_of_its_sequence(tmp_path):
    for name in ("clip.mp4", "one.png", "sky.0009.png", "sky.0010.png", "sky.0011.png"):
        (tmp_path / name).write_text(name)
    for chosen, sent in (("one.png", ["one.png"]), ("sky.0010.png", [f"sky.{n:04d}.png" for n in (9, 10, 11)])):
        backend = Backend()
        asked = ev.StartJob("a" * 32, Reconstruct(clip=()), tmp_path, tmp_path / "clip.mp4", sky=tmp_path / chosen)
        Job.of(asked).attach(backend, lambda _: None, lambda: False)
        assert [asset.name for asset in backend.jobs[0].sky_mask] == sent
