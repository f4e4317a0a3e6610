# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real clips and reference numbers, kept outside the project (EX4D_TEST_DATA, default ../shared)."""
    folder = Path(os.environ.get("EX4D_TEST_DATA", ROOT.parent / "shared"))
    if not (folder / "flower" / "input.mp4").is_file():
        pytest.skip(f"no reference clips in {folder} (set EX4D_TEST_DATA to a folder that has them)")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
