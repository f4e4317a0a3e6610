# SPDX-License-Identifier: Apache-2.0
"""What generators that are video diffusion models share: sizes, windows, the sampling loop, memory, speed."""
