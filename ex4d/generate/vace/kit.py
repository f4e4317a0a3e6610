# SPDX-License-Identifier: Apache-2.0
"""What the `wan-vace` generator loads: the transformer, with LoRAs where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import WanVACETransformer3DModel

from ex4d.generate.diffusion.guidance import Prompts
from ex4d.generate.diffusion.load import compute_type, load_transformer
from ex4d.generate.diffusion.memory import Profile
from ex4d.generate.diffusion.model import LatentVideo
from ex4d.generate.diffusion.rig import Networks, transformer_elsewhere
from ex4d.generate.diffusion.speed.loras import add_loras, fuse_loras
from ex4d.generate.diffusion.speed.parallel import Maker
from ex4d.generate.diffusion.speed.settings import LoraFile
from ex4d.generate.door import Progress
from ex4d.generate.vace.model import Showing, VaceModel
from ex4d.models.repository import Repository, open_repository


class VaceKit:
    """`Kit` of Wan2.1-VACE."""

    def __init__(
        self,
        repository: Repository,
        *,
        loras: Sequence[LoraFile],
        fuse: bool,
        gguf: Path | None,
        device: torch.device,
        showing: Showing,
    ) -> None:
        """Reads nothing yet.

        Args:
            repository: Wan2.1-VACE.
            loras: for it, or for the text-to-video model of its size, whose layers it has.
            fuse: work them into the weights.
            gguf: a file to take the transformer's weights from, or None.
            device: where the work is done.
            showing: how windows are shown to it.
        """
        self.repository = repository
        self._loras, self._fuse, self._gguf, self._device, self._showing = loras, fuse, gguf, device, showing

    def networks(self, profile: Profile, device: torch.device, progress: Progress) -> Networks:
        """See `Kit.networks`."""
        part = self.repository.part("transformer")
        transformer = load_transformer(WanVACETransformer3DModel, part, profile, device, self._gguf, progress)
        facts: dict[str, Any] = {"model": self.repository.title}
        facts["loras"] = add_loras(transformer, self._loras, {}, compute_type(profile))
        if self._fuse and self._loras:
            facts["fused"] = fuse_loras(transformer) or True
        return Networks(transformer, facts=facts)

    def model(
        self, networks: Networks, vae: LatentVideo, prompts: Prompts, profile: Profile, progress: Progress
    ) -> VaceModel:
        """See `Kit.model`."""
        return VaceModel(networks.transformer, vae, prompts, self._device, self._showing)

    def maker(self, profile: Profile) -> Maker:
        """See `Kit.maker`."""
        arguments = {
            "model": str(self.repository.folder),
            "loras": [[str(lora.file), lora.strength] for lora in self._loras],
            "fuse": self._fuse,
            "gguf": None if self._gguf is None else str(self._gguf),
            "profile": asdict(profile),
        }
        return Maker(f"{__name__}:follow", arguments)

    def release(self) -> None:
        """See `Kit.release`. It holds nothing."""


def follow(
    device: torch.device,
    *,
    model: str,
    loras: Sequence[tuple[str, float]],
    fuse: bool,
    gguf: str | None,
    profile: Mapping[str, Any],
) -> Any:
    """The transformer of a `VaceKit` in the process of another GPU; arguments are those of `VaceKit.maker`."""
    file = None if gguf is None else Path(gguf)
    kit = VaceKit(
        open_repository(Path(model), "vace", without=("transformer",) if file else ()),
        loras=[LoraFile(Path(path), weight) for path, weight in loras],
        fuse=fuse,
        gguf=file,
        device=device,
        showing=Showing(),
    )
    return transformer_elsewhere(kit, profile, device)
