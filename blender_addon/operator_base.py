# SPDX-License-Identifier: GPL-3.0-or-later
"""What all operators share: an error becomes one line in the status, the report and the log."""

from __future__ import annotations

import logging
from typing import Any

import bpy

from shared_protocol.errors import INTERNAL, Ex4dError

from . import status

_log = logging.getLogger(__name__)


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
            return self._failed(e)
        except Exception:  # a bug: the log gets the traceback, the artist a line
            _log.exception("in %s", operator.bl_idname)
            return self._failed(Ex4dError(INTERNAL, "Something went wrong in the extension.", "The log says more."))
        finally:
            status.redraw()
        operator.report({"INFO"}, status.get().text)
        return {"FINISHED"}

    def _failed(self, error: Ex4dError) -> set[str]:
        operator: Any = self
        status.fail(error)
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
