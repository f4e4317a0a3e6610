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


def _generation(name: str) -> Callable[[Book, str], None]:
    """A check of `_parity_generation`, which is imported with its libraries when it is first called."""

    def check(book: Book, file: str) -> None:
        import _parity_generation

        getattr(_parity_generation, name)(book, file)

    return check


def _depthcrafter(name: str) -> Callable[[Book, str], None]:
    """A check of `_parity_depthcrafter`, likewise."""

    def check(book: Book, file: str) -> None:
        import _parity_depthcrafter

        getattr(_parity_depthcrafter, name)(book, file)

    return check


def _vda(name: str) -> Callable[[Book, str], None]:
    """A check of `_parity_vda`, likewise."""

    def check(book: Book, file: str) -> None:
        import _parity_vda

        getattr(_parity_vda, name)(book, file)

    return check


GROUPS: dict[str, tuple[Reference, ...]] = {
    "mesh": (
        Reference("dw_mesh.safetensors", check_dw_mesh),
        Reference("preprocess.safetensors", check_preprocess),
    ),
    "generation": (
        Reference("scheduler.safetensors", _generation("check_scheduler")),
        Reference("sampling_loop.safetensors", _generation("check_loop")),
        Reference("wan_dit_ex4d.safetensors", _generation("check_transformer")),
        Reference("wan_vae.safetensors", _generation("check_vae")),
        Reference("cam_vid_encoder.safetensors", _generation("check_encoder")),
        Reference("clip_preprocess.safetensors", _generation("check_clip")),
        Reference("dit_base_weights.safetensors"),
        Reference("vae_weights.safetensors"),
        Reference("ex4d_tiny.safetensors"),
        Reference("ex4d_tiny.ckpt", _generation("check_checkpoint")),
        Reference("ex4d_ckpt_expected_keys.json", _generation("check_expected_keys")),
        Reference("keymap_dit.json", _generation("check_transformer_names")),
        Reference("keymap_lora.json", _generation("check_lora_names")),
        Reference("keymap_vae.json", _generation("check_vae_names")),
    ),
    "depth": (
        Reference("depthcrafter.safetensors", _depthcrafter("check_windows")),
        Reference("depthcrafter_unet.safetensors", _depthcrafter("check_denoiser")),
        Reference("video_depth_anything_goldens.safetensors", _vda("check_numbers")),
        Reference("video_depth_anything_weights.safetensors"),
        Reference("video_depth_anything_meta.json", _vda("check_facts")),
        Reference("video_depth_anything_keymap_dinov2.json", _vda("check_names")),
    ),
}
