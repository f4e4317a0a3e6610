# SPDX-License-Identifier: Apache-2.0
"""How far a small transformer with weights in smaller types is from the same one in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor

from ex4d.generate.diffusion.load import compute_type, load_transformer
from ex4d.generate.diffusion.memory import CPU, PROFILES, Profile, place
from ex4d.generate.wan.adapter import add_adapter, read_adapter
from ex4d.models.repository import Repository, open_repository
from scripts._tiny_gguf import write_gguf
from scripts._tiny_models import write_adapter, write_wan

ON = torch.device("cpu")
BLOCK, LAYER = PROFILES[2], PROFILES[-1]


def measured(folder: Path) -> dict[str, float]:
    """Root mean square of the difference over that of the prediction, for each way.

    Args:
        folder: empty, for the small model.
    """
    repository = open_repository(write_wan(folder / "wan"))
    adapter, gguf = write_adapter(folder / "adapter.safetensors"), write_gguf(folder / "wan.gguf")

    def predicted(profile: Profile) -> Tensor:
        return predict(load(repository, adapter, profile, gguf))

    exact, results = predicted(CPU), {}
    plain = predicted(replace(BLOCK, offload="none"))
    results["bfloat16, from float32"] = _relative(plain, exact)
    for profile in _profiles():
        kept = "" if profile.offload == "none" else f", offloaded by {profile.offload}"
        results[f"{profile.weights}{kept}"] = _relative(predicted(profile), plain)
    return results


def _profiles() -> Iterator[Profile]:
    yield BLOCK
    yield replace(LAYER, weights="bfloat16")
    for weights in ("float8", "int8", "gguf"):
        yield replace(BLOCK, weights=weights, offload="none")
        yield replace(BLOCK, weights=weights)


def load(repository: Repository, adapter: Path, profile: Profile, gguf: Path) -> WanTransformer3DModel:
    """The transformer with EX-4D's LoRA, placed."""
    part, file = repository.part("transformer"), gguf if profile.weights == "gguf" else None
    transformer = load_transformer(WanTransformer3DModel, part, profile, ON, file, lambda *_: None)
    add_adapter(transformer, read_adapter(adapter, transformer), 1.0, compute_type(profile))
    place(transformer, AutoencoderKLWan(base_dim=4), None, profile, ON)
    return transformer


@torch.no_grad()
def predict(transformer: WanTransformer3DModel, device: torch.device = ON) -> Tensor:
    """One step at random latents, float32."""
    random = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=random).to(device, transformer.dtype)

    answer: Tensor = transformer(
        hidden_states=drawn(36, 3, 8, 12),
        timestep=torch.tensor([500.0], device=device),
        encoder_hidden_states=drawn(512, 64),
        encoder_hidden_states_image=drawn(257, 64),
        return_dict=False,
    )[0]
    return answer.float().cpu()


def _relative(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).square().mean().sqrt() / reference.square().mean().sqrt())
