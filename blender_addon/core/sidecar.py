# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON side-cars, and the same values in a form that Blender's custom properties take."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared_protocol.errors import NOT_FOUND, Ex4dError
from shared_protocol.messages import Render

_INT32 = 2**31


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Ex4dError: NOT_FOUND when the file is not there or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise Ex4dError(NOT_FOUND, f"'{path}' cannot be read: {e}.", "Run the step again.") from e
    if not isinstance(value, dict):
        raise Ex4dError(NOT_FOUND, f"'{path}' does not hold what it should.", "Run the step again.")
    return value


def as_property(value: Any) -> Any:
    """A JSON value as a custom property: what those cannot hold becomes text.

    They know 32-bit integers, floats, text, booleans, groups, and arrays of one kind of number.
    """
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if -_INT32 <= value < _INT32 else str(value)
    if isinstance(value, dict):
        return {str(k)[:63]: as_property(v) for k, v in value.items() if v is not None}
    if isinstance(value, list) and value and all(_is_number(v) for v in value):
        return value if all(isinstance(v, int) for v in value) else [float(v) for v in value]
    return json.dumps(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and -_INT32 <= value < _INT32
    )


def shot_hash(render: Render) -> str:
    """Names a shot by everything that decides how it looks: the scene, the picture's size and rate, each camera."""
    return hashlib.sha256(json.dumps(asdict(render), sort_keys=True).encode()).hexdigest()[:32]


def coverage(folder: Path) -> tuple[float, float]:
    """Least and mean coverage of a rendered shot's own frames (those of its lead-in stand apart), 0..1.

    Raises:
        Ex4dError: NOT_FOUND.
    """
    values = read_json(folder / "coverage.json").get("coverage")
    if not isinstance(values, list) or not values:
        raise Ex4dError(NOT_FOUND, f"'{folder / 'coverage.json'}' does not hold what it should.", "Render again.")
    return min(values), sum(values) / len(values)


def lead_in(folder: Path) -> int:
    """How many frames of a rendered shot go before its own; 0 where its folder does not tell.

    Raises:
        Ex4dError: NOT_FOUND for a file that holds something else.
    """
    if not (folder / "coverage.json").is_file():
        return 0
    count = read_json(folder / "coverage.json").get("lead_in", 0)
    if not isinstance(count, int) or count < 0:
        raise Ex4dError(NOT_FOUND, f"'{folder / 'coverage.json'}' does not hold what it should.", "Render again.")
    return count
