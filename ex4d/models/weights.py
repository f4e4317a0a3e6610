# SPDX-License-Identifier: Apache-2.0
"""Weights from safetensors files into a module that was built without any, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# What a tensor of a file is called in the module. Several names: its first axis is divided among them in equal parts.
# None: the module has no use for it. A name that is not known is given back as it is, so that it is told as it stands.
Rename = Callable[[str], "str | Sequence[str] | None"]

_SHOWN = 4  # names in a message; the rest is counted


@dataclass(frozen=True)
class Header:
    """What a file says of a tensor."""

    file: Path
    shape: tuple[int, ...]
    dtype: str  # as safetensors writes it: F32, BF16, F8_E4M3, ...

    @property
    def is_floating_point(self) -> bool:
        """Whether its numbers have fractions, be it few: not integers, truth values, or what is packed into these."""
        return self.dtype.startswith(("F", "BF"))


class WeightFiles(Mapping[str, Header]):
    """Tensors of one or several safetensors files by name; none is read before it is asked for. Needs no torch."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Reads the headers, and sees that the files are whole.

        Raises:
            Ex4dError: NOT_FOUND for a file that is not there; BAD_INPUT for one that is broken or cut off, and for a
                tensor that two files have.
        """
        self.files = tuple(files)
        self._headers: dict[str, Header] = {}
        for file in self.files:
            for name, header in _headers(file).items():
                if name in self._headers:
                    text = f"The tensor '{name}' is in {file} and in {self._headers[name].file}."
                    raise Ex4dError(BAD_INPUT, text, "Keep the files of one model alone in its folder.")
                self._headers[name] = header

    def __getitem__(self, name: str) -> Header:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __str__(self) -> str:
        """The files, for a message."""
        if len(self.files) == 1:
            return str(self.files[0])
        return f"{self.files[0].parent} ({len(self.files)} files)" if self.files else "nothing"

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """The tensors of these names, file by file, on the CPU as they are stored.

        Their memory is the file's own, mapped: it counts as cache, which the system takes back when it needs it.

        Raises:
            Ex4dError: BAD_INPUT when a file became unreadable since.
        """
        from safetensors import SafetensorError, safe_open

        for file in self.files:
            here = [name for name in names if self[name].file == file]
            if not here:
                continue
            try:
                with safe_open(file, framework="pt") as tensors:
                    for name in here:
                        yield name, tensors.get_tensor(name)
            except (OSError, SafetensorError) as error:
                raise _broken(file, error) from error


def load_into(
    module: nn.Module,
    weights: WeightFiles,
    rename: Rename,
    *,
    dtype: torch.dtype,
    keep_float32: Collection[str] = (),
    storage: Callable[[str], torch.dtype | None] | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fills a module that has no weights yet (`accelerate.init_empty_weights`), and leaves it in eval mode.

    Everything is checked before anything is read. At no time is there more in memory than what the module has so far
    and one tensor. On the CPU, a tensor whose type is not changed stays mapped to its file.

    Args:
        module: on the meta device. Tied parameters (one object under several names) need one tensor among them.
        weights: of the files.
        rename: from the files' names to the module's, see `Rename`.
        dtype: of all floating-point tensors but those below.
        keep_float32: components of dotted names ("time_embedder", "norm2"); what has one is float32, whatever else is
            said. diffusers' models declare theirs as `_keep_in_fp32_modules`.
        storage: gives a smaller type to keep a tensor of this name of the module in (float8), or None for `dtype`.
        device: where the tensors go.
        progress: called with (tensors that are there, all of them); it may raise to stop the work.

    Raises:
        Ex4dError: BAD_INPUT, one for all tensors that are missing, that the module does not have, or that have another
            shape or integers for fractions.
    """
    import torch
    from torch import nn

    from ex4d.models.building import ALONE

    wanted = module.state_dict(keep_vars=True)
    plan = _plan(wanted, weights, rename)
    together: dict[int, list[str]] = {}
    for name, tensor in wanted.items():
        together.setdefault(id(tensor), []).append(name)

    def typed(name: str, tensor: Tensor) -> torch.dtype:
        if not tensor.is_floating_point():
            return tensor.dtype
        if not set(keep_float32).isdisjoint(name.split(".")):
            return torch.float32
        return (storage and storage(name)) or dtype

    for done, (source, tensor) in enumerate(weights.read(plan)):
        if progress is not None:
            progress(done, len(plan))
        targets = plan[source]
        parts = tensor.chunk(len(targets)) if len(targets) > 1 else (tensor,)
        for name, part in zip(targets, parts, strict=True):
            value = part.reshape(wanted[name].shape).to(device=device, dtype=typed(name, part))
            parameter = nn.Parameter(value, requires_grad=False) if isinstance(wanted[name], nn.Parameter) else value
            with ALONE:
                for alias in together[id(wanted[name])]:
                    owner, _, leaf = alias.rpartition(".")
                    setattr(module.get_submodule(owner), leaf, parameter)
    for name, buffer in list(module.named_buffers()):  # those that no file has: they were computed by the constructor
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, buffer.to(device))
    module.eval()


def _plan(wanted: Mapping[str, Tensor], weights: WeightFiles, rename: Rename) -> dict[str, Sequence[str]]:
    """Which names of the module each tensor of the files fills."""
    plan: dict[str, Sequence[str]] = {}
    filled: dict[int, str] = {}
    extra, misshapen, unlike = [], [], []
    for source, header in weights.items():
        targets = rename(source)
        targets = (targets,) if isinstance(targets, str) else targets
        if targets is None:
            continue
        if unknown := [name for name in targets if name not in wanted]:
            extra.append(source if source in unknown else f"{source} ({unknown[0]})")
            continue
        if wrong := [name for name in targets if not _fits(header.shape, tuple(wanted[name].shape), len(targets))]:
            misshapen.append(f"{source} {_size(header.shape)} instead of {_size(wanted[wrong[0]].shape)}")
        if any(wanted[name].is_floating_point() for name in targets) and not header.is_floating_point:
            unlike.append(f"{source} ({header.dtype})")  # packed by a program that keeps what unpacks it elsewhere
        tied = {filled.get(id(wanted[name])) for name in targets} - {None}
        if tied & set(targets):
            extra.append(f"{source} ({targets[0]} is there already)")
        elif not tied:
            plan[source] = targets
        filled |= {id(wanted[name]): name for name in targets}
    empty: dict[int, str] = {}  # by the first name of tied ones
    for name, tensor in wanted.items():
        if id(tensor) not in filled:
            empty.setdefault(id(tensor), name)
    missing = list(empty.values())
    found = {"missing": missing, "not known": extra, "of another shape": misshapen, "of another kind": unlike}
    faults = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in found.items()
        if names
    ]
    if faults:
        text = f"The tensors of {weights} do not fit the model: {'; '.join(faults)}."
        raise Ex4dError(BAD_INPUT, text, "Take the files of this very model, or download them again.")
    return plan


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...], parts: int) -> bool:
    """Whether a tensor, or each part of it, has the shape; leading axes of length 1 do not matter."""
    if parts > 1:
        return shape[1:] == wanted[1:] and bool(wanted) and shape[:1] == (wanted[0] * parts,)
    axes = len(shape) - len(wanted)
    return shape == wanted or (axes > 0 and shape == (1,) * axes + wanted)


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _headers(file: Path) -> dict[str, Header]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}
            return {name: Header(file, tuple(part.get_shape()), str(part.get_dtype())) for name, part in slices.items()}
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {file}.", "Download the model again.") from error
    except (OSError, SafetensorError) as error:
        raise _broken(file, error) from error


def _broken(file: Path, error: Exception) -> Ex4dError:
    size = file.stat().st_size if file.is_file() else 0
    text = f"{file} ({size} bytes) is cut off or is no safetensors file: {str(error).rstrip('.')}."
    return Ex4dError(BAD_INPUT, text, "Delete it and download it again.")
