# SPDX-License-Identifier: Apache-2.0
"""Loads what a shot needs, in a memory profile that fits: prompts first, whose encoder is let go of, then the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ex4d.generate.diffusion.encoders import encode_prompts
from ex4d.generate.diffusion.guidance import Prompts
from ex4d.generate.diffusion.latents import WanLatents
from ex4d.generate.diffusion.load import load_autoencoder
from ex4d.generate.diffusion.memory import (
    MemoryWish,
    Profile,
    Workload,
    free_memory,
    pick_profile,
    place,
    release,
    smaller,
)
from ex4d.generate.diffusion.model import LatentVideo, VideoModel
from ex4d.generate.diffusion.speed.apply import apply_speed, check_speed
from ex4d.generate.diffusion.speed.parallel import Maker, several_gpus
from ex4d.generate.diffusion.speed.settings import Speed
from ex4d.generate.door import Progress, nobody
from ex4d.models.repository import Repository
from shared_protocol.errors import LIMIT, UNSUPPORTED, Ex4dError


@dataclass(eq=False)
class Networks:
    """What a generator loads of its own. `facts` go into the side-car."""

    transformer: Any  # with its LoRAs
    geometry: nn.Module | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Kit(Protocol):
    """A generator's own part in the loading of its model."""

    repository: Repository

    def networks(self, profile: Profile, device: torch.device, progress: Progress) -> Networks:
        """The transformer with its LoRAs and the geometry encoder, loaded to where the profile has them."""
        ...

    def model(
        self, networks: Networks, vae: LatentVideo, prompts: Prompts, profile: Profile, progress: Progress
    ) -> VideoModel:
        """The model, of networks that are placed."""
        ...

    def maker(self, profile: Profile) -> Maker:
        """How the process of another GPU gets the same transformer."""
        ...

    def release(self) -> None:
        """Lets go of what `model` loaded."""
        ...


def transformer_elsewhere(kit: Kit, profile: Mapping[str, Any], device: torch.device) -> Any:
    """A kit's transformer in the process of another GPU, placed on it; `profile` has the fields of a `Profile`."""
    held = Profile(**profile)
    transformer = kit.networks(held, device, nobody).transformer
    place(transformer, None, None, held, device)
    return transformer


class ModelRig:
    """`ex4d.generate.diffusion.painter.Rig` of a kit."""

    def __init__(
        self,
        kit: Kit,
        prompts: tuple[str, str],
        workload: Workload,
        wish: MemoryWish,
        speed: Speed,
        steps: int,
        *,
        progress: Progress,
        record: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Sees what fits; loads nothing yet.

        Args:
            kit: of the generator.
            prompts: positive and negative.
            workload: for what memory is predicted.
            wish: what the user wants of memory.
            speed: the switches.
            steps: of a window.
            progress: told while things load.
            record: told what took effect.

        Raises:
            Ex4dError: LIMIT where no profile fits, UNAVAILABLE for a switch that does not work here.
        """
        self._kit, self._texts, self._workload, self._speed, self._steps = kit, prompts, workload, speed, steps
        self._progress, self._record = progress, record
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        check_speed(speed, self.device)
        self._profile = pick_profile(wish, workload, free_memory(self.device))
        if speed.gpus > 1 and self._profile.offload != "none":
            text = f"{speed.gpus} GPUs share a step where each holds the whole model, which does not fit these."
            raise Ex4dError(UNSUPPORTED, text, "Set gpus to 1, weights to fp8, or a smaller quality or window.")
        self._dtype = torch.float32 if self._profile.weights == "float32" else torch.bfloat16
        self._prompts: Prompts | None = None
        self._model: VideoModel | None = None
        self._loaded: list[nn.Module | None] = []
        self._shared = ExitStack()
        self.notes: list[str] = []

    def open(self) -> VideoModel:
        """See `Rig.open`."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def shrink(self) -> None:
        """See `Rig.shrink`."""
        before = self._profile
        self.close()
        less = smaller(before, self._workload, free_memory(self.device))
        if less is None:
            whose = "The GPU's" if self.device.type == "cuda" else "Main"
            raise Ex4dError(
                LIMIT,
                f"{whose} memory ran out in the memory profile '{before.name}', and there is no smaller one.",
                "Close other programs that use it, or choose a lower quality or a shorter window.",
            )
        self.notes.append(f"Memory ran out in the profile '{before.name}'; went on in '{less.name}'.")
        self._profile = less

    def close(self) -> None:
        """See `Rig.close`."""
        self._model = None
        self._shared.close()
        self._kit.release()
        loaded, self._loaded = self._loaded, []
        release(*loaded)

    def _load(self) -> VideoModel:
        profile, device, progress = self._profile, self.device, self._progress
        if self._prompts is None:
            self._prompts = self._read_prompts()
        networks = self._kit.networks(profile, device, progress)
        self._loaded = [networks.transformer, networks.geometry]
        vae = load_autoencoder(self._kit.repository, dtype=self._dtype, device=torch.device("cpu"))
        self._loaded.append(vae)
        placed = place(networks.transformer, vae, networks.geometry, profile, device)
        switched = apply_speed(networks.transformer, self._speed, self._steps, device)
        if isinstance(reason := networks.facts.get("fused"), str):
            switched["notes"].append(f"LoRAs are not worked into the weights: {reason}.")
            switched["deviations"].pop("fuse_loras", None)
        self.notes += [note for note in switched["notes"] if note not in self.notes]
        self._shared.enter_context(
            several_gpus(
                networks.transformer,
                self._speed,
                self._steps,
                self._kit.maker(profile),
                device,
                waiting=lambda: progress("Loading the model on the other GPUs", 0, 1),
            )
        )
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        facts = {"device": name, "memory": placed, "speed": switched, **networks.facts}
        self._record({"options": self._settled(), **facts})
        return self._kit.model(networks, WanLatents(vae), self._prompts, profile, progress)

    def _settled(self) -> dict[str, str]:
        """What "auto" came to, in the words of the settings, so that a later run can ask for the same."""
        profile = self._profile
        if not profile.card_gib:  # without a GPU there is nothing to choose
            return {}
        weights = {"bfloat16": "bf16", "float8": "fp8", "int8": "int8"}.get(profile.weights, "auto")
        return {"profile": profile.name, "weights": weights, "vae_tiling": "on" if profile.vae_tiling else "off"}

    def _read_prompts(self) -> Prompts:
        stream = True if self._profile.stream else None
        encoded: list[Tensor] = encode_prompts(
            self._kit.repository, self._texts, self.device, self._dtype, self._progress, self.notes.append, stream
        )
        return Prompts(*(text[None] for text in encoded))
