# SPDX-License-Identifier: Apache-2.0
"""The `wan` generator: Wan2.1-I2V-14B with the EX-4D adapter (a LoRA and a geometry encoder), on diffusers."""
