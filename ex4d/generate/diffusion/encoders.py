# SPDX-License-Identifier: Apache-2.0
"""What Wan's transformers are told beside latents: the prompts, and how a picture looks to CLIP."""

from __future__ import annotations

import gc
import html
import re
from collections.abc import Callable, Sequence
from textwrap import shorten

import ftfy
import torch
from diffusers.hooks import apply_group_offloading
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from ex4d.generate.door import Progress, nobody
from ex4d.models.empty import empty_network
from ex4d.models.repository import Part, Repository
from ex4d.models.weights import load_into
from shared_protocol.errors import BAD_INPUT, Ex4dError

TOKENS = 512  # that the transformer reads
_SAID = 60  # characters of what is left out of a prompt
_SLACK = 1.2  # of a device's free memory over the size of the weights, for what is computed


def clean_prompt(text: str) -> str:
    """What is encoded of a prompt: broken Unicode repaired, HTML entities resolved, white space made single spaces."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def encode_prompts(
    repository: Repository,
    texts: Sequence[str],
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress = nobody,
    note: Callable[[str], None] = nobody,
    stream: bool | None = None,
) -> list[Tensor]:
    """Loads the prompt encoder, runs it, and frees it.

    Args:
        repository: the model.
        texts: the prompts.
        device: where it is run, and where the results are.
        dtype: of the encoder and of the results.
        progress: called with (phase, done, total); it may raise to stop the work.
        note: called with a sentence for a prompt that is too long to be read to its end.
        stream: keep the encoder in main memory and bring each layer to the device when it is needed, which gives the
            same numbers. None: where the device has no room for the whole of it.

    Returns:
        For each prompt [512, width]; rows beyond its tokens are zero.

    Raises:
        Ex4dError: BAD_INPUT when the files do not fit, or the tokenizer is broken.
    """
    encoder = PromptEncoder(repository, device, dtype, progress, stream)
    try:
        results = []
        for number, text in enumerate(texts):
            progress("Reading the prompts", number, len(texts))
            results.append(encoder.encode(text, note))
        return results
    finally:
        encoder.release()


class PromptEncoder:
    """UMT5, loaded."""

    def __init__(
        self,
        repository: Repository,
        device: torch.device,
        dtype: torch.dtype,
        progress: Progress = nobody,
        stream: bool | None = None,
    ) -> None:
        """Loads it. See `encode_prompts`."""
        part = repository.part("text_encoder")
        self.device, self._tokenizer = device, _read_tokenizer(repository)
        model = empty_network("text_encoder", part.config)
        self.streams = not _fits(model, device, dtype) if stream is None else stream
        place = torch.device("cpu") if self.streams else device
        _load(model, part, place, dtype, lambda done, total: progress("Loading the prompt encoder", done, total))
        if self.streams:
            apply_group_offloading(model, onload_device=device, offload_type="leaf_level")
        self._model: UMT5EncoderModel | None = model

    @torch.no_grad()
    def encode(self, text: str, note: Callable[[str], None] = nobody) -> Tensor:
        """[512, width] of a prompt. Padding is masked out, as in the public code, and zero in the result."""
        if self._model is None:
            raise RuntimeError("the prompt encoder was released")
        tokens = self._tokenizer.encode(clean_prompt(text))
        if tokens.overflowing:
            kept = tokens.offsets[-2][1]  # the last token ends the text
            left = shorten(clean_prompt(text)[kept:], _SAID, placeholder=" …")
            note(f"A prompt has more than the {TOKENS} tokens that the model reads; left out: '{left}'.")
        ids = torch.tensor([tokens.ids], device=self.device)
        mask = torch.tensor([tokens.attention_mask], device=self.device)
        states: Tensor = self._model(ids, mask).last_hidden_state[0]
        states[int(mask.sum()) :] = 0
        return states

    def release(self) -> None:
        """Frees its memory."""
        self._model = None
        _free(self.device)


class ImageEncoder:
    """The part of CLIP for pictures, loaded."""

    def __init__(
        self,
        repository: Repository,
        device: torch.device,
        dtype: torch.dtype,
        progress: Progress = nobody,
        stream: bool = False,
    ) -> None:
        """Loads it; with `stream`, into main memory, from where each layer comes to the device when it is needed.

        Raises:
            Ex4dError: BAD_INPUT when the files do not fit.
        """
        part = repository.part("image_encoder")
        model = empty_network("image_encoder", part.config)
        core = getattr(model, "vision_model", model)  # one level more in some versions of transformers
        place = torch.device("cpu") if stream else device
        _load(core, part, place, dtype, lambda done, total: progress("Loading the image encoder", done, total))
        if stream:
            apply_group_offloading(model, onload_device=device, offload_type="leaf_level")
        self.device, self._dtype, self._model = device, dtype, model

    @torch.no_grad()
    def features(self, pixel_values: Tensor) -> Tensor:
        """The hidden states before the last block.

        Args:
            pixel_values: [1, 3, 224, 224], normalised as CLIP's pictures are.

        Returns:
            [1, 257, 1280]: a token for the picture, then 16 x 16 patches.
        """
        if self._model is None:
            raise RuntimeError("the image encoder was released")
        states = self._model(pixel_values.to(self.device, self._dtype), output_hidden_states=True).hidden_states
        features: Tensor = states[-2]
        return features

    def release(self) -> None:
        """Frees its memory."""
        self._model = None
        _free(self.device)


def _load(
    model: nn.Module, part: Part, device: torch.device, dtype: torch.dtype, progress: Callable[[int, int], None]
) -> None:
    load_into(model, part.weights, part.rename, dtype=dtype, device=device, progress=progress)


def _read_tokenizer(repository: Repository) -> Tokenizer:
    """The tokenizer as its file says. transformers 5 builds a T5 tokenizer anew from the vocabulary alone: without the
    file's normaliser and without falling back to bytes, so rare characters would all become one unknown token."""
    try:
        tokenizer = Tokenizer.from_file(str(repository.tokenizer))
    except Exception as error:  # the library has no class of its own for what is wrong with a file
        text = f"{repository.tokenizer} is no tokenizer: {error}."
        raise Ex4dError(BAD_INPUT, text, "Delete it and download it again.") from error
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS, pad_id=tokenizer.token_to_id("<pad>") or 0, pad_token="<pad>")  # noqa: S106
    return tokenizer


def _fits(model: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cuda":
        return True
    size = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    free, _ = torch.cuda.mem_get_info(device)
    return free > size * _SLACK


def _free(device: torch.device) -> None:
    gc.collect()  # hooks and modules hold each other
    if device.type == "cuda":
        torch.cuda.empty_cache()
