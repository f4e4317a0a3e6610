# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences of the extension: which backend, and where."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import IntProperty, StringProperty

from shared_protocol.errors import BAD_INPUT, Ex4dError

from . import places

_PROGRAM = "ex4d-backend"


class EX4D_AddonPreferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    backend_program: StringProperty(
        name="Backend program",
        description="The ex4d-backend program. Empty: the one on the PATH",
        subtype="FILE_PATH",
    )
    state_folder: StringProperty(
        name="Backend's folder",
        description="Where the backend keeps its jobs and files, on a local disk. Empty: in the extension's own folder",
        subtype="DIR_PATH",
    )
    connection_file: StringProperty(
        name="Connection file",
        description="File through which a running backend is found. Empty: the one in the backend's folder",
        subtype="FILE_PATH",
    )
    idle_minutes: IntProperty(
        name="End when idle",
        description="Minutes without a job and without Blender after which the backend ends by itself",
        default=30,
        min=1,
        soft_max=240,
    )

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        for name in ("backend_program", "state_folder", "connection_file", "idle_minutes"):
            layout.prop(self, name)
        if not self.backend_program and shutil.which(_PROGRAM) is None:
            layout.label(text=f"'{_PROGRAM}' is not on the PATH: choose the program above.", icon="ERROR")


@dataclass(frozen=True)
class Settings:
    """The preferences, resolved."""

    program: str  # "" = not found
    state: Path
    connection_file: Path
    idle_s: int

    def command(self) -> tuple[str, ...]:
        """Program and arguments that start the backend.

        Raises:
            Ex4dError: BAD_INPUT when no program is set.
        """
        if not self.program:
            raise Ex4dError(
                BAD_INPUT, "No backend program is set.", "Set 'Backend program' in the preferences of the extension."
            )
        return (
            self.program,
            "serve",
            "--state",
            str(self.state),
            "--connection-file",
            str(self.connection_file),
            "--exit-when-idle",
            str(self.idle_s),
        )


def settings() -> Settings:
    """The preferences as they stand; defaults where the extension was registered by hand."""
    addon = bpy.context.preferences.addons.get(__package__)
    prefs = addon.preferences if addon is not None else None
    program = (prefs.backend_program if prefs else "") or shutil.which(_PROGRAM) or ""
    state = (
        Path(bpy.path.abspath(prefs.state_folder)) if prefs and prefs.state_folder else places.user_folder() / "backend"
    )
    file = (
        Path(bpy.path.abspath(prefs.connection_file)) if prefs and prefs.connection_file else state / "connection.json"
    )
    return Settings(bpy.path.abspath(program), state, file, 60 * (prefs.idle_minutes if prefs else 30))


register, unregister = bpy.utils.register_classes_factory((EX4D_AddonPreferences,))
