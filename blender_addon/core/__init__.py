# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the extension that knows nothing of Blender: plain Python, tested without bpy."""
