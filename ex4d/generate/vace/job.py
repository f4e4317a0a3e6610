# SPDX-License-Identifier: Apache-2.0
"""A shot for the `wan-vace` generator: what its options mean beside those that all models have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ex4d.generate.diffusion.job import Job
from ex4d.generate.diffusion.latents import TIME
from ex4d.generate.diffusion.memory import read_wish
from ex4d.generate.diffusion.speed.settings import SPEED_SETTINGS
from ex4d.generate.door import GenerateRequest, Progress, nobody
from ex4d.generate.vace.kit import VaceKit
from ex4d.generate.vace.model import Showing
from ex4d.models.places import need_model
from ex4d.models.repository import open_repository
from ex4d.settings import Value
from ex4d.values import U8, Conditioning, ShotConditioning
from shared_protocol.errors import BAD_INPUT, Ex4dError

VACE = "wan-vace-1.3b"  # in `ex4d.models.registry.MODELS`


class VaceJob:
    """Options that were read, and the weights that they mean."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        """Finds the weights, and sees that they are the right ones; reads none.

        Args:
            values: of all of the generator's settings.

        Raises:
            Ex4dError: UNAVAILABLE where weights are missing, and others for weights or options that are wrong.
        """
        wish = read_wish(values)
        folder = Path(str(values["model"])).expanduser() if values["model"] else need_model(VACE)
        repository = open_repository(folder, "vace", without=("transformer",) if wish.gguf is not None else ())
        not_offered = {setting.name: setting.default for setting in SPEED_SETTINGS}
        self._job = Job.of({**not_offered, **values}, wish, repository, None, {})

    def identity(self, progress: Progress = nobody) -> dict[str, str]:
        """sha256 of every file that decides the pixels, by its name."""
        return self._job.identity(progress)

    def frames(self, request: GenerateRequest, size: tuple[int, int]) -> Iterator[tuple[int, U8]]:
        """The frames of `request`, of `size` = width, height."""
        job = self._job
        reference = source_picture(request.conditioning) if job.values["reference"] else None
        showing = Showing(
            scale=float(job.values["conditioning_scale"]),
            edge=int(job.values["edge"]),
            batched=job.batched,
            reference=reference,
        )
        kit = VaceKit(
            job.repository,
            loras=job.loras,
            fuse=job.speed.fuse_loras,
            gguf=job.wish.gguf,
            device=job.device,
            showing=showing,
        )
        yield from job.paint(request, size, kit, more_frames=0 if reference is None else TIME)


def source_picture(conditioning: Conditioning) -> U8:
    """The source's picture at the shot's first frame, [h, w, 3].

    Raises:
        Ex4dError: BAD_INPUT where two videos are all there is, and their first frame is not wholly seen.
    """
    if isinstance(conditioning, ShotConditioning):
        shot = conditioning.shot
        picture: U8 = shot.scene.clip.frames[shot.source.frame[0]]
        return picture
    if not conditioning.mask[0].all():
        raise Ex4dError(
            BAD_INPUT,
            f"There is no picture of the source to refer to: {conditioning.mask[0].mean():.0%} of the first frame is "
            "seen, and two videos tell no more.",
            "Turn reference off, or give the folders of a scene and its conditioning.",
        )
    first: U8 = conditioning.colour[0]
    return first
