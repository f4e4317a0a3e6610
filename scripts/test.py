# SPDX-License-Identifier: Apache-2.0
"""Runs every check and test, and says what passed, what failed and what was skipped, and why.

    python3 scripts/test.py            all but the tests marked slow
    python3 scripts/test.py --slow     those too

Makes the environments first where they are missing. Exit status 0: everything that ran has passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from _environments import BLENDER, ENGINE_WITH_MODELS, ROOT, SetupError, prepare

LIMIT_S = 15 * 60  # of one step; a step that hangs is a failure


@dataclass
class Outcome:
    """What one step came to."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> tests
    problem: str = ""
    seconds: float = 0.0


def main() -> int:
    """Runs the steps in order; a failed one does not stop the next."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slow", action="store_true", help="run the tests marked slow as well")
    arguments = parser.parse_args()
    try:
        prepare((ENGINE_WITH_MODELS, BLENDER))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    chosen = "not gpu" if arguments.slow else "not gpu and not slow"
    ruff = str(ENGINE_WITH_MODELS.program("ruff"))
    outcomes = [
        _check("ruff check", [ruff, "check", "."]),
        _check("ruff format", [ruff, "format", "--check", "."]),
        _check("mypy", [str(ENGINE_WITH_MODELS.program("mypy"))]),
        _pytest(
            "tests (engine, backend)",
            ENGINE_WITH_MODELS.python,
            # A file's tests stay together: many share what is slow to make.
            ["tests", "--ignore=tests/blender", "--numprocesses=2", "--dist=loadfile"],
            chosen,
        ),
        _pytest("tests (in Blender)", BLENDER.python, ["tests/blender"], chosen),
    ]
    return _report(outcomes)


def _check(name: str, command: list[str]) -> Outcome:
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    failed = subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return Outcome(name, passed=int(not failed), failed=int(failed), seconds=time.monotonic() - started)


def _pytest(name: str, python: Path, targets: list[str], chosen: str) -> Outcome:
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    outcome = Outcome(name)
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [str(python), "-m", "pytest", "-q", *targets, "-m", chosen, f"--junitxml={report}"]
        try:
            # Tensors of the tests are small: threads would wait for each other longer than they work.
            alone = {**os.environ, "OMP_NUM_THREADS": "1"}
            code = subprocess.run(command, cwd=ROOT, env=alone, timeout=LIMIT_S, check=False).returncode
        except subprocess.TimeoutExpired:
            outcome.problem = f"still running after {LIMIT_S // 60} minutes, or hung at exit"
            code = -1
        if report.is_file():
            _read(report, outcome)
        if code and not outcome.failed and not outcome.problem:
            outcome.problem = f"pytest ended with status {code}"
    outcome.seconds = time.monotonic() - started
    return outcome


def _read(report: Path, outcome: Outcome) -> None:
    for case in ET.parse(report).iter("testcase"):  # noqa: S314
        skipped = case.find("skipped")
        if skipped is not None:
            outcome.skipped[skipped.get("message") or "no reason given"] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
            print(f"FAILED {case.get('classname')}::{case.get('name')}")
        else:
            outcome.passed += 1


def _report(outcomes: list[Outcome]) -> int:
    print("\n== result")
    for outcome in outcomes:
        skipped = sum(outcome.skipped.values())
        print(
            f"{outcome.name:26} {outcome.passed:4} passed {outcome.failed:3} failed {skipped:3} skipped"
            f"  {outcome.seconds:6.0f} s  {outcome.problem}"
        )
        for reason, times in outcome.skipped.items():
            print(f"    skipped {times}: {reason}")
    passed = sum(outcome.passed for outcome in outcomes)
    failed = sum(outcome.failed + bool(outcome.problem) for outcome in outcomes)
    print(f"\n{passed} passed, {failed} failed, {sum(sum(o.skipped.values()) for o in outcomes)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
