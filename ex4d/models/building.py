# SPDX-License-Identifier: Apache-2.0
"""Making a network of its class, without weights that would be thrown away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import torch
from accelerate import init_empty_weights

from shared_protocol.errors import BAD_INPUT, Ex4dError

N = TypeVar("N")

# What leaves out a network's weights is a switch for the whole process: while one is made, no thread makes or fills
# another: parameters that it registers would lose theirs.
ALONE = Lock()


@contextmanager
def building() -> Iterator[None]:
    """For as long as a network is made, in which constructors draw numbers: not those that others count on."""
    with ALONE, torch.random.fork_rng(devices=[]):
        yield


def without_weights(name: str, build: Callable[[], N]) -> N:
    """What `build` makes, with parameters on the meta device.

    Args:
        name: of the network, for messages.
        build: calls the class of the network with what its config.json holds.

    Raises:
        Ex4dError: BAD_INPUT where that fails.
    """
    try:
        with building(), init_empty_weights():
            return build()
    except Exception as error:  # each library has classes of its own for a config, or fails somewhere inside
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        text = f"The config.json of the {name} cannot be used: {reason}."
        raise Ex4dError(BAD_INPUT, text, "Download it again.") from error
