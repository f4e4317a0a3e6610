# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that run in Blender's own Python.

Blender reads where its settings are when it is imported, which this comes before: tests keep off the settings, logs
and extensions of whoever runs them.
"""

import os
import tempfile

_resources = tempfile.TemporaryDirectory(prefix="ex4d_tests_", ignore_cleanup_errors=True)
os.environ["BLENDER_USER_RESOURCES"] = _resources.name
