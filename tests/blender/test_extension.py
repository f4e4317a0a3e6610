# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension as it is shipped: built, checked by Blender's tool, installed from its zip, switched on and off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from .bench import ROOT

BUILD = ROOT / "scripts" / "build_extension.py"

# Runs in a fresh process, with nothing of the checkout on its path and settings of its own.
INSIDE = """
import json, os, sys, threading
from pathlib import Path

resources, package_file = Path(os.environ["BLENDER_USER_RESOURCES"]), sys.argv[1]
wheels = resources / "extensions" / ".local" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
wheels.mkdir(parents=True)
sys.path[:] = [str(wheels), *(p for p in sys.path if p)]
import bpy, addon_utils

NAME = "bl_ext.user_default.ex4d"


def ours():
    return sorted(n for n in dir(bpy.types) if n.startswith("EX4D")) + [
        h.__name__ for h in bpy.app.handlers.load_post if "ex4d" in h.__module__
    ] + [t.name for t in threading.enumerate() if "ex4d" in t.name] + [
        n for n in ("ex4d",) if hasattr(bpy.types.Scene, n) or hasattr(bpy.types.WindowManager, n)
    ]


said = {"before": ours()}
bpy.ops.extensions.package_install_files(repo="user_default", filepath=package_file, enable_on_install=False)
errors = []
module = addon_utils.enable(NAME, default_set=True, handle_error=errors.append)
said["errors"] = [repr(e) for e in errors]
said["wheels"] = sorted(p.name for p in wheels.iterdir() if not p.name.endswith("dist-info"))
import msgpack, shared_protocol, zmq

said["from"] = [str(Path(m.__file__).relative_to(wheels)) for m in (zmq, msgpack, shared_protocol)]
said["module"] = str(Path(module.__file__).relative_to(resources))
said["on"] = ours()
pump = sys.modules[f"{NAME}.pump"]
said["timer"] = bpy.app.timers.is_registered(pump._tick)
bpy.ops.ex4d.connect()
import time
end = time.monotonic() + 10
while bpy.context.window_manager.ex4d.link != "FAILED" and time.monotonic() < end:
    pump.pump()
    time.sleep(0.01)
said["status"] = bpy.context.window_manager.ex4d.text
log = sys.modules[f"{NAME}.log"].file()
said["log"] = [str(log.relative_to(resources)), log.is_file()]
for _ in range(5):
    addon_utils.disable(NAME, default_set=True)
    assert not bpy.app.timers.is_registered(pump._tick)
    said["off"] = ours()
    addon_utils.enable(NAME, default_set=True, handle_error=errors.append)
said["on again"] = ours()
addon_utils.disable(NAME, default_set=True)
said["errors"] += [repr(e) for e in errors]
print("SAID " + json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this platform."""
    out = tmp_path_factory.mktemp("extension")
    done = subprocess.run(
        [sys.executable, BUILD, "--out", out], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert path.parent == out
    return path


def test_the_zip_holds_what_the_manifest_promises(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
    assert manifest["id"] == "ex4d"
    assert manifest["blender_version_min"] == "4.5.0"
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert set(manifest["permissions"]) == {"network", "files"}
    assert {f"./{n}" for n in names if n.endswith(".whl")} == set(manifest["wheels"])
    assert {"__init__.py", "LICENSE", "core/session.py"} <= set(names)
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]
    kinds = {Path(w).name.split("-")[0] for w in manifest["wheels"]}
    assert kinds == {"pyzmq", "msgpack", "ex4d_shared_protocol"}, "numpy and torch stay out of Blender's Python"
    assert package.stat().st_size < 6_000_000


def test_version_is_that_of_the_project() -> None:
    manifest = tomllib.loads((ROOT / "blender_addon" / "blender_manifest.toml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert manifest["version"] == project["version"]


def test_every_file_says_its_licence() -> None:
    files = [p for p in (ROOT / "blender_addon").rglob("*.py") if "__pycache__" not in p.parts]
    assert len(files) > 20
    first = {p.name: p.read_text(encoding="utf-8").partition("\n")[0] for p in files}
    assert {n for n, line in first.items() if line != "# SPDX-License-Identifier: GPL-3.0-or-later"} == set()


def test_it_installs_and_runs_on_its_own_wheels_and_leaves_nothing(package: Path, tmp_path: Path) -> None:
    script = tmp_path / "inside.py"
    script.write_text(INSIDE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    (tmp_path / "resources").mkdir()
    environment["BLENDER_USER_RESOURCES"] = str(tmp_path / "resources")
    done = subprocess.run(
        [sys.executable, "-P", script, package], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    lines = [x for x in done.stdout.splitlines() if x.startswith("SAID ")]
    assert lines, done.stdout + done.stderr
    said = json.loads(lines[0].removeprefix("SAID "))

    assert said["errors"] == []
    assert {"zmq", "msgpack", "shared_protocol"} <= set(said["wheels"])
    assert said["from"] == ["zmq/__init__.py", "msgpack/__init__.py", "shared_protocol/__init__.py"]
    assert said["module"] == "extensions/user_default/ex4d/__init__.py"
    assert said["log"] == ["extensions/.user/user_default/ex4d/ex4d.log", True]
    assert said["status"] == "No backend is running."
    assert said["timer"] is True
    assert "ex4d-session" in said["on"]
    assert said["on"] == said["on again"]
    assert said["before"] == said["off"] == []
    assert done.returncode == 0, "Blender did not come to its end"


def test_a_build_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BUILD, "--out", tmp_path, "--blender", tmp_path / "blender"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "there is no Blender at" in done.stderr
