# SPDX-License-Identifier: GPL-3.0-or-later
"""What a menu says of an estimator."""

from __future__ import annotations

import pytest

from blender_addon.core import door_words
from shared_protocol.messages import Door


@pytest.mark.parametrize(
    ("door", "words"),
    [
        (
            Door("depth", "vda", "VDA", "Apache-2.0", True, True, "", gives="metric", steady=True, size=116_000_000),
            "Metric depth, steady over time, 116 MB, Apache-2.0",
        ),
        (
            Door("depth", "crafter", "C", "CC-BY-NC-4.0", False, True, "", gives="disparity", size=2_900_000_000),
            "Relative depth, 2.9 GB, CC-BY-NC-4.0: not for commercial use",
        ),
        (Door("depth", "draft", "Draft", "Apache-2.0", True, True, ""), "Apache-2.0"),
        (Door("generator", "wan", "Wan", "Apache-2.0", True, True, "", size=5), "Apache-2.0"),
    ],
)
def test_nature_and_licence_are_told(door, words):
    assert door_words.nature(door) == words
