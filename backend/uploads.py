# SPDX-License-Identifier: Apache-2.0
"""Uploads whose last byte is here: the hash of a whole file takes seconds, so another thread checks it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shared_protocol import messages as m
from shared_protocol.errors import INTERNAL, Ex4dError

from .store import Assets

Answer = Callable[[m.AssetState | Ex4dError], None]


class Uploads:
    """Takes assets in. Used from the server's thread.

    Args:
        assets: where they lie.
        call: brings a function from another thread into the server's.
    """

    def __init__(self, assets: Assets, call: Callable[[Callable[[], None]], None]) -> None:
        self._assets, self._call = assets, call
        self._checker = ThreadPoolExecutor(1, "hash")
        self._waiting: dict[str, list[Answer]] = {}  # sha256 of what is being checked -> who waits

    def query(self, asset: m.Asset, answer: Answer) -> None:
        """Answers how much is here, at once or when the hash of a full upload was checked."""
        here = asset.size if asset.sha256 in self._waiting else self._assets.received(asset)
        self._settle(asset, here, answer)

    def chunk(self, asset: m.Asset, offset: int, data: bytes, answer: Answer) -> None:
        """Takes bytes in and answers like `query`."""
        if asset.sha256 in self._waiting:
            here = asset.size
        else:
            here = self._assets.append(asset, offset, data)
        self._settle(asset, here, answer)

    def _settle(self, asset: m.Asset, here: int, answer: Answer) -> None:
        if here < asset.size or self._assets.whole(asset):
            answer(m.AssetState(asset.sha256, here))
            return
        waiting = self._waiting.setdefault(asset.sha256, [])
        waiting.append(answer)
        if len(waiting) == 1:
            self._checker.submit(self._check, asset)

    def _check(self, asset: m.Asset) -> None:
        result: m.AssetState | Ex4dError = Ex4dError(INTERNAL, f"'{asset.name}' could not be checked.")
        try:
            self._assets.finish(asset)
            result = m.AssetState(asset.sha256, asset.size)
        except Ex4dError as exc:
            result = exc
        finally:
            self._call(lambda: self._done(asset.sha256, result))

    def _done(self, sha256: str, result: m.AssetState | Ex4dError) -> None:
        for answer in self._waiting.pop(sha256, []):
            answer(result)

    def close(self) -> None:
        """Waits for the check that is under way."""
        self._checker.shutdown(wait=True, cancel_futures=True)
