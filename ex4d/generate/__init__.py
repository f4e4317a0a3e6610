# SPDX-License-Identifier: Apache-2.0
"""Generators: from the conditioning of a shot to its frames. Importing this loads no generator's libraries."""

from __future__ import annotations

from ex4d.generate.door import GenerateRequest, Generator
from ex4d.generate.preview import PreviewGenerator
from ex4d.generate.vace.generator import VaceGenerator
from ex4d.generate.wan.generator import WanGenerator

__all__ = ["GENERATORS", "GenerateRequest", "Generator"]

GENERATORS: dict[str, Generator] = {
    generator.name: generator for generator in (PreviewGenerator(), WanGenerator(), VaceGenerator())
}
