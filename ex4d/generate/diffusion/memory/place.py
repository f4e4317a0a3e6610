# SPDX-License-Identifier: Apache-2.0
"""Loaded networks are put where a profile wants them; and taken away again, so that their memory is free."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Final

from ex4d.generate.diffusion.memory.out_of_memory import is_out_of_memory
from ex4d.generate.diffusion.memory.pinned import pin
from ex4d.generate.diffusion.memory.predict import GIB, STRIDE, TILE
from ex4d.generate.diffusion.memory.profiles import Profile
from ex4d.generate.diffusion.memory.storage import block_layers, store_in_float8, store_in_int8

if TYPE_CHECKING:
    import torch
    from torch import nn

_LEAVE_FREE: Final = 4 * GIB  # of main memory, before weights are locked in it
_LEVELS: Final = {"block": "block_level", "layer": "leaf_level"}  # diffusers' words


def load_device(profile: Profile, device: torch.device) -> torch.device:
    """Where the transformer's weights are loaded to: straight to the GPU where they stay there."""
    import torch

    return device if profile.offload == "none" and profile.weights != "int8" else torch.device("cpu")


def place(
    transformer: Any, vae: Any, geometry_encoder: nn.Module | None, profile: Profile, device: torch.device
) -> dict[str, Any]:
    """Puts networks where the profile wants them, after adapters were added and before switches for speed are set.

    Args:
        transformer: `WanTransformer3DModel` or `WanVACETransformer3DModel` with weights, on `load_device`.
        vae: `AutoencoderKLWan` with weights, or None.
        geometry_encoder: or None.
        profile: to place them in.
        device: where the work is done.

    Returns:
        What took effect, as it was found in the networks afterwards: JSON values for the side-car.
    """
    import torch

    device = _with_index(device)
    if profile.weights == "float8":
        store_in_float8(transformer, torch.bfloat16)
    elif profile.weights == "int8":
        store_in_int8(transformer)
    for network in (vae, geometry_encoder):
        if network is not None:
            network.to(device)
    pinned = _PLACES[profile.offload](transformer, vae, profile, device)
    if vae is not None and profile.vae_tiling:
        vae.enable_tiling(TILE, TILE, STRIDE, STRIDE)
    elif vae is not None:
        vae.disable_tiling()
    return {"profile": profile.name, "deviation": profile.deviation, "pinned": pinned, **found(transformer, vae)}


def found(transformer: nn.Module, vae: Any | None) -> dict[str, Any]:
    """How networks are held, read off themselves."""
    types: dict[str, int] = {}
    for _, layer in block_layers(transformer):
        kind = str(layer.weight.dtype).removeprefix("torch.")
        kind = type(layer.weight).__name__ if type(layer.weight).__name__ not in ("Parameter", "Tensor") else kind
        types[kind] = types.get(kind, 0) + 1
    hooks = [
        hook for part in transformer.modules() for hook in getattr(getattr(part, "_diffusers_hook", None), "hooks", ())
    ]
    return {
        "layers": types,
        "cast_layers": hooks.count("layerwise_casting"),
        "offloaded_groups": hooks.count("group_offloading"),
        "moved_as_a_whole": hasattr(transformer, "_hf_hook"),
        "vae_tiling": vae is not None and bool(vae.use_tiling),
    }


def release(*networks: nn.Module | None) -> None:
    """Takes the weights out of networks, whoever holds these, and gives their memory back.

    An error that is being handled keeps alive what it failed with: leave its `except` block first.
    """
    import torch
    from accelerate.hooks import remove_hook_from_module

    for network in networks:
        if network is None:
            continue
        remove_hook_from_module(network, recurse=True)
        for part in network.modules():
            registry: Any = getattr(part, "_diffusers_hook", None)
            for name in list(registry.hooks) if registry is not None else ():
                if name != "layerwise_casting":  # it has no way back, and holds nothing
                    registry.remove_hook(name, recurse=False)
            for name, _ in list(part.named_parameters(recurse=False)):
                part.register_parameter(name, None)
            for name, _ in list(part.named_buffers(recurse=False)):
                part.register_buffer(name, None)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        if hasattr(torch.accelerator, "empty_host_cache"):  # not in torch 2.10
            torch.accelerator.empty_host_cache()


def _stay(transformer: nn.Module, _vae: nn.Module | None, _profile: Profile, device: torch.device) -> bool:
    transformer.to(device)
    return False


def _take_turns(transformer: nn.Module, vae: nn.Module | None, _profile: Profile, device: torch.device) -> bool:
    """The transformer comes when it is called; the autoencoder, which is small, sends it away when it is."""
    from accelerate import cpu_offload_with_hook

    _, hook = cpu_offload_with_hook(transformer, device)
    hook.offload()
    if vae is not None:
        cpu_offload_with_hook(vae, device, prev_module_hook=hook)
        vae.to(device)
    return False


def _in_groups(transformer: Any, _vae: nn.Module | None, profile: Profile, device: torch.device) -> bool:
    pinned = device.type == "cuda" and _pinned(transformer)
    transformer.enable_group_offload(**_offloading(profile, device, _LEVELS[profile.offload], pinned))
    return pinned


_PLACES: Final = {"none": _stay, "model": _take_turns, "block": _in_groups, "layer": _in_groups}


def _offloading(profile: Profile, device: torch.device, level: str, pinned: bool) -> dict[str, Any]:
    """Arguments of diffusers' group offloading.

    Without `record_stream` a block is only let go of when the GPU is done with it. With it the CPU would run ahead, and
    copies of blocks that are not needed yet would fill the card.
    """
    import torch

    return {
        "onload_device": device,
        "offload_device": torch.device("cpu"),
        "offload_type": level,
        "num_blocks_per_group": 1 if level == "block_level" else None,
        "use_stream": profile.stream and device.type == "cuda",
        "record_stream": False,
        "low_cpu_mem_usage": not pinned,
    }


def _pinned(transformer: nn.Module) -> bool:
    """Whether the weights could be brought into page-locked memory; else each block is on its way to the GPU."""
    import psutil

    if psutil.virtual_memory().available < _LEAVE_FREE:
        return False
    try:
        pin(transformer)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _with_index(device: torch.device) -> torch.device:
    """accelerate compares devices as they are written."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if device == torch.device("cuda") else device
