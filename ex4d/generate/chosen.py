# SPDX-License-Identifier: Apache-2.0
"""Which generator a command runs, with which seed and options: from flags, and from the side-car of an earlier take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ex4d.doors import named
from ex4d.generate import GENERATORS
from ex4d.generate.door import Generator, Progress, nobody
from ex4d.generate.flags import add_settings, listing, typed_options
from ex4d.generate.side_car import differences, read_side_car
from ex4d.settings import Value, read_settings
from ex4d.versions import ALGORITHMS
from shared_protocol.errors import BAD_INPUT, Ex4dError


@dataclass(frozen=True)
class Chosen:
    """What is to paint a shot, and how."""

    generator: Generator
    seed: int
    options: Mapping[str, Value]  # all of the generator's
    weights: Mapping[str, str]  # name → sha256
    notes: tuple[str, ...]  # for a person: what differs from the take that the options were taken from

    def request(self) -> dict[str, Any]:
        """What decides the pixels beside the conditioning, as JSON values."""
        return {
            "generator": self.generator.name,
            "seed": self.seed,
            "options": dict(self.options),
            "weights": dict(self.weights),
            "algorithms": ALGORITHMS["generate"],
        }


class _ListOptions(argparse.Action):
    """Prints a generator's options, and ends the command."""

    def __call__(self, parser: argparse.ArgumentParser, arguments: argparse.Namespace, name: Any, *_: Any) -> None:
        if name not in GENERATORS:
            parser.error(f"there is no generator called '{name}'; choose one of: {', '.join(GENERATORS)}")
        sys.stdout.write(listing(GENERATORS[name]) + "\n")
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the flags that choose a generator and its options; `seed` is the caller's, with no default."""
    parser.add_argument("--generator", help=f"see `ex4d doctor` (default: {default})")
    parser.add_argument(
        "--options_from",
        type=Path,
        metavar="FILE",
        help="take generator, seed and options of an earlier take from its take.json; what is typed as well wins",
    )
    parser.add_argument("--list_options", action=_ListOptions, metavar="GENERATOR", help="its options, and end")
    add_settings(parser, GENERATORS)
    parser.set_defaults(default_generator=default)


def chosen(arguments: argparse.Namespace, progress: Progress = nobody) -> Chosen:
    """What `arguments` choose.

    Raises:
        Ex4dError: UNAVAILABLE or BAD_INPUT for the generator, BAD_INPUT for an option, NOT_FOUND or BAD_INPUT for the
            side-car.
    """
    earlier = None if arguments.options_from is None else read_side_car(arguments.options_from)
    name = arguments.generator or (earlier.generator if earlier else arguments.default_generator)
    if earlier is not None and name != earlier.generator:
        raise Ex4dError(
            BAD_INPUT,
            f"The take of {earlier.file} is by the generator '{earlier.generator}', not by '{name}'.",
            "Leave out --generator, or --options_from.",
        )
    generator = named(GENERATORS, name, "generator")
    typed = typed_options(arguments, generator.settings)
    options = read_settings(generator.settings, {**(earlier.options if earlier else {}), **typed}, name)
    number = arguments.seed if arguments.seed is not None else earlier.seed if earlier else 0
    weights = generator.identity(options, progress)
    notes = differences(earlier, weights) if earlier else []
    return Chosen(generator, number, options, weights, tuple(notes))
