# SPDX-License-Identifier: Apache-2.0
"""Depth that a network gave once, kept in a folder: the same clip with the same settings needs no second run of it.

What is kept is the depth as the network gave it. So the clean-up, the lens, and what it is fitted to may change, and it
is still of use.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ex4d.depth.door import DepthEstimator, DepthRequest, Progress
from ex4d.depth.raw import SKY, VALUES, Raw
from ex4d.on_disk import disk_array, streamed
from ex4d.values import Clip
from ex4d.versions import ALGORITHMS

_log = logging.getLogger(__name__)

MOST_BYTES = 16 << 30  # of all that is kept: some ten clips of 600 frames at 1024x576
SPARE_BYTES = 4 << 30  # of the disk that is left free
_FACTS = "facts.json"
_NEW = ".new-"
_PHASE = "Taking the depth from an earlier run"


class KeptDepth:
    """Depth of earlier runs. One process at a time writes to its folder.

    Args:
        folder: made when something is kept.
        most: bytes; beyond that, what was not used for the longest time is removed.
    """

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self._folder, self._most = folder, most
        for left in folder.glob(f"{_NEW}*"):  # a process was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)

    def find(self, key: str, clip: Clip, workspace: Path, progress: Progress) -> Raw | None:
        """What is kept under a key, copied to a workspace; None where there is nothing, or it is damaged.

        Raises:
            Ex4dError: DISK, and whatever `progress` raises.
        """
        place, shape = self._folder / key, clip.frames.shape[:3]
        try:
            facts = json.loads((place / _FACTS).read_text("utf-8"))
            raw = Raw(
                disk_array(workspace, VALUES, shape, np.float32),
                facts["gives"],
                disk_array(workspace, SKY, shape, np.bool_) if SKY in facts["sums"] else None,
                facts["focal"],
                None if facts["poses"] is None else np.array(facts["poses"], np.float64).reshape(-1, 4, 4),
                tuple(facts["notes"]),
            )
            for name, array in _arrays(raw).items():
                with (place / name).open("rb") as file:
                    for index, frame in enumerate(streamed(array)):
                        data = file.read(frame.nbytes)
                        if len(data) != frame.nbytes or zlib.crc32(data) != facts["sums"][name][index]:
                            raise ValueError(f"frame {index + 1} of {name} is damaged")
                        frame[:] = np.frombuffer(data, frame.dtype).reshape(frame.shape)
                        progress(_PHASE, index + 1, len(array))
            os.utime(place)  # used now
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            _log.warning("kept depth %s cannot be used: %s", key[:12], error)
            shutil.rmtree(place, ignore_errors=True)
            return None
        return raw

    def keep(self, key: str, raw: Raw) -> None:
        """Keeps what a network gave. Where the disk has no room for it, nothing is kept, and that is no error."""
        size = sum(array.nbytes for array in _arrays(raw).values())
        new = self._folder / f"{_NEW}{key}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            if size > self._most or shutil.disk_usage(self._folder).free - size < SPARE_BYTES:
                _log.info("no room to keep depth of %.1f GiB", size / 2**30)
                return
            new.mkdir()
            sums: dict[str, list[int]] = {}
            for name, array in _arrays(raw).items():
                with (new / name).open("wb") as file:
                    sums[name] = []
                    for frame in streamed(array):
                        data = np.ascontiguousarray(frame).tobytes()
                        sums[name].append(zlib.crc32(data))
                        file.write(data)
                    _to_disk(file)
            facts = {
                "gives": raw.gives,
                "focal": raw.focal,
                "poses": None if raw.poses is None else raw.poses.tolist(),
                "notes": list(raw.notes),
                "sums": sums,
            }
            with (new / _FACTS).open("w", encoding="utf-8") as text:
                json.dump(facts, text)
                _to_disk(text)
            shutil.rmtree(self._folder / key, ignore_errors=True)
            new.rename(self._folder / key)
        except OSError as error:
            _log.warning("depth could not be kept: %s", error)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _make_room(self, size: int) -> None:
        """Removes what was not used for the longest time, until there is room for so many bytes."""
        kept = []
        for place in self._folder.iterdir():
            with suppress(OSError):
                kept.append((place.stat().st_mtime_ns, sum(f.stat().st_size for f in place.iterdir()), place))
        total = sum(taken for _, taken, _ in kept)
        for _, taken, place in sorted(kept, key=lambda item: item[0]):
            if total + size <= self._most and shutil.disk_usage(self._folder).free - size >= SPARE_BYTES:
                return
            shutil.rmtree(place, ignore_errors=True)
            total -= taken


def key_of(door: DepthEstimator, request: DepthRequest, identity: Mapping[str, str]) -> str:
    """64 hex digits: the same where an estimator with weights would give the same depth.

    Args:
        door: which estimator.
        request: of what; `options` are all of its own. The clip's frames are read.
        identity: of its weights.

    Raises:
        Ex4dError: whatever `request.progress` raises.
    """
    content = hashlib.sha256()
    frames = request.clip.frames
    for index, frame in enumerate(streamed(frames)):
        content.update(np.ascontiguousarray(frame).data)
        request.progress("Looking at the clip", index + 1, len(frames))
    decides = {
        "clip": [content.hexdigest(), *frames.shape],
        "estimator": door.name,
        "options": dict(request.options),
        "focal": request.focal,
        "identity": dict(identity),
        "algorithms": ALGORITHMS["reconstruct"]["depth"],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _arrays(raw: Raw) -> dict[str, Any]:
    return {VALUES: raw.values, **({} if raw.sky is None else {SKY: raw.sky})}


def _to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
