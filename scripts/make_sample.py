# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the sample clip with its z-depth, in Blender: a courtyard that a ball rolls through.

    .venv-blender/bin/python scripts/make_sample.py --out samples
    blender -b --python scripts/make_sample.py -- --out samples

Writes courtyard.mp4 (H.264), courtyard_depth.npz (key `depth`, [T, H, W] metres along the optical axis) and
courtyard.json (size, frame rate, focal length in pixels). Same numbers in, same scene out; the grain of the
pictures is drawn on top of the denoised render, as film or a sensor would have it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _sample_scene


def _arguments() -> argparse.Namespace:
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    parser.add_argument("--size", default="480x270", help="WIDTHxHEIGHT, even numbers")
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--samples", type=int, default=20, help="Cycles samples a pixel, before denoising")
    parser.add_argument("--grain", type=float, default=2.2, help="standard deviation of the grain, in 1/255")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", type=int, nargs="*", help="render just these frames, as PNG files, to have a look")
    return parser.parse_args(words)


def _prepare(width: int, height: int, fps: int, frames: int) -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.max_bounces = 3
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.use_adaptive_sampling = False
    scene.render.use_persistent_data = True
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    scene.render.fps = fps
    scene.frame_start, scene.frame_end = 1, frames
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    return scene


def _render_picture(scene: bpy.types.Scene, path: Path, samples: int, seed: int) -> None:
    """One denoised picture, PNG. The same seed in every frame keeps what the denoiser makes of still parts still."""
    scene.cycles.samples, scene.cycles.seed = samples, seed
    scene.cycles.use_denoising = True
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.compression = 15
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def _read(path: Path) -> np.ndarray:
    """The pixels of an image file as they are stored, [H, W, 4] float32, rows from the top."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)[::-1]


def _add_grain(path: Path, strength: float, seed: int) -> None:
    """Draws grain over a PNG file: each frame its own, strongest in the mid tones, the same for red, green and blue."""
    pixels = _read(path).copy()
    height, width = pixels.shape[:2]
    luma = pixels[..., :3] @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    grain = np.random.default_rng(seed).normal(0.0, strength / 255.0, (height, width)).astype(np.float32)
    grain *= 0.5 + 2.0 * luma * (1.0 - luma)
    pixels[..., :3] = np.clip(pixels[..., :3] + grain[..., None], 0.0, 1.0)
    image = bpy.data.images.new("grain", width, height)
    image.colorspace_settings.name = "Non-Color"
    image.pixels.foreach_set(pixels[::-1].ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)


def _render_depth(scene: bpy.types.Scene, path: Path) -> np.ndarray:
    """z of the surface at each pixel's centre, [H, W] float32: one sample, and a filter too narrow to move it.

    The compositor writes it as a one-layer EXR, since Blender cannot read the layers of a file back as pixels.
    """
    layer = scene.view_layers[0]
    layer.use_pass_z = True
    scene.cycles.samples, scene.cycles.seed = 1, 0
    scene.cycles.use_denoising = False
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.filter_width = 0.01
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    source = tree.nodes.new("CompositorNodeRLayers")
    sink = tree.nodes.new("CompositorNodeOutputFile")
    sink.base_path = str(path.parent)
    sink.format.file_format = "OPEN_EXR"
    sink.format.color_depth = "32"
    sink.file_slots[0].path = f"{path.stem}_#"
    tree.links.new(source.outputs["Depth"], sink.inputs[0])
    bpy.ops.render.render(write_still=False)
    scene.use_nodes = False
    layer.use_pass_z = False
    (written,) = path.parent.glob(f"{path.stem}_*.exr")
    z = _read(written)[..., 0].copy()
    written.unlink()
    return z


def _encode(scene: bpy.types.Scene, pictures: Path, frames: int, path: Path) -> None:
    """Pictures to H.264 through Blender's sequencer, so that nothing else need be installed."""
    film = bpy.data.scenes.new("film")
    film.render.resolution_x, film.render.resolution_y = scene.render.resolution_x, scene.render.resolution_y
    film.render.fps = scene.render.fps
    film.frame_start, film.frame_end = 1, frames
    film.view_settings.view_transform = "Standard"
    film.sequence_editor_create()
    strip = film.sequence_editor.strips.new_image("frames", str(pictures / "0001.png"), 1, 1)
    for k in range(2, frames + 1):
        strip.elements.append(f"{k:04d}.png")
    film.render.image_settings.file_format = "FFMPEG"
    film.render.ffmpeg.format = "MPEG4"
    film.render.ffmpeg.codec = "H264"
    film.render.ffmpeg.constant_rate_factor = "PERC_LOSSLESS"
    film.render.ffmpeg.ffmpeg_preset = "BEST"
    film.render.ffmpeg.audio_codec = "NONE"
    film.render.filepath = str(path)
    film.render.use_file_extension = False
    bpy.ops.render.render(animation=True, scene=film.name)


def main() -> None:
    """Renders, encodes, writes."""
    options = _arguments()
    if bpy.app.version >= (5, 0):
        sys.exit("The sample is made with Blender 4.5: later ones have another compositor.")
    width, height = (int(n) for n in options.size.split("x"))
    options.out.mkdir(parents=True, exist_ok=True)
    scene = _prepare(width, height, options.fps, options.frames)
    _sample_scene.build(options.frames, options.seed)
    focal = scene.camera.data.lens / scene.camera.data.sensor_width * width
    if options.only:
        for frame in options.only:
            scene.frame_set(frame)
            look = options.out / f"look_{frame:04d}.png"
            _render_picture(scene, look, options.samples, options.seed)
            _add_grain(look, options.grain, options.seed + frame)
        return

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        depth = np.empty((options.frames, height, width), np.float32)
        for frame in range(1, options.frames + 1):
            scene.frame_set(frame)
            _render_picture(scene, work / f"{frame:04d}.png", options.samples, options.seed)
            _add_grain(work / f"{frame:04d}.png", options.grain, options.seed + frame)
            depth[frame - 1] = _render_depth(scene, work / f"z{frame:04d}.exr")
            print(f"frame {frame} of {options.frames}", flush=True)
        _encode(scene, work, options.frames, options.out / "courtyard.mp4")
        # Time runs fastest in the file: most pixels stand still, and so the compressor sees runs of equal numbers.
        # A quarter of a millimetre is far below what the picture shows and drops bits that are only rounding.
        packed = np.asfortranarray(np.round(depth * 4096.0) / np.float32(4096.0))
        np.savez_compressed(options.out / "courtyard_depth.npz", depth=packed.astype(np.float32, order="F"))
    (options.out / "courtyard.json").write_text(
        json.dumps(
            {"width": width, "height": height, "fps": [options.fps, 1], "frames": options.frames, "focal": focal,
             "cx": width / 2, "cy": height / 2, "depth": "metres along the optical axis", "seed": options.seed,
             "samples": options.samples, "grain": options.grain, "blender": bpy.app.version_string},
            indent=1,
        ) + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the module form of Blender 4.5 may hang when Python ends
