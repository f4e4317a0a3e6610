# SPDX-License-Identifier: Apache-2.0
"""The `wan-vace` generator: Wan2.1-VACE, which fills the masked parts of a video, on diffusers."""
