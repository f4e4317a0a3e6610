# SPDX-License-Identifier: Apache-2.0
"""Video-Depth-Anything against reference numbers of its public code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import _parity_groups  # noqa: E402
import check_parity  # noqa: E402


def test_every_number_of_the_public_code_is_met(reference: Callable[[str], Path]) -> None:
    folder = reference("golden/video_depth_anything_goldens.safetensors").parent
    references = [each for each in _parity_groups.GROUPS["depth"] if each.file.startswith("video_depth_anything")]
    rows = check_parity.check(folder, references, strangers=False)
    assert [row for row in rows if row.state not in ("ok", "input")] == []
    assert sum(row.state == "ok" for row in rows) > 60
