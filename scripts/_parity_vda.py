# SPDX-License-Identifier: Apache-2.0
"""Parity of Video-Depth-Anything with its public code, on small random weights.

The network is built and filled as a released file is; heads and blocks, which no shape tells, come from the file of
facts. Frame counts, sizes, grids and windows are read from the files.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from _parity_book import Book, Item
from _parity_files import Array
from _parity_networks import tensor
from torch import Tensor

from ex4d.depth.vda.architecture import FRAMES, Architecture, read_architecture
from ex4d.depth.vda.model import Tokens, VideoDepthNetwork, load_network
from ex4d.depth.vda.names import IMAGE, image_names
from ex4d.depth.vda.picture import network_picture, network_size
from ex4d.depth.vda.stream import WindowRunner, clip_depth
from ex4d.depth.vda.windows import Join, plan_windows
from ex4d.models.weights import WeightFiles

GOLDENS, WEIGHTS = "video_depth_anything_goldens.safetensors", "video_depth_anything_weights.safetensors"
META = "video_depth_anything_meta.json"
TOLERANCE = 1e-4
METRIC_EVERY = 4  # pixels both ways that are kept of depth in metres


def check_numbers(book: Book, file: str) -> None:
    """Everything that has numbers."""
    _check_image_network(book, file)
    _check_head(book, file)
    with book.item(file, "whole network") as item:
        network = _network(item, book)
        pictures = tensor(item, "model.input")
        item.compare("model.depth", _depth(network, network.look(pictures[0]), pictures.shape[-2:])[None], TOLERANCE)
    for index in _found(book, file, r"preprocess\.(\d+)\.input"):
        with book.item(file, f"preprocessing {index}") as item:
            frame, about = item.input(f"preprocess.{index}.frame"), _facts(book)[f"preprocess.{index}"]
            size = network_size(*frame.shape[:2], about["input_size"], _architecture(book).patch)
            item.compare(f"preprocess.{index}.input", network_picture(frame, *size), TOLERANCE)
    for count in _found(book, file, r"align\.(\d+)\.raw"):
        _check_windows(book, file, int(count))
    for clip in _found(book, file, r"(clip\w+)\.frames"):
        _check_clip(book, file, clip)


def check_names(book: Book, file: str) -> None:
    """Names of the image network's weights in transformers."""
    with book.item(file, "names") as item:
        expected = _json(book, file)["map"]
        ours = {name: image_names(name.removeprefix(IMAGE)) for name in expected}
        item.compare_entries(expected, {name: list(n) if isinstance(n, tuple) else n for name, n in ours.items()})


def check_facts(book: Book, file: str) -> None:
    """Sizes of pictures, of what goes on in the head, and of the network."""
    with book.item(file, "sizes") as item:
        expected, found = _json(book, file), _architecture(book)
        got: dict[str, Any] = {}
        for name, about in expected.items():
            if name == "config":
                got[name] = about | {
                    "embed": found.width,
                    "depth": found.depth,
                    "features": found.features,
                    "out": list(found.channels),
                    "heads": found.heads,
                    "layers": list(found.blocks),
                }
            elif name == "resize_table":
                got[name] = [_resized(found, *row[:3]) for row in about]
            elif name == "head_shapes":
                inside = _inside(item, book, GOLDENS)
                got[name] = {part: list(inside[part].shape) for part in about}
            elif name.startswith("preprocess."):
                frame = book.shape(GOLDENS, f"{name}.frame")
                got[name] = about | {"net": [3, *network_size(*frame[:2], about["input_size"], found.patch)]}
            else:
                got[name] = _clip_facts(item, book, name, about["size"])
        item.compare_entries(expected, got)


def _check_image_network(book: Book, file: str) -> None:
    with book.item(file, "image network") as item:
        network = _network(item, book)
        pictures = tensor(item, "backbone.input")
        with torch.no_grad():
            item.compare("backbone.tokens_in", network.image.embeddings(pictures).numpy(), TOLERANCE)
            levels = network.image.tokens(pictures)
        for index, level in enumerate(levels):
            item.compare(f"backbone.cls_token.{index}", level[:, 0].numpy(), TOLERANCE)
        for index, level in enumerate(zip(*network.look(pictures), strict=True)):
            item.compare(f"backbone.patch_tokens.{index}", torch.stack(level).numpy(), TOLERANCE)
    for grid in _found(book, file, r"backbone\.pos_embed\.(\d+x\d+)"):
        with book.item(file, f"positions of {grid} patches") as item:
            network, name = _network(item, book), f"backbone.pos_embed.{grid}"
            rows, columns = (int(side) * network.architecture.patch for side in grid.split("x"))
            with torch.no_grad():
                table = network.image.embeddings.interpolate_pos_encoding(torch.empty(0), rows, columns)
            item.compare(name, table[..., : book.shape(file, name)[-1]].numpy(), TOLERANCE)


def _check_head(book: Book, file: str) -> None:
    with book.item(file, "head") as item:
        inside = _inside(item, book, file)
        item.compare("head.out", inside["out"].numpy(), TOLERANCE)
        for name in book.names(file):
            if found := re.fullmatch(r"head\.(motion\d+_in|motion\d+_out|refinenet\d+)(?:_first(\d+)ch)?", name):
                channels = int(found[2]) if found[2] else None
                item.compare(name, inside[found[1]][:, :channels].numpy(), TOLERANCE)
    for count in _found(book, file, r"head\.out_T(\d+)"):
        with book.item(file, f"head, {count} frames") as item:
            network, tokens, size = _given(item, book, file)
            item.compare(f"head.out_T{count}", _depth(network, tokens[: int(count)], size)[:, None], TOLERANCE)


def _check_windows(book: Book, file: str, count: int) -> None:
    """Windows of depth that is there already."""
    windows, name = plan_windows(count), f"align.{count}"
    with book.item(file, f"windows of {count} frames") as item:
        raw = item.input(f"{name}.raw")
        item.compare(f"{name}.slots", np.array([window.frames for window in windows]))
        for suffix, metric in (("out", False), ("out_metric", True)):
            join, frames = Join(count, metric=metric, published=True), []
            for window, depth in zip(windows, raw, strict=True):
                frames += join.add(window, lambda slots, depth=depth: depth[list(slots)], last=window is windows[-1])
            item.compare(f"{name}.{suffix}", np.stack(frames), TOLERANCE)
            if not metric:
                item.compare(f"{name}.scale_shift", np.array(join.fits).reshape(-1, 2), TOLERANCE)


def _check_clip(book: Book, file: str, clip: str) -> None:
    """Frames to depth, through everything."""
    with book.item(file, clip) as item:
        network, frames = _network(item, book), item.input(f"{clip}.frames")
        size, count = _facts(book)[clip]["size"], len(frames)
        for name in book.names(file):
            if found := re.fullmatch(rf"{clip}\.raw_net_sub(\d+)", name):
                runner, every = WindowRunner(network, frames, size), int(found[1])
                raw = [_raw(runner, window)[:, ::every, ::every] for window in plan_windows(count)]
                item.compare(name, np.stack(raw), TOLERANCE)
        join = Join(count, metric=False, published=True)
        depth = np.stack(list(clip_depth(WindowRunner(network, frames, size), join, count, every=True)))
        item.compare(f"{clip}.depth", depth, TOLERANCE)
        item.compare(f"{clip}.scale_shift", np.array(join.fits).reshape(-1, 2), TOLERANCE)
        join = Join(count, metric=True)
        metric = np.stack(list(clip_depth(WindowRunner(network, frames, size), join, count)))
        item.compare(f"{clip}.depth_metric_sub", metric[:, ::METRIC_EVERY, ::METRIC_EVERY], TOLERANCE)


def _network(item: Item, book: Book) -> VideoDepthNetwork:
    """The reference network, all of whose weights what follows depends on."""
    for name in book.names(WEIGHTS):
        item.input(name, WEIGHTS)
    return load_network(WeightFiles([book.folder / WEIGHTS]), _architecture(book))


def _architecture(book: Book) -> Architecture:
    config = _facts(book)["config"]
    weights = WeightFiles([book.folder / WEIGHTS])
    return read_architecture(weights, heads=config["heads"], blocks=tuple(config["layers"]))


def _depth(network: VideoDepthNetwork, tokens: list[Tokens], size: tuple[int, ...]) -> Array:
    """[T, height, width] of what the image network said."""
    grid = (size[0] // network.architecture.patch, size[1] // network.architecture.patch)
    return network.depth(tokens, network.mix(tokens, grid), grid).numpy()


def _given(item: Item, book: Book, file: str) -> tuple[VideoDepthNetwork, list[Tokens], tuple[int, ...]]:
    """The network, what the head is given, and how large the depth is that comes of it."""
    levels = [tensor(item, f"head.patch_tokens.{index}", file) for index in range(4)]
    frames = list(zip(*levels, strict=True))
    return _network(item, book), frames, book.shape(file, "head.out")[-2:]


def _inside(item: Item, book: Book, file: str) -> dict[str, Tensor]:
    """What goes into and comes out of the head's parts, by the names that the reference has for it."""
    network, tokens, size = _given(item, book, file)
    kept: dict[str, list[Tensor]] = defaultdict(list)
    for index, module in enumerate(network.head.motion_modules):
        module.register_forward_pre_hook(lambda _module, given, name=f"motion{index}_in": kept[name].append(given[0]))
        module.register_forward_hook(lambda _module, _given, out, name=f"motion{index}_out": kept[name].append(out))
    for level in range(1, 5):
        module = getattr(network.head.scratch, f"refinenet{level}")
        module.register_forward_hook(lambda _module, _given, out, name=f"refinenet{level}": kept[name].append(out))
    depth = _depth(network, tokens, size)
    whole = {name: torch.cat(parts) for name, parts in kept.items()}  # some parts get a few frames at a time
    over_time = {name: maps.transpose(0, 1)[None] for name, maps in whole.items() if name.startswith("motion")}
    return whole | over_time | {"out": torch.from_numpy(depth)[:, None]}


def _raw(runner: WindowRunner, window: Any) -> Array:
    """[32, h, w] of a window, as the network gives it."""
    runner.enter(window)
    return torch.stack(list(runner.raw(range(FRAMES)))).numpy()


def _resized(found: Architecture, height: int, width: int, input_size: int) -> list[int]:
    """A row of the table of sizes."""
    size = network_size(height, width, input_size, found.patch)
    return [height, width, input_size, min(size), *size]


def _clip_facts(item: Item, book: Book, clip: str, size: int) -> dict[str, Any]:
    """What our code makes of a clip."""
    frames = item.input(f"{clip}.frames", GOLDENS)
    runner = WindowRunner(_network(item, book), frames, size)
    windows = plan_windows(len(frames))
    depth = next(clip_depth(runner, Join(len(frames), metric=False), len(frames)))
    return {
        "n": len(frames),
        "h": depth.shape[0],
        "w": depth.shape[1],
        "size": size,
        "net": list(runner.size),
        "windows": len(windows),
        "dtype": str(depth.dtype),
    }


def _found(book: Book, file: str, pattern: str) -> list[str]:
    """What stands in the brackets of a pattern, in the names that match it."""
    return [found[1] for name in book.names(file) if (found := re.fullmatch(pattern, name))]


def _facts(book: Book) -> dict[str, Any]:
    return _json(book, META)


def _json(book: Book, file: str) -> dict[str, Any]:
    if file not in book.files:
        raise KeyError(file)
    value: dict[str, Any] = json.loads((book.folder / file).read_text(encoding="utf-8"))
    return value
