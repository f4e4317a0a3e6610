# SPDX-License-Identifier: Apache-2.0
"""Builds the Blender extension: one zip a platform, with the wheels that it needs, checked by Blender's own tool.

    python3 scripts/build_extension.py --out dist
    python3 scripts/build_extension.py --out dist --platform all
    python3 scripts/build_extension.py --out dist --blender /opt/blender/blender

The last lines of the output are the paths of the zips. Wheels from the package index are pinned by name and hash in
`extension_wheels.json` and kept in `.cache/wheels`; `--relock` writes that file anew for the versions below.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "wheels"
LOCK = Path(__file__).resolve().with_name("extension_wheels.json")

VERSIONS = {"pyzmq": "27.3.0", "msgpack": "1.2.4"}
# Blender 4.5 and 5.0 come with Python 3.11, 5.1 and later with 3.13; some Linux distributions build it with 3.14.
PYTHONS = ("3.11", "3.13", "3.14")
PLATFORMS = {  # Blender's name for a platform: tags of wheels that work there
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux_2_26_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_11_0_arm64", "macosx_10_15_universal2", "macosx_10_9_universal2"),
    "macos-x64": ("macosx_10_15_x86_64", "macosx_10_15_universal2", "macosx_10_9_x86_64", "macosx_10_9_universal2"),
}
_EPOCH = (2020, 1, 1, 0, 0, 0)  # of the files in our wheel, so that the same sources give the same wheel


class BuildError(Exception):
    """One line that says why there is no zip."""


def main() -> int:
    """Returns 0, or 2 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the zips")
    parser.add_argument("--platform", default="current", choices=("current", "all", *PLATFORMS))
    parser.add_argument("--blender", type=Path, help="Blender whose tool builds and checks (default: the bpy module's)")
    parser.add_argument("--relock", action="store_true", help="write the names and hashes of the wheels anew")
    arguments = parser.parse_args()
    try:
        platforms = _platforms(arguments.platform)
        tool = _tool(arguments.blender)
        arguments.out.mkdir(parents=True, exist_ok=True)
        if arguments.relock:
            relock()
        zips = [build(name, arguments.out.resolve(), tool) for name in platforms]
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    for path in zips:
        print(path)
    return 0


def build(platform_name: str, out: Path, tool: list[str]) -> Path:
    """The zip for one platform.

    Raises:
        BuildError: a wheel could not be had, or Blender's tool refuses the extension.
    """
    manifest = (ROOT / "blender_addon" / "blender_manifest.toml").read_text(encoding="utf-8")
    version = tomllib.loads(manifest)["version"]
    target = out / f"ex4d-{version}-{platform_name.replace('-', '_')}.zip"
    with TemporaryDirectory(prefix="ex4d_extension_") as scratch:
        source = Path(scratch) / "ex4d"
        shutil.copytree(ROOT / "blender_addon", source, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        folder = source / "wheels"
        folder.mkdir()
        for wheel in [*wheels(platform_name), protocol_wheel(Path(scratch), version)]:
            shutil.copyfile(wheel, folder / wheel.name)
        names = ", ".join(f'"./wheels/{p.name}"' for p in sorted(folder.iterdir()))
        added = f'platforms = ["{platform_name}"]\nwheels = [{names}]\n\n[permissions]'
        (source / "blender_manifest.toml").write_text(manifest.replace("[permissions]", added, 1), encoding="utf-8")
        _run("building the extension", [*tool, "build", "--source-dir", source, "--output-filepath", target])
    _run("checking the extension", [*tool, "validate", target])
    return target


# ---- wheels


def wheels(platform_name: str) -> list[Path]:
    """The pinned wheels of a platform, from the cache or the package index."""
    if not LOCK.is_file():
        raise BuildError(f"{LOCK} is missing; run with --relock")
    locked: dict[str, str] = json.loads(LOCK.read_text(encoding="utf-8"))[platform_name]
    folder = CACHE / platform_name
    if any(not _is(folder / name, sha256) for name, sha256 in locked.items()):
        _download(platform_name, folder)
    for name, sha256 in locked.items():
        if not _is(folder / name, sha256):
            raise BuildError(f"{name} is not the file that {LOCK.name} names")
    return [folder / name for name in locked]


def relock() -> None:
    """Write the names and hashes of all platforms' wheels for `VERSIONS`."""
    lock: dict[str, dict[str, str]] = {}
    for name in PLATFORMS:
        with TemporaryDirectory(prefix="ex4d_wheels_") as scratch:
            folder = Path(scratch)
            _download(name, folder)
            lock[name] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.whl"))}
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")


def _download(platform_name: str, folder: Path) -> None:
    tags = [x for tag in PLATFORMS[platform_name] for x in ("--platform", tag)]
    for python in PYTHONS:
        # Both kinds at once: pip then chooses the wheel for the stable ABI where there is one.
        abi = [x for tag in (f"cp{python.replace('.', '')}", "abi3") for x in ("--abi", tag)]
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
            "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *abi, *tags,
            "--dest", folder, *(f"{name}=={version}" for name, version in VERSIONS.items()),
        ]  # fmt: skip
        _run(f"fetching wheels for {platform_name}, Python {python}", command)


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def protocol_wheel(folder: Path, version: str) -> Path:
    """A wheel of `shared_protocol` alone. Its version names its content, so that Blender never keeps an older one."""
    package = ROOT / "shared_protocol"
    files = {
        f"shared_protocol/{p.name}": p.read_bytes() for p in sorted(package.iterdir()) if p.suffix in (".py", ".typed")
    }
    content = hashlib.sha256(b"".join(name.encode() + data for name, data in files.items())).hexdigest()[:12]
    version = f"{version}+{content}"
    info = f"ex4d_shared_protocol-{version}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.4\nName: ex4d-shared-protocol\nVersion: {version}\n"
        "Summary: What crosses the wire between the EX-4D extension and its backend\n"
        "License-Expression: Apache-2.0\nRequires-Python: >=3.11\n"
        "Requires-Dist: pyzmq>=27\nRequires-Dist: msgpack>=1.1\n"
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: ex4d\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    path = folder / f"ex4d_shared_protocol-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data)
    return path


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


# ---- Blender's tool


def _platforms(choice: str) -> list[str]:
    if choice == "all":
        return list(PLATFORMS)
    if choice != "current":
        return [choice]
    system = {"Linux": "linux", "Windows": "windows", "Darwin": "macos"}.get(platform.system(), platform.system())
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())
    name = f"{system}-{machine}"
    if name not in PLATFORMS:
        raise BuildError(f"there are no wheels for {name}; choose one of {', '.join(PLATFORMS)}")
    return [name]


def _tool(blender: Path | None) -> list[str]:
    """Command of the program that builds and validates extensions: Blender itself, or the file it does that with."""
    if blender is not None:
        found = shutil.which(blender) or shutil.which(str(blender.resolve()))
        if found is None:
            raise BuildError(f"there is no Blender at {blender}")
        return [found, "--command", "extension"]
    here = importlib.util.find_spec("bpy")
    folders = [Path(p) for p in (here.submodule_search_locations or ())] if here is not None else []
    folders += sorted((ROOT / ".venv-blender").glob("lib/python*/site-packages/bpy"))
    folders += sorted((ROOT / ".venv-blender").glob("Lib/site-packages/bpy"))
    for folder in folders:
        for tool in sorted(folder.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")):
            return [sys.executable, str(tool)]
    raise BuildError("Blender's extension tool was not found; set up .venv-blender, or name a Blender with --blender")


def _run(what: str, command: list[object]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [x.strip() for x in (done.stderr + done.stdout).splitlines() if x.strip()]
        reason = next((x for x in lines if "error" in x.lower()), lines[-1] if lines else "no reason given")
        raise BuildError(f"{what} did not work: {reason}")


if __name__ == "__main__":
    raise SystemExit(main())
