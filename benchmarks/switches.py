# SPDX-License-Identifier: Apache-2.0
"""What each switch of speed does to the result, and to the time of a step, beside the exact run.

    python benchmarks/switches.py [--steps 25] [--cfg 5] [--backend inductor]

runs a tiny model with random weights on the CPU. The deviations are those of that model: they show that a switch takes
effect and how much of the way it leaves out, not how a picture suffers. `compare_switches` takes any model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from ex4d.generate.diffusion.guidance import Prompts, guided
from ex4d.generate.diffusion.schedule import Schedule
from ex4d.generate.diffusion.speed.apply import apply_speed, begin_window, remove_speed
from ex4d.generate.diffusion.speed.loras import fuse_loras
from ex4d.generate.diffusion.speed.settings import Speed
from ex4d.generate.wan.model import added_to_patches

SHIFT = 5.0

SWITCHES: Mapping[str, Speed] = MappingProxyType(
    {
        "batched_cfg": Speed(batched_cfg=True),
        "attention auto": Speed(attention="auto"),
        "attention math": Speed(attention="math"),
        "compile": Speed(compile=True),
        "cache first-block": Speed(cache="first-block"),
        "cache taylor": Speed(cache="taylor"),
        "fast": Speed(compile=True, attention="auto", cache="auto"),
        "fuse_loras": Speed(fuse_loras=True),  # last: what it changes stays
    }
)


# velocity(latents, timestep, cfg, batched), as `ex4d.generate.diffusion.model.Conditioned` has it.
Velocity = Callable[[Tensor, float, float, bool], Tensor]


@dataclass(frozen=True)
class Row:
    """One switch beside the exact run."""

    switch: str
    deviation: float  # root mean square of the difference of final latents, over that of the exact ones
    largest: float  # difference of any latent
    computed: float  # share of the blocks' passes that was computed; where blocks are compiled, no count is taken: nan
    seconds: float  # per step, without the first run
    effect: Mapping[str, Any]  # of `apply_speed`


def compare_switches(
    transformer: Any,
    velocity: Velocity,
    latents: Tensor,
    device: torch.device,
    *,
    steps: int,
    cfg: float,
    switches: Mapping[str, Speed] = SWITCHES,
    backend: str = "inductor",
) -> list[Row]:
    """The exact run and then each switch by itself, with the same noise.

    Args:
        transformer: placed, with adapters; fused at the end where that is among the switches.
        velocity: of the transformer in a window, with guidance.
        latents: [1, 16, t, h, w] noise on the device.
        device: where it works.
        steps: of the loop; caches need more than 8.
        cfg: scale of guidance.
        switches: names and switches.
        backend: of `torch.compile`.

    Returns:
        A row for "exact" and one for each switch.
    """
    rows: list[Row] = []
    exact: Tensor | None = None
    for name, speed in ({"exact": Speed()} | dict(switches)).items():
        effect = apply_speed(transformer, speed, steps, device, backend=backend)
        if speed.fuse_loras and (reason := fuse_loras(transformer)):
            effect["notes"].append(f"Not fused: {reason}.")

        def run(batched: bool = speed.batched_cfg) -> Tensor:
            begin_window(transformer)
            schedule, moved = Schedule(steps, SHIFT), latents
            for step in range(steps):
                moved = schedule.advance(step, moved, velocity(moved, schedule.timestep(step), cfg, batched))
            return moved

        with counted_blocks(transformer, off=effect["compile"]) as count:
            result = run()
        passes = len(transformer.blocks) * steps * (1 if speed.batched_cfg or cfg == 1 else 2)
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        seconds = (time.perf_counter() - start) / steps
        exact = result if exact is None else exact
        difference = (result - exact).double()
        rows.append(
            Row(
                name,
                float(difference.square().mean().sqrt() / exact.double().square().mean().sqrt()),
                float(difference.abs().max()),
                float("nan") if effect["compile"] else count[0] / passes,
                seconds,
                effect,
            )
        )
        remove_speed(transformer)
    return rows


def wan_velocity(transformer: Any, device: torch.device, latents: Tensor, seed: int = 0) -> Velocity:
    """A window of random numbers for Wan2.1-I2V with geometry tokens, for `compare_switches`."""
    draw = torch.Generator().manual_seed(seed)
    config, dtype = transformer.config, transformer.dtype
    _, _, t, h, w = latents.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).to(device, dtype)

    image = normal(1, config.in_channels - 16, t, h, w)
    tokens = 0.1 * normal(1, config.num_attention_heads * config.attention_head_dim, t, h // 2, w // 2)
    features = normal(1, 257, config.image_dim)
    prompts = Prompts(normal(1, 512, config.text_dim), normal(1, 512, config.text_dim))

    @torch.no_grad()
    def velocity(latents: Tensor, timestep: float, cfg: float, batched: bool) -> Tensor:
        def predict(which: str) -> Tensor:
            text = prompts.of(which)
            with transformer.cache_context(which), added_to_patches(transformer.patch_embedding, tokens):
                answer: Tensor = transformer(
                    hidden_states=torch.cat([latents.to(dtype), image], dim=1).expand(len(text), -1, -1, -1, -1),
                    timestep=torch.full((len(text),), timestep, device=device),
                    encoder_hidden_states=text,
                    encoder_hidden_states_image=features.expand(len(text), -1, -1),
                    return_dict=False,
                )[0]
            return answer.float()

        return guided(predict, cfg, batched)

    return velocity


def table(rows: list[Row]) -> str:
    """Markdown."""
    exact = rows[0].seconds
    lines = [
        "| switch | deviation (relative RMS) | largest | blocks computed | time of a step | took effect |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        computed = "" if row.computed != row.computed else f"{row.computed:.0%}"
        compiled = "compiled" if row.effect["compile"] else ""
        effect = ", ".join(filter(None, [row.effect["attention"], row.effect["cache"], compiled, *row.effect["notes"]]))
        cells = [
            row.switch,
            f"{row.deviation:.2g}",
            f"{row.largest:.2g}",
            computed,
            f"{row.seconds / exact:.2f}",
            effect,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@contextmanager
def counted_blocks(transformer: Any, *, off: bool) -> Iterator[list[int]]:
    """Counts blocks whose inside is run. Not with compiled blocks: the counting would be compiled with them."""
    count = [0]

    def add(_module: Any, _inputs: Any) -> None:
        count[0] += 1

    handles = [] if off else [block.attn1.register_forward_pre_hook(add) for block in transformer.blocks]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _tiny(folder: Path) -> Any:
    from diffusers import WanTransformer3DModel

    from ex4d.generate.wan.adapter import add_adapter, read_adapter
    from scripts._tiny_models import write_adapter, write_wan

    transformer = WanTransformer3DModel.from_pretrained(write_wan(folder) / "transformer").eval()
    add_adapter(transformer, read_adapter(write_adapter(folder / "ex4d.safetensors"), transformer), 1.0)
    return transformer


def main() -> int:
    """What the command runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--cfg", type=float, default=5.0)
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default: %(default)s)")
    arguments = parser.parse_args()
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        transformer = _tiny(Path(folder))
        latents = torch.randn(1, 16, 5, 24, 24, generator=torch.Generator().manual_seed(0))
        rows = compare_switches(
            transformer,
            wan_velocity(transformer, device, latents),
            latents,
            device,
            steps=arguments.steps,
            cfg=arguments.cfg,
            backend=arguments.backend,
        )
    print(
        f"{arguments.steps} steps, cfg {arguments.cfg:g}, {len(transformer.blocks)} blocks; torch {torch.__version__}\n"
    )
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
