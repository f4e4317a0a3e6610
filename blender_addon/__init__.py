# SPDX-License-Identifier: GPL-3.0-or-later
"""EX-4D for Blender: re-shoot a clip from a new camera.

Everything that needs Blender is imported when the extension is switched on, so that `core` can be used and tested
without it.
"""


def register() -> None:
    """Switch the extension on."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Switch it off, and leave nothing behind: no class, property, handler, timer or thread."""
    from . import registration

    registration.unregister()
