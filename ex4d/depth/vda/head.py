# SPDX-License-Identifier: Apache-2.0
"""From what the image network saw to depth: four levels of fineness that come together, coarse to fine.

The layers and their order are those of the published network, and so are the attributes' names, under which its weights
are stored. The design is that of dense prediction transformers (Ranftl et al., "Vision Transformers for Dense
Prediction", 2021), with four modules over time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from ex4d.depth.vda.architecture import Architecture
from ex4d.depth.vda.memory import FRAMES_AT_ONCE
from ex4d.depth.vda.over_time import OverTime

Grid = tuple[int, int]  # patches down and across

_FINE = 32  # channels of the last convolution but one


class _Residual(nn.Module):
    """Two convolutions beside the way straight through."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        changed: Tensor = self.conv2(relu(self.conv1(relu(maps))))
        return maps + changed


class _Fusion(nn.Module):
    """Adds a finer level to what the coarser ones came to, and goes on at the size of the next."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resConfUnit1 = _Residual(channels)  # the coarsest level has nothing to add, and its weights all the same
        self.resConfUnit2 = _Residual(channels)
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Tensor, finer: Tensor | None, size: Grid) -> Tensor:
        if finer is not None:
            maps = maps + self.resConfUnit1(finer)
        fused: Tensor = self.out_conv(interpolate(self.resConfUnit2(maps), size, mode="bilinear", align_corners=True))
        return fused


class _Scratch(nn.Module):
    """What follows the levels."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        features = architecture.features
        first, second, third, fourth = architecture.channels
        self.layer1_rn, self.layer2_rn = _to_features(first, features), _to_features(second, features)
        self.layer3_rn, self.layer4_rn = _to_features(third, features), _to_features(fourth, features)
        self.refinenet1, self.refinenet2 = _Fusion(features), _Fusion(features)
        self.refinenet3, self.refinenet4 = _Fusion(features), _Fusion(features)
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, _FINE, 3, padding=1), nn.ReLU(), nn.Conv2d(_FINE, 1, 1), nn.ReLU()
        )


def _to_features(channels: int, features: int) -> nn.Conv2d:
    return nn.Conv2d(channels, features, 3, padding=1, bias=False)


class DepthHead(nn.Module):
    """Depth of the frames of a window.

    Only the two coarser levels are mixed over time, so it works in two steps: `mix` for all frames, then `finish`,
    which takes most of the memory, for a few at a time. The numbers are the same.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Layers with unset weights."""
        super().__init__()
        first, second, third, fourth = architecture.channels
        features, frames = architecture.features, architecture.frames
        self.patch = architecture.patch
        self.projects = nn.ModuleList(nn.Conv2d(architecture.width, each, 1) for each in architecture.channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            )
        )
        self.motion_modules = nn.ModuleList(OverTime(each, frames) for each in (third, fourth, features, features))
        self.scratch = _Scratch(architecture)

    def mix(self, third: list[Tensor], fourth: list[Tensor], grid: Grid) -> Tensor:
        """The two coarser levels of all frames of a window, mixed over time.

        Args:
            third, fourth: for each frame [patches, width] of the last two of the four blocks.
            grid: of the patches.

        Returns:
            [T, features, 2 rows, 2 columns].
        """
        scratch, over_time = self.scratch, self.motion_modules
        fine = over_time[0](_by_frames(lambda few: self._level(2, few, grid), third))
        coarse = over_time[1](_by_frames(lambda few: self._level(3, few, grid), fourth))
        path = over_time[2](
            _by_frames(lambda few: scratch.refinenet4(scratch.layer4_rn(few), None, grid), list(coarse))
        )
        double = (2 * grid[0], 2 * grid[1])
        pairs = zip(torch.split(path, FRAMES_AT_ONCE), torch.split(fine, FRAMES_AT_ONCE), strict=True)
        mixed: Tensor = over_time[3](
            torch.cat([scratch.refinenet3(rough, scratch.layer3_rn(few), double) for rough, few in pairs])
        )
        return mixed

    def finish(self, first: Tensor, second: Tensor, mixed: Tensor, grid: Grid) -> Tensor:
        """Depth of some frames.

        Args:
            first, second: [n, patches, width] of the first two of the four blocks.
            mixed: [n, features, 2 rows, 2 columns] of `mix`.
            grid: of the patches.

        Returns:
            [n, height, width] float32, at the size of the network's pictures, >= 0.
        """
        rows, columns = grid
        scratch = self.scratch
        path = scratch.refinenet2(mixed, scratch.layer2_rn(self._level(1, second, grid)), (4 * rows, 4 * columns))
        path = scratch.refinenet1(path, scratch.layer1_rn(self._level(0, first, grid)), (8 * rows, 8 * columns))
        path = scratch.output_conv1(path)
        path = interpolate(path, (self.patch * rows, self.patch * columns), mode="bilinear", align_corners=True)
        with torch.autocast(path.device.type, enabled=False):  # depth has more steps than half precision
            depth: Tensor = scratch.output_conv2(path.float())
        return depth[:, 0]

    def _level(self, level: int, tokens: Tensor, grid: Grid) -> Tensor:
        """[n, patches, width] as a map of a level, [n, channels, h, w]."""
        maps = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
        level_map: Tensor = self.resize_layers[level](self.projects[level](maps))
        return level_map


def _by_frames(work: Callable[[Tensor], Tensor], frames: list[Tensor]) -> Tensor:
    """What `work` makes of all frames, a few at a time."""
    few = range(0, len(frames), FRAMES_AT_ONCE)
    return torch.cat([work(torch.stack(frames[start : start + FRAMES_AT_ONCE])) for start in few])
