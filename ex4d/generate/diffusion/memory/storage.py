# SPDX-License-Identifier: Apache-2.0
"""Weights in smaller types: float8 between the layers' calls (diffusers), int8 (torchao), or a GGUF file's.

Only linear layers inside the transformer's blocks change: that is 97 % of the 14B model. Embeddings, modulation, norms
and the head stay as they are, and so do LoRAs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ex4d.generate.diffusion.memory.profiles import Profile
from ex4d.models import original_names
from shared_protocol.errors import BAD_INPUT, Ex4dError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

BLOCKS: Final = ("blocks", "vace_blocks")  # of WanTransformer3DModel; of WanVACETransformer3DModel both
_THIS_VERY: Final = "Give a GGUF file of the very model whose folder is in use."
_ADAPTER: Final = "lora_"  # in the names of what peft puts beside a layer


def block_layers(transformer: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Name and module of each linear layer in the blocks, without a LoRA's."""
    from torch import nn

    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear) and name.split(".")[0] in BLOCKS and _ADAPTER not in name:
            yield name, module


def storage_for(profile: Profile, transformer: nn.Module) -> Callable[[str], torch.dtype | None] | None:
    """The `storage` of `ex4d.models.weights.load_into`: with it weights are never whole in the larger type.

    Args:
        profile: in use.
        transformer: may be on the meta device; without adapters.

    Returns:
        A function from a tensor's name to its type, or None for the transformer's; None where all have that.
    """
    import torch

    if profile.weights != "float8":
        return None
    names = {f"{layer}.{tensor}" for layer, _ in block_layers(transformer) for tensor in ("weight", "bias")}
    return lambda name: torch.float8_e4m3fn if name in names else None


def store_in_float8(transformer: nn.Module, compute: torch.dtype) -> None:
    """Keeps the blocks' linear layers in float8 between their calls. Cannot be taken back."""
    import torch
    from diffusers.hooks import apply_layerwise_casting

    for blocks in BLOCKS:
        if hasattr(transformer, blocks):
            skipped = ("norm", _ADAPTER)
            apply_layerwise_casting(
                getattr(transformer, blocks), torch.float8_e4m3fn, compute, skip_modules_pattern=skipped
            )


def store_in_int8(transformer: nn.Module) -> None:
    """Replaces the weights of the blocks' linear layers by int8 with a scale for each row. Cannot be taken back."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    layers = {name for name, _ in block_layers(transformer)}
    quantize_(transformer, Int8WeightOnlyConfig(), filter_fn=lambda _, name: name in layers)


def load_gguf(file: Path, kind: Any, config: Mapping[str, Any], compute: torch.dtype) -> Any:
    """A transformer with the weights of a GGUF file, on the CPU.

    Args:
        file: with Wan's own names.
        kind: the class, `WanTransformer3DModel` or `WanVACETransformer3DModel`.
        config: what it is built from.
        compute: type of the work, and of what the file does not have in a smaller one.

    Raises:
        Ex4dError: BAD_INPUT for a file that is broken or of another model.
    """
    from diffusers import GGUFQuantizationConfig

    from ex4d.models.empty import empty_network

    _check_names(file, set(empty_network("transformer", config).state_dict()))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
        try:
            model = kind.from_single_file(
                str(file), config=folder, quantization_config=GGUFQuantizationConfig(compute), torch_dtype=compute
            )
        except (ValueError, KeyError, RuntimeError, OSError) as error:
            text = f"{file} does not fit the model: {error.args[0] if error.args else error!r}"
            raise Ex4dError(BAD_INPUT, text, _THIS_VERY) from error
    return model.requires_grad_(False).eval()


def _check_names(file: Path, wanted: set[str]) -> None:
    """Diffusers takes no offence at tensors that are left over, and says little of those that are missing."""
    from gguf import GGUFReader

    try:
        names = {tensor.name for tensor in GGUFReader(file).tensors}
    except (ValueError, IndexError, KeyError, OSError) as error:
        size = file.stat().st_size
        raise Ex4dError(
            BAD_INPUT, f"{file} ({size} bytes) is cut off or is no GGUF file.", "Download it again."
        ) from error
    ours = {original_names.transformer(name.removeprefix("model.diffusion_model.")) for name in names}
    faults = [
        f"{len(found)} {what}: {', '.join(sorted(found)[:4])}{', ...' if len(found) > 4 else ''}"
        for found, what in ((wanted - ours, "missing"), (ours - wanted, "not known"))
        if found
    ]
    if faults:
        raise Ex4dError(BAD_INPUT, f"The tensors of {file} do not fit the model: {'; '.join(faults)}.", _THIS_VERY)


def keep_adapter(
    transformer: nn.Module, adapter: str, lora: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """Gives a LoRA that `load_lora_adapter` brought in its values and their type once more.

    peft brings a LoRA into the type of the weights beside it, also where that is only what they are stored in: in
    float8 most of a LoRA is lost.

    Args:
        transformer: with the adapter in it.
        adapter: its name there.
        lora: what was loaded: "blocks.0.attn1.to_q.lora_A.weight".
        dtype: of the work; None: what each tensor of `lora` has.
    """
    for name, value in lora.items():
        layer, kind, tensor = name.rsplit(".", 2)
        parameter = transformer.get_parameter(f"{layer}.{kind}.{adapter}.{tensor}")
        parameter.data = value.to(parameter.device, dtype or value.dtype, copy=True)
