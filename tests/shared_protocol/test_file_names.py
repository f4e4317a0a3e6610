# SPDX-License-Identifier: Apache-2.0
"""Names of files in artifacts stay inside the artifact, on every system."""

from __future__ import annotations

import pytest

from shared_protocol.limits import is_file_name, is_id


@pytest.mark.parametrize("name", ["scene.json", "frames/0001.png", "mesh/0001.exr", "a-b_c/d.e.f"])
def test_good_names(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a/.b", "..", "A.png", "a\\b", "c:/x", "a:b",
        "a\0b", "a b", "a\n", "ä.png", "//host/share", "con", "nul.png", "frames/com1.png", "a.", "a/b/c/d/e",
        "x" * 300, "~/x", "%2e%2e/x",
    ],
)  # fmt: skip
def test_bad_names(name: str) -> None:
    assert not is_file_name(name)


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "../" + "a" * 61])
def test_bad_ids(text: str) -> None:
    assert not is_id(text)
    assert is_id("0f" * 32)
