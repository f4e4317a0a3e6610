# SPDX-License-Identifier: Apache-2.0
"""The `ex4d-backend` command. Errors are one line on stderr and exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from shared_protocol import messages as m
from shared_protocol.client import Client
from shared_protocol.errors import Ex4dError

from .state_folder import Folders, StateFolder, default_state


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except Ex4dError as exc:
        print(f"ex4d-backend: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line; how it is right stands in --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ex4d-backend", description="The process that does the work for Blender.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--state", type=Path, default=default_state(), metavar="DIR", help="state folder (%(default)s)"
        )
        sub.set_defaults(run=run)
        return sub

    serve = command("serve", _serve, "Serve until stopped.")
    serve.add_argument("--host", default="127.0.0.1", help="an address of this machine (%(default)s)")
    serve.add_argument("--port", type=_port, default=0, help="0 = any free one (%(default)s)")
    serve.add_argument(
        "--exit-when-idle",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="end when nothing runs and no client spoke for so long; 0 = never",
    )
    status = command("status", _status, "Tell whether a backend answers, and what it can do.")
    stop = command("stop", _stop, "Ask the backend to end; running jobs go on at its next start.")
    for sub in (serve, status, stop):
        sub.add_argument("--connection-file", type=Path, metavar="FILE", help="where clients find the backend")
    jobs = command("jobs", _jobs, "List the newest jobs, also of a backend that does not run.")
    jobs.add_argument("--limit", type=int, default=20, help="how many (%(default)s)")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port (0..65535)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def _connection_file(args: argparse.Namespace) -> Path:
    return Path(args.connection_file or Folders(args.state).connection_file)


def _serve(args: argparse.Namespace) -> int:
    from . import logs
    from .server import Server

    state = StateFolder(args.state)
    try:
        logs.set_up(state.log)
        server = Server(state, args.host, args.port, args.connection_file, args.exit_when_idle)
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last is unknown to Windows
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: server.stop())

        def ready() -> None:
            where = server.connection.address.removeprefix("tcp://")
            with contextlib.suppress(OSError):  # whoever started us may not be listening any more
                print(f"Listening at {where}; connection file {server.connection_file}", flush=True)

        server.run(ready)
    finally:
        state.close()
    return 0


def _status(args: argparse.Namespace) -> int:
    with Client.connect(_connection_file(args), name="ex4d-backend status") as client:
        welcome = client.welcome
        major, minor = welcome.protocol
        print(f"{welcome.server}, protocol {major}.{minor}, process {welcome.pid}")
        for door in welcome.doors:
            works = "works" if door.available else f"does not work: {door.reason}"
            use = "" if door.commercial_use else ", no commercial use"
            print(f"  {door.kind:11}{door.name:14}{door.label} ({door.licence}{use}): {works}")
    return 0


def _stop(args: argparse.Namespace) -> int:
    with Client.connect(_connection_file(args), name="ex4d-backend stop") as client:
        client.shutdown()
    print("The backend ends.")
    return 0


def _jobs(args: argparse.Namespace) -> int:
    from .journal import Journal

    path = Folders(args.state).journal
    if not path.is_file():
        print("No jobs.")
        return 0
    journal = Journal(path, read_only=True)
    try:
        for info, updated in journal.latest(max(args.limit, 1)):
            print(_line(info, updated))
    finally:
        journal.close()
    return 0


def _line(info: m.JobInfo, updated: float) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(updated))
    steps = f" {info.done}/{info.total}" if info.state == m.RUNNING and info.total else ""
    error = f": {info.error.message}" if info.error else ""
    return f"{when}  {info.job_id}  {info.kind:11}  {info.state}{steps}{error}"


if __name__ == "__main__":
    sys.exit(main())
