# SPDX-License-Identifier: Apache-2.0
"""The public EX-4D code's geometry and loading of frames, reproduced to compare with and to choose on purpose.

What was a bug there is not repeated: poses negated in place, moves that over-rotate for other than 49 frames,
unseeded erosion.
"""

from ex4d.upstream.cameras import UPSTREAM_MOVES, upstream_path, upstream_radius
from ex4d.upstream.mesh import FILTERS, UpstreamMesh, upstream_faces, upstream_intrinsics, upstream_mesh
from ex4d.upstream.render import first_frame, render_upstream

__all__ = [
    "FILTERS",
    "UPSTREAM_MOVES",
    "UpstreamMesh",
    "first_frame",
    "render_upstream",
    "upstream_faces",
    "upstream_intrinsics",
    "upstream_mesh",
    "upstream_path",
    "upstream_radius",
]
