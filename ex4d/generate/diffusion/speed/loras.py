# SPDX-License-Identifier: Apache-2.0
"""LoRAs that others made, into a Wan transformer.

Their tensors are named in one of these ways, and read strictly: what the model has no place for is an error.

- diffusers: `transformer.blocks.0.attn1.to_q.lora_A.weight`
- ComfyUI, lightx2v: `diffusion_model.blocks.0.self_attn.q.lora_down.weight`, with or without that beginning
- kohya: `lora_unet_blocks_0_self_attn_q.lora_down.weight`

Beside the two matrices there may be an `alpha` (the product is scaled by alpha / rank), and differences that are added
to weights (`diff`), biases (`diff_b`) and modulations (`diff_m`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ex4d.generate.diffusion.speed.settings import LoraFile
from ex4d.models.original_names import transformer as ours
from ex4d.models.weights import WeightFiles
from shared_protocol.errors import BAD_INPUT, UNSUPPORTED, Ex4dError

_SHOWN: Final = 4  # names in a message; the rest is counted
_PREFIXES: Final = re.compile(r"^(?:base_model\.model\.)?(?:transformer|diffusion_model|model\.diffusion_model)\.")
_KOHYA: Final = re.compile(r"^lora_unet_((?:vace_)?blocks)_(\d+)_(self_attn|cross_attn|ffn)_(.+)$")
_KINDS: Final = {
    "lora_A.weight": "down",
    "lora_A.default.weight": "down",
    "lora_down.weight": "down",
    "lora_B.weight": "up",
    "lora_B.default.weight": "up",
    "lora_up.weight": "up",
    "alpha": "alpha",
    "diff": "weight",
    "diff_b": "bias",
    "diff_m": "modulation",
}


@dataclass
class _Lora:
    """What a file has for the model, by the model's own names."""

    down: dict[str, Tensor] = field(default_factory=dict)  # of modules: [rank, inputs]
    up: dict[str, Tensor] = field(default_factory=dict)  # of modules: [outputs, rank]
    alpha: dict[str, float] = field(default_factory=dict)  # of modules
    differences: dict[str, Tensor] = field(default_factory=dict)  # of parameters


def add_loras(
    transformer: Any, loras: Sequence[LoraFile], adapters: Mapping[str, float], dtype: torch.dtype
) -> list[dict[str, Any]]:
    """Puts LoRAs into a diffusers transformer, beside the adapters that it has.

    Differences of weights and biases are added for good.

    Args:
        transformer: `WanTransformer3DModel` or `WanVACETransformer3DModel`, weights loaded; hooks come later.
        loras: files and strengths.
        adapters: names and strengths of the adapters in it: {"ex4d": 1.0}.
        dtype: what its layers compute in.

    Returns:
        One dict for each LoRA, in JSON values: `file`, `strength`, `adapter`, `modules`, `differences` (counts).

    Raises:
        Ex4dError: NOT_FOUND or BAD_INPUT for a file that is not there, is broken, or does not fit the model.
    """
    strengths = dict(adapters)
    facts = []
    for number, lora in enumerate(loras, 1):
        name = f"lora{number}"
        read = _read(lora.file, transformer)
        if read.down:
            _load(transformer, read, name, dtype)
            strengths[name] = lora.strength
        parameters = _without_adapters(transformer.named_parameters())
        for place, difference in read.differences.items():
            _add(parameters[place], difference, lora, place)
        facts.append(
            {
                "file": str(lora.file),
                "strength": lora.strength,
                "adapter": name,
                "modules": len(read.down),
                "differences": len(read.differences),
            }
        )
    if strengths:
        transformer.set_adapters(list(strengths), list(strengths.values()))
    return facts


def fuse_loras(transformer: Any) -> str:
    """Works all adapters into the weights and takes them out: each layer is a single matrix again, rounded to its type.

    Returns:
        What stood in the way, in words, with nothing done; "" when it is done.

    Raises:
        Ex4dError: BAD_INPUT when the sum is no number somewhere.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in transformer.modules() if isinstance(module, BaseTunerLayer)]
    if not layers:
        return "there are none"
    types = {layer.get_base_layer().weight.dtype for layer in layers}
    if coarse := types - {torch.float32, torch.bfloat16, torch.float16}:
        return f"the weights are kept as {', '.join(sorted(str(dtype).removeprefix('torch.') for dtype in coarse))}"
    try:
        transformer.fuse_lora(safe_fusing=True)
    except ValueError as error:
        raise Ex4dError(
            BAD_INPUT, f"The LoRAs cannot be worked into the weights: {error}", "Leave one out, or lower its strength."
        ) from error
    transformer.unload_lora()
    return ""


def _read(file: Path, transformer: Any) -> _Lora:
    """The tensors of a file in their places, all of them or an error."""
    parameters = _without_adapters(transformer.named_parameters())
    layers = {
        name: (module.out_features, module.in_features)
        for name, module in _without_adapters(transformer.named_modules()).items()
        if isinstance(module, nn.Linear)
    }
    lora, faults = _Lora(), []
    for source, tensor in _tensors(file):
        module, kind = _split(source)
        if not tensor.is_floating_point() and kind != "alpha":
            faults.append(f"{source} of {str(tensor.dtype).removeprefix('torch.')}")
        if kind in ("weight", "bias", "modulation"):
            place = ours(f"{module}.{kind}")
            if place not in parameters:
                faults.append(source)
            elif parameters[place].is_floating_point() and parameters[place].shape != tensor.shape:
                faults.append(_misfit(source, tensor, parameters[place].shape))
            lora.differences[place] = tensor
            continue
        place = ours(module)
        if kind == "" or place not in layers:
            faults.append(source)
        elif kind == "alpha" and tensor.numel() != 1:
            faults.append(_misfit(source, tensor, (1,)))
        elif kind == "alpha":
            lora.alpha[place] = float(tensor)
        else:
            side = 1 if kind == "down" else 0
            if tensor.ndim != 2 or tensor.shape[side] != layers[place][side]:
                faults.append(_misfit(source, tensor, layers[place]))
            getattr(lora, kind)[place] = tensor
    faults += [f"{place} without its other half" for place in lora.down.keys() ^ lora.up.keys()]
    faults += [f"{place}.alpha without matrices" for place in lora.alpha.keys() - lora.down.keys()]
    faults += [
        f"{place} with ranks {len(down)} and {lora.up[place].shape[-1]}"
        for place, down in lora.down.items()
        if place in lora.up and len(down) != lora.up[place].shape[-1]
    ]
    if faults:
        names = f"{', '.join(faults[:_SHOWN])}{', ...' if len(faults) > _SHOWN else ''}"
        raise Ex4dError(
            BAD_INPUT,
            f"The LoRA {file} does not fit the model. {len(faults)} of its tensors have no place in it: {names}.",
            "Take a LoRA that was made for this very model.",
        )
    if not lora.down and not lora.differences:
        raise Ex4dError(BAD_INPUT, f"{file} has no tensors: it is no LoRA.")
    return lora


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    weights = WeightFiles([file])
    return weights.read(weights)


def _split(source: str) -> tuple[str, str]:
    """Module in the original's or the model's naming, and what the tensor is to it; kind "" where that is not known."""
    for ending, kind in _KINDS.items():
        if source.endswith(f".{ending}"):
            name = source.removesuffix(f".{ending}")
            if found := _KOHYA.match(name):
                return ".".join(found.groups()), kind
            return _PREFIXES.sub("", name), kind
    return source, ""


def _without_adapters(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Parameters or modules by the names that they have without adapters."""
    return {name.replace(".base_layer", ""): value for name, value in named if ".lora_" not in name}


def _misfit(source: str, tensor: Tensor, wanted: Sequence[int]) -> str:
    return f"{source} of {'x'.join(map(str, tensor.shape))} for {'x'.join(map(str, wanted))}"


def _load(transformer: Any, lora: _Lora, name: str, dtype: torch.dtype) -> None:
    """As a peft adapter, on the device where its layers are."""
    parameters = _without_adapters(transformer.named_parameters())
    state = {}
    for side, tensors in (("A", lora.down), ("B", lora.up)):
        for module, tensor in tensors.items():
            weight = parameters[f"{module}.weight"]
            kept = torch.float32 if weight.dtype == torch.float32 else dtype
            state[f"{module}.lora_{side}.weight"] = tensor.to(weight.device, kept, copy=True)
    ranks = {module: len(down) for module, down in lora.down.items()}
    config = {
        "r": 1,
        "lora_alpha": 1,
        "target_modules": list(ranks),
        "rank_pattern": {f"^{re.escape(module)}": rank for module, rank in ranks.items()},
        "alpha_pattern": {f"^{re.escape(module)}": lora.alpha.get(module, rank) for module, rank in ranks.items()},
    }
    with warnings.catch_warnings():  # peft asks whether a second adapter is meant
        warnings.simplefilter("ignore", UserWarning)
        transformer.load_lora_adapter(dict(state), prefix=None, adapter_name=name, metadata=config)
    # peft has rounded them to the type in which the layer's weights are kept, which may be float8.
    for module in ranks:
        layer = transformer.get_submodule(module)
        for side, matrices in (("A", layer.lora_A), ("B", layer.lora_B)):
            matrices[name].weight = nn.Parameter(state[f"{module}.lora_{side}.weight"], requires_grad=False)


def _add(parameter: Tensor, difference: Tensor, lora: LoraFile, name: str) -> None:
    if not parameter.is_floating_point():
        raise Ex4dError(
            UNSUPPORTED,
            f"The LoRA {lora.file} changes {name}, which is kept in packed form.",
            "Choose weights in bf16 or fp8, or leave the LoRA out.",
        )
    with torch.no_grad():
        summed = parameter.float() + lora.strength * difference.to(parameter.device, torch.float32)
        parameter.copy_(summed)
