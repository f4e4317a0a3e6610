# SPDX-License-Identifier: Apache-2.0
"""Video-Depth-Anything: depth that is steady over time. Importing this loads no torch.

An image network (DINOv2) sees every frame by itself; of what it saw, a head of convolutions with attention over time
makes depth of 32 frames at once. A longer clip goes through windows that are joined. Published by Chen et al., "Video
Depth Anything: Consistent Depth Estimation for Super-Long Videos", 2025 (arXiv 2501.12375).
"""

from __future__ import annotations

from ex4d.depth.vda.estimator import VideoDepthAnything

__all__ = ["VideoDepthAnything"]
