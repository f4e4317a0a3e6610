# SPDX-License-Identifier: Apache-2.0
"""A depth network of transformers from its folder: all of it from there, and nothing made up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForDepthEstimation
from transformers.utils import logging

from ex4d.depth.hub.source import weight_files
from ex4d.generate.diffusion.memory import is_out_of_memory
from ex4d.models.building import building
from ex4d.models.weights import WeightFiles
from shared_protocol.errors import BAD_INPUT, Ex4dError

_SHOWN = 4  # names in a message
# What may be missing. The mask token stands for parts of a picture that are left out, which is done in training alone.
# The first fusion has nothing to add to: Intel's DPT models were published without its weights for that.
_UNUSED = re.compile(r"\.mask_token$|(^|\.)fusion_stage\.layers\.0\.residual_layer1\.")
_NUMBER = re.compile(r"\b\d+\b")


def load_network(folder: Path, dtype: torch.dtype) -> Any:
    """The network, on the CPU.

    Args:
        folder: of config.json and safetensors files.
        dtype: of its weights.

    Raises:
        Ex4dError: BAD_INPUT for files that are cut off, a config that makes no network, layers that it does not have,
            and tensors that are missing or do not fit: transformers would draw them at random.
    """
    WeightFiles(weight_files(folder))  # whole?
    try:
        with quiet(), building():
            network, told = AutoModelForDepthEstimation.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # the library has a class for each config, and fails in many ways
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        text = f"No network can be made of {folder}: {reason}."
        raise Ex4dError(BAD_INPUT, text, "Download the model again.") from error
    missing = sorted(name for name in told["missing_keys"] if not _UNUSED.search(name))
    # Leftovers of training do no harm; more layers than the config has would be another network.
    kinds = {_NUMBER.sub("#", name) for name in network.state_dict()}
    extra = sorted(name for name in told["unexpected_keys"] if _NUMBER.sub("#", name) in kinds)
    unlike = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in told["mismatched_keys"])
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", missing), ("too many", extra), ("of another shape", unlike))
        if names
    ]
    if faults:
        text = f"The tensors in {folder} do not fit its config.json: {'; '.join(faults)}."
        raise Ex4dError(BAD_INPUT, text, "Take the files of one model, or download them again.")
    return network


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's own bars and remarks: what matters of them is raised here."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
