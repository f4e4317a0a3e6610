# SPDX-License-Identifier: Apache-2.0
"""Reading safetensors files into numpy, the kinds of number that numpy lacks included (as float32, exactly)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize, safe_open

Array = NDArray[Any]

_KINDS: dict[str, type[np.generic]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class BadFolder(Exception):  # noqa: N818 - it says what is bad
    """The folder, or a file in it, cannot be used at all; the text says why."""


@dataclass(frozen=True, eq=False)
class TensorFile:
    """One safetensors file in memory."""

    metadata: Mapping[str, str]
    entries: Mapping[str, Mapping[str, Any]]  # name -> dtype (as safetensors names it), shape, data

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor. Raises KeyError where there is none of that name."""
        return tuple(self.entries[name]["shape"])

    def tensor(self, name: str) -> Array:
        """One tensor; bfloat16 and float8 come as float32. Raises KeyError, or ValueError for another kind."""
        entry = self.entries[name]
        kind, data = entry["dtype"], bytes(entry["data"])
        if kind == "BF16":  # the upper half of a float32
            flat: Array = (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
        elif kind == "F8_E4M3":
            flat = _float8_table()[np.frombuffer(data, np.uint8)]
        elif kind in _KINDS:
            flat = np.frombuffer(data, np.dtype(_KINDS[kind]).newbyteorder("<"))
        else:
            raise ValueError(f"{name} holds numbers of kind {kind}, which are not read here")
        return flat.reshape(entry["shape"])


def read_file(path: Path) -> TensorFile:
    """Reads a whole safetensors file. Raises BadFolder for one that is damaged or cannot be read."""
    try:
        with safe_open(path, framework="np") as opened:
            metadata = opened.metadata() or {}
        return TensorFile(metadata, dict(deserialize(path.read_bytes())))  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise BadFolder(f"{path} cannot be read as safetensors: {error}") from error


def _float8_table() -> Array:
    """Values of the 256 codes of float8_e4m3fn: 1 sign, 4 exponent (bias 7) and 3 mantissa bits, no infinities.

    Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.
    """
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    size = np.where(exponent == 0, mantissa / 8.0 * 2.0**-6, (1.0 + mantissa / 8.0) * 2.0 ** (exponent - 7.0))
    size[(code & 127) == 127] = np.nan
    return np.where(code & 128, -size, size).astype(np.float32)
