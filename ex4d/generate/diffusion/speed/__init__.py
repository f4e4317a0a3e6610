# SPDX-License-Identifier: Apache-2.0
"""What makes a diffusion model quicker, each by a switch that is off unless asked for. `apply` has the way in."""
