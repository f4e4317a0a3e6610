# SPDX-License-Identifier: Apache-2.0
"""DepthCrafter: depth of a whole clip by diffusion, steady over time. For research only. Importing this loads no torch.

A network that was trained to make videos (Stable Video Diffusion) makes a video of the disparity instead, window by
window. Published by Hu et al., "DepthCrafter: Generating Consistent Long Depth Sequences for Open-world Videos", 2024
(arXiv 2409.02095); what the public EX-4D code takes its depth from.
"""

from __future__ import annotations

from ex4d.depth.depthcrafter.estimator import DepthCrafterDepth

__all__ = ["DepthCrafterDepth"]
