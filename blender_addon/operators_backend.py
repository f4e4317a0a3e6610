# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators around the backend program. All return at once; what comes of it is in the status line."""

import bpy

from . import runtime, status
from .core import events as ev
from .operator_base import Step


class EX4D_OT_start_backend(Step, bpy.types.Operator):
    """Start the backend program and connect to it; connect only, if it runs already"""

    bl_idname = "ex4d.start_backend"
    bl_label = "Start Backend"
    bl_options = {"REGISTER"}

    def work(self, _context):
        runtime.connect(start_program=True)
        status.say("Starting the backend…")


class EX4D_OT_connect(Step, bpy.types.Operator):
    """Connect to a backend that runs already"""

    bl_idname = "ex4d.connect"
    bl_label = "Connect"
    bl_options = {"REGISTER"}

    def work(self, _context):
        runtime.connect(start_program=False)
        status.say("Connecting to the backend…")


class EX4D_OT_stop_backend(Step, bpy.types.Operator):
    """End the backend program. Jobs that are not finished go on when it is started again"""

    bl_idname = "ex4d.stop_backend"
    bl_label = "Stop Backend"
    bl_options = {"REGISTER"}

    def work(self, _context):
        runtime.send(ev.StopBackend())
        status.say("Stopping the backend…")


register, unregister = bpy.utils.register_classes_factory(
    (EX4D_OT_start_backend, EX4D_OT_connect, EX4D_OT_stop_backend)
)
