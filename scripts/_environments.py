# SPDX-License-Identifier: Apache-2.0
"""Makes the project's two Python environments, with the standard library alone.

`.venv` holds the engine and the backend, `.venv-blender` holds Blender as a Python module (`bpy`). They pin different
versions of numpy and never meet; see docs/architecture.md. Each is made once and again whenever what it is made from
changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BPY_PYTHON = (3, 11)  # the bpy 4.5 wheel exists for this Python alone

# What Blender's module links against and a minimal Linux does not have: shared library -> Debian package.
BLENDER_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXext.so.6": "libxext6",
    "libGL.so.1": "libgl1",
}


class SetupError(Exception):
    """Something the user has to do first; the text says what."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of the project."""

    folder: Path
    install: tuple[str, ...]  # arguments of `pip install`, run in the checkout
    made_from: tuple[str, ...]  # files whose change means: install again
    holds: tuple[Environment, ...] = ()  # smaller ones in the same folder, that it does for as well

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """A program that it installs."""
        windows = os.name == "nt"
        return self.folder / ("Scripts" if windows else "bin") / (name + (".exe" if windows else ""))


ENGINE = Environment(
    ROOT / ".venv",
    ("-c", "constraints.txt", "-e", ".[dev]"),
    ("pyproject.toml", "constraints.txt"),
)
ENGINE_WITH_MODELS = Environment(
    ROOT / ".venv",
    ("-c", "constraints.txt", "-e", ".[dev,wan]"),
    ("pyproject.toml", "constraints.txt"),
    holds=(ENGINE,),
)
BLENDER = Environment(
    ROOT / ".venv-blender",
    ("-r", "requirements-blender.txt"),
    ("requirements-blender.txt",),
)


def prepare(environments: tuple[Environment, ...]) -> None:
    """Makes or updates the environments, and says what it does.

    Raises:
        SetupError: the machine lacks something; the text says what and how to get it.
    """
    python = _python_311()
    if BLENDER in environments:
        _need_blender_libraries()
    for environment in environments:
        _make(environment, python)
    if BLENDER in environments:
        _check_bpy()


def _python_311() -> str:
    if sys.version_info[:2] == BPY_PYTHON:
        return sys.executable
    this = f"This is Python {sys.version_info[0]}.{sys.version_info[1]}"
    found = shutil.which("python3.11")
    if found and _runs([found, "-c", "import venv, ensurepip"]):
        print(f"{this}; using {found} for the environments.")
        return found
    raise SetupError(
        f"{this}, and Blender 4.5's Python module needs 3.11. Install Python 3.11 (python.org, your package manager, "
        f"or `uv python install 3.11`) and run `python3.11 scripts/{Path(sys.argv[0]).name}`."
    )


def _need_blender_libraries() -> None:
    """Finds out, before a gigabyte is fetched, whether Blender's module could be loaded at all."""
    if not sys.platform.startswith("linux"):
        return
    missing = _missing_libraries()
    if not missing:
        return
    packages = [BLENDER_LIBRARIES[name] for name in missing]
    command = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"Blender needs system libraries that are not here: {', '.join(missing)}. On Debian or Ubuntu: "
            f"sudo {command}   (elsewhere: the packages that hold these files). Then run this again."
        )
    print(f"Blender needs {', '.join(missing)}: installing {' '.join(packages)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "-qq"], command.split()):
        done = subprocess.run(step, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise SetupError(
                f"`{' '.join(step)}` failed: {' '.join(last)} Install the packages by hand, then run this again."
            )
    still = _missing_libraries()
    if still:
        raise SetupError(f"Still missing after the installation: {', '.join(still)}.")


def _missing_libraries() -> list[str]:
    # A process of its own for each try: the loader remembers failures, and libGL is not ours to keep open.
    return [n for n in BLENDER_LIBRARIES if not _runs([sys.executable, "-c", f"import ctypes; ctypes.CDLL({n!r})"])]


def _make(environment: Environment, python: str) -> None:
    folder = environment.folder
    larger = [known for known in (ENGINE_WITH_MODELS,) if environment in known.holds]
    stamps = {_stamp(known) for known in (environment, *larger)}
    stamp = folder / "made_from.sha256"
    if stamp.is_file() and stamp.read_text() in stamps and environment.python.exists():
        return
    print(f"Making {folder.name} (this downloads packages the first time) ...", flush=True)
    if not environment.python.exists():
        made = subprocess.run([python, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
        if made.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            detail = (made.stdout + made.stderr).strip().splitlines()
            raise SetupError(
                "Python cannot make a virtual environment here. On Debian or Ubuntu: "
                f"sudo apt-get install python3-venv. ({detail[0] if detail else 'no message'})"
            )
    pip = [str(environment.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *environment.install], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        raise SetupError(f"pip could not fill {folder.name}: {' '.join(errors)}")
    stamp.write_text(_stamp(environment))


def _stamp(environment: Environment) -> str:
    """Changes with whatever an environment is made from."""
    return hashlib.sha256(
        b"".join((ROOT / name).read_bytes() for name in environment.made_from)
        + " ".join(environment.install).encode()
        + str(ROOT).encode()  # an editable install points to where the checkout lay
    ).hexdigest()


def _check_bpy() -> None:
    done = subprocess.run([str(BLENDER.python), "-c", "import bpy"], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"Blender's Python module does not load: {reason}. Install what it names and run this again.")


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
