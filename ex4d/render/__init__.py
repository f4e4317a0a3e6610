# SPDX-License-Identifier: Apache-2.0
"""Seeing the mesh from the new camera: rasterizers behind one door, and the conditioning made with them."""

from ex4d.render.conditioning import RenderOptions, render_conditioning
from ex4d.render.frame import render_frame
from ex4d.render.rasterizers import RASTERIZERS, Rasterizer

__all__ = ["RASTERIZERS", "Rasterizer", "RenderOptions", "render_conditioning", "render_frame"]
