# SPDX-License-Identifier: Apache-2.0
"""Journal and folders together: what is complete, what is kept, what a job builds upon."""

from __future__ import annotations

from collections.abc import Callable

from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

from .ids import kind_of
from .journal import Job, Journal
from .store import Artifacts, Assets


class Shelf:
    """Answers about artifacts that are true on the disk, not only in the records."""

    def __init__(self, journal: Journal, assets: Assets, artifacts: Artifacts) -> None:
        self._journal, self._assets, self._artifacts = journal, assets, artifacts

    def whole(self, artifact: str) -> bool:
        """Whether an artifact is complete and all of its files are still there."""
        known = self._journal.artifact(artifact)
        if known is None or not known[2]:
            return False
        gone = self._artifacts.missing(artifact, [f for _, f in self._journal.files(artifact)])
        if gone:
            self._journal.set_complete(artifact, False)
            self._forget(artifact, gone)
        return not gone

    def kept(self, artifact: str) -> tuple[m.FileInfo, ...]:
        """Files that need not be made again; the folder holds nothing else afterwards."""
        files = [f for _, f in self._journal.files(artifact)]
        gone = self._artifacts.missing(artifact, files)
        self._forget(artifact, gone)
        kept = tuple(f for f in files if f.name not in gone)
        self._artifacts.sweep(artifact, frozenset(f.name for f in kept))
        return kept

    def _forget(self, artifact: str, names: list[str]) -> None:
        for name in names:
            self._journal.forget_file(artifact, name)

    def check_inputs(self, job: Job, coming: Callable[[str], bool]) -> None:
        """Checks that what a job needs is here, or is being made.

        Args:
            job: to be queued.
            coming: whether an artifact is being made.

        Raises:
            Ex4dError: NOT_FOUND; BAD_INPUT for an artifact of another kind.
        """
        if isinstance(job, m.Reconstruct):
            for asset in inputs_of(job):
                if not self._assets.whole(asset):
                    raise Ex4dError(NOT_FOUND, f"'{asset.name}' is not on the backend.", "Upload it first.")
            return
        artifact, kind = needed(job)
        known = self._journal.artifact(artifact)
        if known is None or not (coming(artifact) or self.whole(artifact)):
            what = "reconstruction" if kind == "reconstruct" else "conditioning"
            raise Ex4dError(NOT_FOUND, f"The {what} {artifact[:12]} is not on the backend.", "Make it again.")
        if known[0] != kind:
            raise Ex4dError(BAD_INPUT, f"A {kind_of(job)} job was given the result of a {known[0]} job.")

    def scene_behind(self, job: Job) -> str:
        """The reconstruction that a job builds upon, "" for a reconstruction; the whole chain is complete.

        Raises:
            Ex4dError: NOT_FOUND.
        """
        self.check_inputs(job, lambda _: False)
        if isinstance(job, m.Reconstruct):
            return ""
        artifact, _ = needed(job)
        known = self._journal.artifact(artifact)
        return artifact if isinstance(job, m.Render) or known is None else self.scene_behind(known[1])


def inputs_of(job: m.Reconstruct) -> tuple[m.Asset, ...]:
    """Every upload that a reconstruction is made from."""
    return (
        *job.clip,
        *job.depth,
        *job.sky_mask,
        *(asset for asset in (job.source_camera, job.points) if asset is not None),
    )


def needed(job: m.Render | m.Generate) -> tuple[str, str]:
    """The artifact that a job builds upon, and the kind of job that makes it."""
    return (job.scene, "reconstruct") if isinstance(job, m.Render) else (job.conditioning, "render")
