# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are pickles (.ckpt, .pth, .pt) become safetensors, once.

A pickle can run code while it is read. Only torch's reader for plain tensors is used, from the version on in which that
is without known holes; what holds more than tensors is refused.
"""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ex4d.files import replacing
from shared_protocol.errors import BAD_INPUT, DISK, NOT_FOUND, UNAVAILABLE, Ex4dError

if TYPE_CHECKING:
    from torch import Tensor

_TORCH = (2, 10)  # weights_only of earlier ones could be made to run code (CVE-2025-32434, CVE-2026-24747)
_WRAPPERS = ("state_dict", "module", "model", "model_state_dict")  # under which trainers put the weights
_NESTED = 4  # wrappers within wrappers
# What torch's reader raises for a file that is cut off, or of another format.
_UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError)
_ROOM = 64 << 20  # bytes that the disk keeps free


def convert(
    file: Path, output: Path | None = None, progress: Callable[[str, int, int], None] = lambda *_: None
) -> Path:
    """Writes the tensors of a checkpoint as safetensors, under the names that they have.

    The checkpoint is mapped where its format allows, so that memory for one tensor is enough.

    Args:
        file: what `torch.save` wrote: names and tensors, or these below a key like `state_dict`.
        output: file to write, in one step at the end; beside `file`, with the suffix .safetensors, where left out.
        progress: called with (phase, done, total).

    Returns:
        The file that was written.

    Raises:
        Ex4dError: NOT_FOUND for no file, BAD_INPUT when it is broken or holds more than tensors, DISK when there is no
            room, UNAVAILABLE when torch is missing or too old.
    """
    output = output or converted_path(file)
    if output.suffix != ".safetensors":
        raise Ex4dError(BAD_INPUT, f"{output} does not end in .safetensors.", "Weights are written in that format.")
    if file.suffix == ".safetensors":
        raise Ex4dError(BAD_INPUT, f"{file} is a safetensors file already.", "It can be used as it is.")
    progress(f"Reading {file.name}", 0, 1)
    tensors = _plain(_read(file), file)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    _check_room(output, size)
    progress(f"Writing {output.name}", 0, 1)
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(output) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            raise Ex4dError(DISK, f"{output} could not be written: {error}.", "Choose another place.") from error
    progress(f"Writing {output.name}", 1, 1)
    return output


def converted_path(file: Path) -> Path:
    """Where a checkpoint's safetensors file lies: beside it, under the same name."""
    return file.with_suffix(".safetensors")


def _read(file: Path) -> object:
    try:
        import torch
    except ModuleNotFoundError as error:
        text = f"{file.name} cannot be read: PyTorch is not installed."
        raise Ex4dError(UNAVAILABLE, text, "Install it: pip install 'ex4d-blender[wan]'.") from error
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < _TORCH:
        text = f"{file.name} is a pickle, and PyTorch {torch.__version__} does not read these safely."
        raise Ex4dError(UNAVAILABLE, text, f"Install PyTorch {_TORCH[0]}.{_TORCH[1]} or later.")
    if not file.is_file():
        raise Ex4dError(NOT_FOUND, f"There is no file {file}.", "Give a .ckpt, .pth or .pt file.")
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            text = f"{file} holds more than tensors ('{found[1]}') and is not opened: reading it could run code."
            hint = "Take the weights from their publisher, as safetensors if there are."
            raise Ex4dError(BAD_INPUT, text, hint) from error
        text = f"{file} ({file.stat().st_size} bytes) is cut off or is no checkpoint."
        raise Ex4dError(BAD_INPUT, text, "Delete it and download it again.") from error


def _is_zip(file: Path) -> bool:
    """Whether it has today's format of torch.save; the one before cannot be mapped."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"


def _plain(value: object, file: Path) -> dict[str, Tensor]:
    """The tensors by name, contiguous, none sharing memory with another."""
    import torch

    for _ in range(_NESTED):
        if not isinstance(value, Mapping) or any(isinstance(entry, torch.Tensor) for entry in value.values()):
            break
        inner = [value[key] for key in _WRAPPERS if isinstance(value.get(key), Mapping)]
        if len(inner) != 1:
            break
        value = inner[0]
    entries: dict[Any, Any] = dict(value) if isinstance(value, Mapping) else {}
    tensors = {name: entry.detach() for name, entry in entries.items() if isinstance(entry, torch.Tensor)}
    others = [str(name) for name, entry in entries.items() if isinstance(entry, Mapping | list | tuple)]
    strange = [str(name) for name, tensor in tensors.items() if not _is_plain(tensor)]
    if not tensors or others or strange or not all(isinstance(name, str) for name in tensors):
        held = ", ".join((strange or others or list(map(str, entries)))[:4]) or type(value).__name__
        text = f"{file} is no flat table of named tensors: it has {held}."
        raise Ex4dError(BAD_INPUT, text, "Give a checkpoint with the weights alone.")
    seen: set[int] = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        if storage in seen or not tensor.is_contiguous() or tensor.is_neg():
            tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(storage)
    return tensors


def _is_plain(tensor: Tensor) -> bool:
    import torch

    return tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta or tensor.is_complex())


def _check_room(output: Path, size: int) -> None:
    folder = next(parent for parent in output.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < size + _ROOM:
        text = f"{output} takes {size / 1e9:.2f} GB; {folder} has {free / 1e9:.2f} GB free."
        raise Ex4dError(DISK, text, "Free some space, or choose another place with --output.")
