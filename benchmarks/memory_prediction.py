# SPDX-License-Identifier: Apache-2.0
"""Predicted memory against what the networks allocate at full size, on any machine: no GPU and no weights are needed.

Part 1 runs the real classes under `FakeTensorMode`, where tensors have sizes and no contents, and counts what is alive.
Part 2 prints what is predicted for whole jobs. Part 3 measures on a small model with random weights how far each way
of keeping weights is from bfloat16. Ends with status 1 where a prediction lies below what was counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from peft import LoraConfig
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks._live_memory import LiveMemory
from ex4d.generate.diffusion.memory import CPU, PROFILES, Encoder, Workload, network, predict
from ex4d.generate.diffusion.memory.predict import GIB, decoding, encoding, sampling

SIZES = ((49, 512, 512), (81, 832, 480), (81, 1280, 720))  # frames, width, height
I2V = {
    "_class_name": "WanTransformer3DModel",
    "in_channels": 36,
    "image_dim": 1280,
    "added_kv_proj_dim": 5120,
    "text_dim": 4096,
}
VACE = {
    "_class_name": "WanVACETransformer3DModel",
    "num_attention_heads": 12,
    "ffn_dim": 8960,
    "num_layers": 30,
    "vace_layers": list(range(0, 30, 2)),
    "text_dim": 4096,
}
RANK = 16  # of EX-4D's LoRA
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


def workload(model: dict[str, Any], frames: int, width: int, height: int, **more: Any) -> Workload:
    """A window for a released model: sizes of its other networks are those of the released ones."""
    with_geometry = model is I2V
    return Workload(
        frames=frames,
        width=width,
        height=height,
        transformer=network(model),
        vae=Encoder(126_892_531),
        vae_base=96,
        text_encoder=Encoder(5_680_910_336, 256_384 * 4096),
        image_encoder=Encoder(630_766_080, 1281 * 5120) if with_geometry else Encoder(),
        geometry_encoder=Encoder(23_109_632) if with_geometry else Encoder(),
        adapters=76_677_120 if with_geometry else 0,
        **more,
    )


def count_sampling(model: dict[str, Any], job: Workload) -> LiveMemory:
    """One pass of a transformer."""
    cut = {**model, "num_layers": 3} if model is I2V else model  # a block's memory is free when the next one runs
    kind: Any = WanTransformer3DModel if model is I2V else WanVACETransformer3DModel
    with torch.device("meta"):
        transformer = kind.from_config(cut)
        if job.adapters:
            transformer.add_adapter(LoraConfig(r=RANK, target_modules=LAYERS))
    for name, parameter in transformer.named_parameters():
        kept = not set(kind._keep_in_fp32_modules).isdisjoint(name.split("."))
        parameter.data = parameter.data.to(torch.float32 if kept else torch.bfloat16)
    batch, size = 2 if job.batched else 1, ((job.frames - 1) // 4 + 1, job.height // 8, job.width // 8)

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(batch, *shape, dtype=torch.bfloat16)

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        transformer.to_empty(device="cpu").eval()
        given = {
            "hidden_states": zeros(transformer.config.in_channels, *size),
            "encoder_hidden_states": zeros(512, 4096),
        }
        if model is I2V:
            given["encoder_hidden_states_image"] = zeros(257, 1280)
        else:
            given["control_hidden_states"] = zeros(96, *size)
        with LiveMemory([*transformer.parameters(), *transformer.buffers(), *given.values()]) as live:
            transformer(timestep=torch.full((batch,), 500.0), return_dict=False, **given)
    return live


def count_autoencoder(job: Workload, tiled: bool, *, encode: bool) -> LiveMemory:
    """The autoencoder on a window."""
    frames, dtype = job.frames, torch.bfloat16 if job.vae_bytes == 2 else torch.float32
    with torch.device("meta"):
        vae = AutoencoderKLWan()
    for parameter in vae.parameters():
        parameter.data = parameter.data.to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        vae.to_empty(device="cpu").eval()
        if tiled:
            vae.enable_tiling()
        video = torch.zeros(1, 3, frames, job.height, job.width)
        latents = torch.zeros(1, 16, (frames - 1) // 4 + 1, job.height // 8, job.width // 8, dtype=dtype)
        with LiveMemory([*vae.parameters(), latents]) as live:
            if encode:
                vae.encode((video + 0).to(dtype)).latent_dist.mean.float()
            else:
                vae.decode(latents, return_dict=False)[0].float()
    return live


def compare() -> bool:
    """Prints predicted and counted activations. Returns whether no prediction lies below."""
    print(f"{'activations of':44} {'counted':>9} {'predicted':>9}  ratio")
    good = True

    def row(name: str, live: LiveMemory, predicted: int) -> None:
        nonlocal good
        good &= predicted >= live.peak
        print(f"{name:44} {live.peak / GIB:9.2f} {predicted / GIB:9.2f}  {predicted / live.peak:5.2f}", flush=True)

    for frames, width, height in SIZES:
        size = f"{frames} x {width}x{height}"
        job = workload(I2V, frames, width, height)
        row(f"14B with LoRA, {size}", count_sampling(I2V, job), sampling(job))
        plain = replace(job, adapters=0)
        row(f"14B without LoRA, {size}", count_sampling(I2V, plain), sampling(plain))
        small = workload(VACE, frames, width, height)
        row(f"VACE 1.3B, {size}", count_sampling(VACE, small), sampling(small))
        for kind, size_of in (("bf16", 2), ("fp32", 4)):
            for profile in (PROFILES[0], PROFILES[-1]):
                tiled = profile.vae_tiling
                # Tile by tile it takes its time; the peak is that of the last tile, and of joining them.
                job = workload(I2V, 9 if tiled else frames, width, height, vae_bytes=size_of)
                name = f"{kind}{', tiled' if tiled else ''}, {job.frames} x {width}x{height}"
                row(f"encoding, {name}", count_autoencoder(job, tiled, encode=True), encoding(job, profile))
                row(f"decoding, {name}", count_autoencoder(job, tiled, encode=False), decoding(job, profile))
    batched = workload(I2V, *SIZES[0], batched=True)
    row("14B, both prompts at once, 49 x 512x512", count_sampling(I2V, batched), sampling(batched))
    return good


def jobs() -> None:
    """Prints predictions for whole jobs."""
    print("\nGiB of GPU / main memory, without the CUDA context")
    for title, model in (("14B + EX-4D", I2V), ("VACE 1.3B", VACE)):
        print(f"{title:12}" + "".join(f"{f'{w}x{h}x{f}':>18}" for f, w, h in SIZES))
        for profile in PROFILES:
            cells = []
            for frames, width, height in SIZES:
                got = predict(profile, workload(model, frames, width, height))
                cells.append(f"{got.gpu / GIB:8.1f} / {got.ram / GIB:5.1f}")
            print(f"{profile.name:12}" + "".join(f"{cell:>18}" for cell in cells))
        got = predict(CPU, workload(model, *SIZES[0], vae_bytes=4), on_gpu=False)
        print(f"{'cpu':12}{'':>8} / {got.ram / GIB:5.1f}")


def deviations() -> None:
    """Prints how far weights in smaller types are from bfloat16 on a small random model, in one step."""
    from benchmarks._weight_types import measured

    print("\nroot mean square of the difference in one step, relative, small random model")
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measured(Path(folder)).items():
            print(f"{name:44} {value:8.4f}")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    good = compare()
    jobs()
    deviations()
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
