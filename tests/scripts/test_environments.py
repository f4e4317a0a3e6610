# SPDX-License-Identifier: Apache-2.0
"""The set-up says what a machine lacks before it fails on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import _environments as environments  # noqa: E402


def test_a_python_without_a_blender_module_gets_told_which_one_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    with pytest.raises(environments.SetupError, match=r"This is Python 3\.12.*needs 3\.11.*python3\.11 scripts/"):
        environments._python_311()


def test_missing_system_libraries_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.BLENDER_LIBRARIES, "libnot-on-any-machine.so.9", "libnot9")
    monkeypatch.setattr(environments.os, "geteuid", lambda: 1000)
    with pytest.raises(environments.SetupError, match=r"libnot-on-any-machine\.so\.9.*sudo apt-get install .*libnot9"):
        environments._need_blender_libraries()


def test_a_complete_environment_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = environments.Environment(tmp_path / "env", ("--dry-run", "--no-index", "pip"), ("constraints.txt",))
    environments._make(environment, sys.executable)
    assert environment.python.exists()
    capsys.readouterr()
    before = environment.python.lstat().st_ctime_ns
    environments._make(environment, sys.executable)
    assert environment.python.lstat().st_ctime_ns == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--clip", "/no/such/clip.mp4"], "error: there is no /no/such/clip.mp4"),
        (["--frames", "0"], "error: --frames 0: a shot needs at least one frame"),
        (["--depth", "depth.npz"], "error: --depth belongs to a clip of yours"),
        (["--cam", "45"], "invalid choice: '45'"),
    ],
)
def test_the_demo_refuses_bad_arguments_in_one_line(arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
