# SPDX-License-Identifier: GPL-3.0-or-later
"""What is switched on, in which order."""

from __future__ import annotations

from . import (
    glimpse,
    handlers,
    log,
    operators_backend,
    operators_camera,
    operators_depth,
    operators_scene,
    operators_shot,
    panel,
    preferences,
    properties,
    pump,
)

# The pump comes last: when its thread starts, everything that its events touch is there.
_PARTS = (
    log,
    preferences,
    properties,
    operators_backend,
    operators_camera,
    operators_depth,
    operators_scene,
    operators_shot,
    panel,
    glimpse,
    handlers,
    pump,
)


def register() -> None:
    """Switch the parts on; when one fails, those before it are switched off again."""
    done = []
    try:
        for part in _PARTS:
            part.register()
            done.append(part)
    except BaseException:
        for part in reversed(done):
            part.unregister()
        raise


def unregister() -> None:
    """Switch the parts off, the last first."""
    for part in reversed(_PARTS):
        part.unregister()
