# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Path]:
    """Real clips and reference numbers, kept outside the project (EX4D_TEST_DATA, default ../shared).

    `reference("flower/input.mp4")` is that file's path; the test is skipped where it is absent.
    """
    folder = Path(os.environ.get("EX4D_TEST_DATA", ROOT.parent / "shared"))

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no reference file {name} in {folder} (set EX4D_TEST_DATA to a folder that has it)")
        return folder / name

    return find


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
