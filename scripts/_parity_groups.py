# SPDX-License-Identifier: Apache-2.0
"""Which reference files there are, by group, and what checks each.

A check is called with the book and the name of its file. It may read the tensors of any other file of its group; a
file without a check of its own (weights) is used up by those that do. Where nothing is built yet that would use a
file, its tensors come out as not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from _parity_book import Book
from _parity_mesh import check_dw_mesh, check_preprocess


@dataclass(frozen=True)
class Reference:
    """A file that a folder of reference numbers has."""

    file: str
    check: Callable[[Book, str], None] | None = None


GROUPS: dict[str, tuple[Reference, ...]] = {
    "mesh": (
        Reference("dw_mesh.safetensors", check_dw_mesh),
        Reference("preprocess.safetensors", check_preprocess),
    ),
    "generation": (
        Reference("scheduler.safetensors"),
        Reference("sampling_loop.safetensors"),
        Reference("wan_dit_ex4d.safetensors"),
        Reference("wan_vae.safetensors"),
        Reference("cam_vid_encoder.safetensors"),
        Reference("clip_preprocess.safetensors"),
        Reference("dit_base_weights.safetensors"),
        Reference("vae_weights.safetensors"),
        Reference("ex4d_tiny.safetensors"),
        Reference("ex4d_tiny.ckpt"),
        Reference("ex4d_ckpt_expected_keys.json"),
        Reference("keymap_dit.json"),
        Reference("keymap_lora.json"),
        Reference("keymap_vae.json"),
    ),
    "depth": (
        Reference("depthcrafter.safetensors"),
        Reference("depthcrafter_unet.safetensors"),
        Reference("video_depth_anything_goldens.safetensors"),
        Reference("video_depth_anything_weights.safetensors"),
        Reference("video_depth_anything_meta.json"),
        Reference("video_depth_anything_keymap_dinov2.json"),
    ),
}
