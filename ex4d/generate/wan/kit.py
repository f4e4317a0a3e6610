# SPDX-License-Identifier: Apache-2.0
"""What the `wan` generator loads: the transformer with the EX-4D adapter and further LoRAs, and CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import WanTransformer3DModel

from ex4d.generate.diffusion.encoders import ImageEncoder
from ex4d.generate.diffusion.guidance import Prompts
from ex4d.generate.diffusion.load import compute_type, load_transformer
from ex4d.generate.diffusion.memory import Profile
from ex4d.generate.diffusion.model import LatentVideo
from ex4d.generate.diffusion.rig import Networks, transformer_elsewhere
from ex4d.generate.diffusion.speed.loras import add_loras, fuse_loras
from ex4d.generate.diffusion.speed.parallel import Maker
from ex4d.generate.diffusion.speed.settings import LoraFile
from ex4d.generate.door import Progress
from ex4d.generate.wan.adapter import NAME, add_adapter, read_adapter
from ex4d.generate.wan.model import WanModel
from ex4d.models.repository import Repository, open_repository


class WanKit:
    """`Kit` of EX-4D."""

    def __init__(
        self,
        repository: Repository,
        adapter: Path,
        *,
        strength: float,
        loras: Sequence[LoraFile],
        fuse: bool,
        gguf: Path | None,
        device: torch.device,
        seed: int,
        batched: bool,
    ) -> None:
        """Reads nothing yet.

        Args:
            repository: Wan2.1-I2V.
            adapter: the EX-4D checkpoint.
            strength: of its LoRA.
            loras: further ones.
            fuse: work all LoRAs into the weights.
            gguf: a file to take the transformer's weights from, or None.
            device: where the work is done.
            seed: of the erosion of masks.
            batched: run both prompts in one pass.
        """
        self.repository = repository
        self._adapter, self._strength, self._loras, self._fuse, self._gguf = adapter, strength, loras, fuse, gguf
        self._device, self._seed, self._batched = device, seed, batched
        self._images: ImageEncoder | None = None

    def networks(self, profile: Profile, device: torch.device, progress: Progress) -> Networks:
        """See `Kit.networks`."""
        part, dtype = self.repository.part("transformer"), compute_type(profile)
        transformer = load_transformer(WanTransformer3DModel, part, profile, device, self._gguf, progress)
        adapter = read_adapter(self._adapter, transformer)
        add_adapter(transformer, adapter, self._strength, dtype)
        facts: dict[str, Any] = {"adapter": {"rank": adapter.rank, "strength": self._strength}}
        facts["loras"] = add_loras(transformer, self._loras, {NAME: self._strength}, dtype)
        if self._fuse:
            facts["fused"] = fuse_loras(transformer) or True
        return Networks(transformer, adapter.geometry.to(dtype), facts)

    def model(
        self, networks: Networks, vae: LatentVideo, prompts: Prompts, profile: Profile, progress: Progress
    ) -> WanModel:
        """See `Kit.model`."""
        self._images = ImageEncoder(
            self.repository, self._device, compute_type(profile), progress, stream=profile.stream
        )
        return WanModel(
            networks.transformer,
            networks.geometry,  # type: ignore[arg-type]  # ours has one
            vae,
            self._images.features,
            prompts,
            self._device,
            seed=self._seed,
            batched=self._batched,
        )

    def maker(self, profile: Profile) -> Maker:
        """See `Kit.maker`."""
        arguments = {
            "model": str(self.repository.folder),
            "adapter": str(self._adapter),
            "strength": self._strength,
            "loras": [[str(lora.file), lora.strength] for lora in self._loras],
            "fuse": self._fuse,
            "gguf": None if self._gguf is None else str(self._gguf),
            "profile": asdict(profile),
        }
        return Maker(f"{__name__}:follow", arguments)

    def release(self) -> None:
        """See `Kit.release`."""
        if self._images is not None:
            self._images.release()
        self._images = None


def follow(
    device: torch.device,
    *,
    model: str,
    adapter: str,
    strength: float,
    loras: Sequence[tuple[str, float]],
    fuse: bool,
    gguf: str | None,
    profile: Mapping[str, Any],
) -> Any:
    """The transformer of a `WanKit` in the process of another GPU; arguments are those of `WanKit.maker`."""
    file = None if gguf is None else Path(gguf)
    kit = WanKit(
        open_repository(Path(model), without=("transformer",) if file else ()),
        Path(adapter),
        strength=strength,
        loras=[LoraFile(Path(path), weight) for path, weight in loras],
        fuse=fuse,
        gguf=file,
        device=device,
        seed=0,
        batched=False,
    )
    return transformer_elsewhere(kit, profile, device)
