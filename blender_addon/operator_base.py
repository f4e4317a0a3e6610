# SPDX-License-Identifier: GPL-3.0-or-later
"""What all operators share: an error becomes one line in the status, the report and the log."""

from __future__ import annotations

from typing import Any

import bpy

from shared_protocol.errors import Ex4dError

from . import status


class Step:
    """Mixed into an operator that does its work in `work`."""

    def work(self, context: bpy.types.Context) -> None:
        """Do it.

        Raises:
            Ex4dError: shown to the artist.
        """
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do it, and report what happened."""
        operator: Any = self
        try:
            self.work(context)
        except Ex4dError as e:
            status.fail(e)
            operator.report({"ERROR"}, str(e))
            return {"CANCELLED"}
        finally:
            status.redraw()
        operator.report({"INFO"}, status.get().text)
        return {"FINISHED"}
