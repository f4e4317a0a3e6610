# SPDX-License-Identifier: Apache-2.0
"""Re-shoots a clip from a new camera, the whole way: extension in a real Blender, backend beside it, frames on a strip.

    python3 scripts/demo.py
    python3 scripts/demo.py --clip shot.mp4 --cam 30 --out my_shot
    python3 scripts/demo.py --blender /opt/blender/blender

Makes the environments first where they are missing. Without --clip it uses the sample in `samples/`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from _environments import BLENDER, ENGINE, ROOT, SetupError, prepare

sys.path.insert(0, str(ROOT))
from shared_protocol.moves import MOVES

SAID = 3  # status of our scripts in Blender when they have said in one line what is wrong
SAMPLE = ROOT / "samples" / "courtyard.mp4"
SAMPLE_DEPTH = ROOT / "samples" / "courtyard_depth.npz"


def main() -> int:
    """Runs the demo. Returns 0, or 2 after one line that says what is wrong."""
    arguments = _arguments()
    started = time.monotonic()
    try:
        prepare((ENGINE, BLENDER))
        ready = time.monotonic()
        out = _fresh_folder(arguments.out)
        with TemporaryDirectory(prefix="ex4d_demo_", ignore_cleanup_errors=True) as scratch:
            _reshoot(arguments, out, Path(scratch))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"\nDone: {time.monotonic() - ready:.0f} s for the shot, {ready - started:.0f} s for the environments.")
    for name, what in (
        ("contact_sheet.png", "source, conditioning and result at five frames: look at this first"),
        ("edit.mp4", "the edit, rendered from Blender's sequencer"),
        ("reshoot.blend", "the scene: mesh, cameras, strip"),
        ("frames", "the new shot"),
        ("colour", "what the mesh shows from the new camera"),
        ("mask", "which of it the source camera saw"),
        ("take.json", "how it was made"),
    ):
        print(f"  {out / name}  {what}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip", type=Path, help="movie, or folder of PNG or EXR pictures (default: the sample)")
    parser.add_argument("--depth", type=Path, help="its depth: .npz, or folder of EXR or 16-bit PNG (default: draft)")
    parser.add_argument("--cam", choices=MOVES, default="60", help="preset move (default: 60)")
    parser.add_argument("--frames", type=int, help="frames used from the start (default: all)")
    parser.add_argument("--focal", type=float, help="focal length in pixels")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder for the results (default: demo_out)")
    parser.add_argument("--blender", type=Path, help="an installed Blender 4.5 or newer (default: its Python module)")
    arguments = parser.parse_args()
    if arguments.frames is not None and arguments.frames < 1:
        parser.exit(2, f"error: --frames {arguments.frames}: a shot needs at least one frame\n")
    if arguments.clip is None:
        if arguments.depth is not None:
            parser.exit(2, "error: --depth belongs to a clip of yours: name it with --clip\n")
        arguments.clip, arguments.depth = SAMPLE, SAMPLE_DEPTH
    for path in (arguments.clip, arguments.depth, arguments.blender):
        if path is not None and not path.exists():
            parser.exit(2, f"error: there is no {path}\n")
    return arguments


def _fresh_folder(folder: Path) -> Path:
    """An empty folder of that name. Results of an earlier run are moved aside, anything else is left alone."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "reshoot.blend").is_file():
            raise SetupError(f"{folder} has files in it that are not a demo's results. Name another folder with --out.")
        number = 1
        while (aside := folder.with_name(f"{folder.name}_{number}")).exists():
            number += 1
        folder.rename(aside)
        print(f"The results of an earlier run are now in {aside}")
    elif folder.exists() and not folder.is_dir():
        raise SetupError(f"{folder} is a file. Name another folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _reshoot(arguments: argparse.Namespace, out: Path, scratch: Path) -> None:
    print("Building the extension ...", flush=True)
    built = [BLENDER.python, ROOT / "scripts" / "build_extension.py", "--out", scratch / "extension"]
    _run("building the extension", built, quiet=True)
    extension = next((scratch / "extension").glob("*.zip"))
    inner: list[object] = [
        "--extension", extension, "--backend", ENGINE.program("ex4d-backend"), "--state", scratch / "backend",
        "--clip", arguments.clip.resolve(), "--cam", arguments.cam, "--out", out,
    ]  # fmt: skip
    for option in ("depth", "frames", "focal"):
        value = getattr(arguments, option)
        if value is not None:
            inner += [f"--{option}", value.resolve() if isinstance(value, Path) else value]
    # Blender's settings and extensions of this run live in the scratch folder; the user's own stay untouched.
    settings = {**os.environ, "BLENDER_USER_RESOURCES": str(scratch / "blender")}
    settings.pop("PYTHONPATH", None)
    _in_blender(arguments.blender, "demo_in_blender.py", inner, settings)
    print("Opening the .blend in a fresh Blender without the extension, rendering the edit ...", flush=True)
    plain = {**settings, "BLENDER_USER_RESOURCES": str(scratch / "plain_blender")}
    edit: list[object] = ["--blend", out / "reshoot.blend", "--movie", out / "edit.mp4"]
    _in_blender(arguments.blender, "demo_render_edit.py", edit, plain, quiet=True)
    sheet = [
        ENGINE.program("ex4d"), "sheet", "--scene", next((out / "reshoot_ex4d" / "scenes").iterdir()),
        "--conditioning", out, "--frames", out / "frames", "--output", out / "contact_sheet.png",
    ]  # fmt: skip
    _run("making the contact sheet", sheet, quiet=True)


def _in_blender(
    program: Path | None, script: str, arguments: list[object], settings: dict[str, str], quiet: bool = False
) -> None:
    path = ROOT / "scripts" / script
    if program is None:
        command: list[object] = [BLENDER.python, path, "--", *arguments]
    else:
        found = shutil.which(str(program)) or program
        command = [found, "--background", "--factory-startup", "--python-exit-code", "4", "--python", path, "--"]
        command += arguments
    _run(script, command, settings, quiet)


def _run(what: str, command: list[object], settings: dict[str, str] | None = None, quiet: bool = False) -> None:
    """Runs a program; a quiet one is only heard when it fails."""
    heard = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
    done = subprocess.run([str(part) for part in command], env=settings, text=True, check=False, **heard)
    if done.returncode == SAID:
        raise SystemExit(2)
    if done.returncode:
        if done.stdout:
            print("\n".join(done.stdout.splitlines()[-20:]), file=sys.stderr)
        raise SetupError(f"{what} did not finish (status {done.returncode}); the lines above say why.")


if __name__ == "__main__":
    raise SystemExit(main())
