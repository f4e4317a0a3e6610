# SPDX-License-Identifier: Apache-2.0
"""A clip's depth, frame by frame: what is in memory does not grow with the clip's length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ex4d.depth.vda.memory import FRAMES_AT_ONCE
from ex4d.depth.vda.model import Tokens, VideoDepthNetwork
from ex4d.depth.vda.picture import network_picture, network_size
from ex4d.depth.vda.windows import Join, Window, plan_windows
from ex4d.values import F32, U8


class WindowRunner:
    """Runs the network over the windows of one clip. Every frame is read once, and seen by the image network once."""

    def __init__(
        self, network: VideoDepthNetwork, frames: U8, input_size: int, step: Callable[[int], None] = lambda _: None
    ) -> None:
        """Nothing is read yet.

        Args:
            network: that runs.
            frames: [T, H, W, 3] sRGB, may lie on the disk.
            input_size: see `network_size`.
            step: called often, with how many more frames the image network has seen; it may raise.
        """
        self._network, self._frames, self._step = network, frames, step
        patch = network.architecture.patch
        self.frame_size = (int(frames.shape[1]), int(frames.shape[2]))
        self.size = network_size(*self.frame_size, input_size, patch)
        self._grid = (self.size[0] // patch, self.size[1] // patch)
        self._device = next(network.parameters()).device
        self._seen: dict[int, Tokens] = {}  # by frame
        self._slots: list[Tokens] = []  # of the window
        self._mixed: Tensor | None = None

    def enter(self, window: Window) -> None:
        """Looks at what is new in a window, and lets go of what is not in it."""
        self._mixed, self._slots = None, []
        self._seen = {index: tokens for index, tokens in self._seen.items() if index in window.frames}
        new = sorted(set(window.frames) - self._seen.keys())
        for start in range(0, len(new), FRAMES_AT_ONCE):
            few = new[start : start + FRAMES_AT_ONCE]
            pictures = [torch.from_numpy(network_picture(self._frames[index], *self.size)) for index in few]
            self._seen |= zip(few, self._network.look(torch.stack(pictures).to(self._device)), strict=True)
            self._step(len(few))
        self._slots = [self._seen[index] for index in window.frames]
        self._mixed = self._network.mix(self._slots, self._grid)
        self._step(0)

    def raw(self, slots: Sequence[int]) -> Iterator[Tensor]:
        """Depth of these slots of the window, each [h, w] float32 as large as the network's pictures."""
        if self._mixed is None:
            return
        for start in range(0, len(slots), FRAMES_AT_ONCE):
            few = list(slots[start : start + FRAMES_AT_ONCE])
            yield from self._network.depth([self._slots[slot] for slot in few], self._mixed[few], self._grid)
            self._step(0)

    def depth(self, slots: Sequence[int]) -> Iterator[F32]:
        """Depth of these slots of the window, each [H, W] as large as the clip's frames."""
        for values in self.raw(slots):
            sized = interpolate(values[None, None], self.frame_size, mode="bilinear", align_corners=True)
            yield sized[0, 0].cpu().numpy()


def clip_depth(runner: WindowRunner, join: Join, count: int, *, every: bool = False) -> Iterator[F32]:
    """Depth of every frame of a clip, in order, each as soon as no later window touches it.

    Args:
        runner: of the clip.
        join: for as many frames.
        count: of frames.
        every: see `plan_windows`.

    Returns:
        [H, W] float32 for each frame.
    """
    windows = plan_windows(count, every=every)
    for window in windows:
        runner.enter(window)
        yield from join.add(window, runner.depth, last=window is windows[-1])
