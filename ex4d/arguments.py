# SPDX-License-Identifier: Apache-2.0
"""How the commands read numbers, and say what is wrong with one."""

from __future__ import annotations

import argparse
from typing import Final

LARGEST_SEED: Final = (1 << 32) - 1  # that every generator of random numbers in use takes


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 on")
    return int(text)


def at_least_one(text: str) -> int:
    """A whole number from 1 on."""
    value = whole(text)
    if not value:
        raise argparse.ArgumentTypeError("0 frames make no shot; leave it out for all of them")
    return value


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from error


def seed(text: str) -> int:
    """A whole number from 0 to `LARGEST_SEED`."""
    value = whole(text)
    if value > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"'{text}' is too large for a seed: 0 to {LARGEST_SEED}")
    return value
