# SPDX-License-Identifier: Apache-2.0
"""The `preview` generator: no weights, no GPU. Good for judging a camera move, not for a final picture.

What the source camera saw stays as the conditioning has it. Holes are painted from a still world made of the clip
itself: the clean plate (background that other frames saw), an invented continuation behind things that never move and
beyond the picture's edges, and a dome of soft colours. As that world stands still, the painting does not flicker.
Where the source camera moves, the clip's still background (`ex4d.persist`) comes first, and the rest of that world is
made around a frame in the middle of the clip.
"""

from ex4d.generate.preview.generator import PreviewGenerator

__all__ = ["PreviewGenerator"]
