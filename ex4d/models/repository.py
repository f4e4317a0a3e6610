# SPDX-License-Identifier: Apache-2.0
"""A folder with a Wan model: the repository for diffusers, or Wan's own files. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ex4d.models import original_configs, original_names
from ex4d.models.recognise import TITLES, Kind, recognise
from ex4d.models.weights import Rename, WeightFiles
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Ex4dError

PARTS: Mapping[Kind, tuple[str, ...]] = {
    "i2v": ("transformer", "vae", "text_encoder", "image_encoder"),
    "vace": ("transformer", "vae", "text_encoder"),
}
_DOWNLOAD = {
    "i2v": "Fetch it: ex4d models download wan-i2v-14b-480p.",
    "vace": "Fetch it: ex4d models download wan-vace-1.3b.",
}
_DIFFUSERS, _TRANSFORMERS = "diffusion_pytorch_model", "model"  # what the two libraries call a file of weights
_TOKENIZER = "tokenizer.json"
_ORIGINALS = {"vae": "Wan2.1_VAE", "text_encoder": "models_t5_*", "image_encoder": "models_clip_*"}  # and a suffix
_CLASSES = {  # by the model_type of an original config
    "t2v": "WanTransformer3DModel",
    "i2v": "WanTransformer3DModel",
    "flf2v": "WanTransformer3DModel",
    "ti2v": "WanTransformer3DModel",
    "vace": "WanVACETransformer3DModel",
}
_PICKLES = (".pth", ".pt", ".ckpt")
# For each part: what its config calls the width of what it gives, Wan's, and what the transformer's config calls it.
_WIDTHS = {
    "vae": ("z_dim", 16, "out_channels"),
    "text_encoder": ("d_model", 4096, "text_dim"),
    "image_encoder": ("hidden_size", 1280, "image_dim"),
}


@dataclass(frozen=True)
class Part:
    """One network of a model."""

    config: Mapping[str, Any]  # what its class is built from (`from_config` in diffusers, the config in transformers)
    weights: WeightFiles
    rename: Rename  # from the files' names to those of the class (for CLIP: of its `CLIPVisionTransformer`)


@dataclass(frozen=True)
class Repository:
    """A model that was found whole."""

    folder: Path
    layout: Literal["diffusers", "original"]
    kind: Kind
    title: str  # what it is, for side-cars and messages
    tokenizer: Path  # the file tokenizer.json
    parts: Mapping[str, Part]
    configs: tuple[Path, ...]

    def part(self, name: str) -> Part:
        """One of "transformer", "vae", "text_encoder" and "image_encoder"."""
        return self.parts[name]

    def files(self) -> tuple[Path, ...]:
        """All files that decide what the model computes: weights, configs, tokenizer."""
        weights = [file for part in self.parts.values() for file in part.weights.files]
        return (*weights, *self.configs, self.tokenizer)


def open_repository(folder: Path, wanted: Kind = "i2v", without: Collection[str] = ()) -> Repository:
    """Finds the parts of a Wan model and sees that they are there, whole, and of the model that is wanted.

    Args:
        folder: as `ex4d models download` or the hub's own tools write it, for diffusers or original.
        wanted: "i2v" for EX-4D, "vace" for the generator of that name.
        without: parts whose weights come from elsewhere (a GGUF file); their config is read all the same.

    Raises:
        Ex4dError: NOT_FOUND for a folder or part that is not there, UNSUPPORTED for another model, BAD_INPUT for files
            that are broken, UNAVAILABLE for original files that have to be converted first.
    """
    if not folder.is_dir():
        raise Ex4dError(NOT_FOUND, f"There is no folder {folder}.", _DOWNLOAD[wanted])
    if (folder / "model_index.json").is_file() or (folder / "transformer").is_dir():
        return _open_diffusers(folder, wanted, without)
    if (folder / "high_noise_model").is_dir():
        raise _other(folder, wanted, "a Wan2.2 model with two transformers")
    config = read_config(folder / "config.json") if (folder / "config.json").is_file() else {}
    if config.get("model_type") in _CLASSES:
        return _open_original(folder, config, wanted, without)
    text = f"{folder} is no folder of a Wan model: it has neither model_index.json nor Wan's own config.json."
    parts = (*PARTS[wanted], "high_noise_model", "low_noise_model")
    place = folder.absolute()
    give = (
        f"{place.parent}, the folder above" if place.name in parts else f"the folder that holds {TITLES[wanted]} itself"
    )
    raise Ex4dError(BAD_INPUT, text, f"Give {give}. {_DOWNLOAD[wanted]}")


def _open_diffusers(folder: Path, wanted: Kind, without: Collection[str]) -> Repository:
    index_file = folder / "model_index.json"
    index = read_config(index_file) if index_file.is_file() else {}
    second = index.get("transformer_2")
    two = (folder / "transformer_2").is_dir() or (isinstance(second, list) and second[:1] not in ([], [None]))
    title = _check(read_config(folder / "transformer" / "config.json"), folder, wanted, two)
    parts, configs = {}, []
    for name in PARTS[wanted]:
        config = folder / name / "config.json"
        base = _DIFFUSERS if name in ("transformer", "vae") else _TRANSFORMERS
        weights = WeightFiles(() if name in without else _weights(folder / name, base, wanted))
        parts[name] = Part(read_config(config), weights, _LIBRARY_NAMES.get(name, _same))
        configs.append(config)
    tokenizer = _tokenizer(folder / "tokenizer", wanted)
    _check_together(parts, folder, wanted)
    return Repository(folder, "diffusers", wanted, title, tokenizer, parts, tuple(configs))


def _open_original(folder: Path, config: Mapping[str, Any], wanted: Kind, without: Collection[str]) -> Repository:
    name = {"_class_name": _CLASSES[config["model_type"]]}
    _check({**original_configs.transformer(config, None), **name}, folder, wanted, two=False)
    pickles = [file for part in PARTS[wanted][1:] if part not in without for file in _pickles(folder, part)]
    if pickles:
        text = f"{', '.join(file.name for file in pickles)} in {folder} must be converted to safetensors once."
        commands = "; ".join(f'ex4d models convert "{file}"' for file in pickles)
        raise Ex4dError(UNAVAILABLE, text, f"Run: {commands}")
    none = WeightFiles(())
    weights = none if "transformer" in without else WeightFiles(_weights(folder, _DIFFUSERS, wanted))
    ours = {**original_configs.transformer(config, weights), **name}
    parts = {"transformer": Part(ours, weights, original_names.transformer)}
    for part in PARTS[wanted][1:]:
        weights = WeightFiles((_original(folder, part, wanted),))
        read, rename = _ORIGINAL_PARTS[part]
        parts[part] = Part(read(weights), weights, rename(weights))
    title = _check(ours, folder, wanted, two=False)
    tokenizer = _tokenizer(folder / "google" / "umt5-xxl", wanted)
    _check_together(parts, folder, wanted)
    return Repository(folder, "original", wanted, title, tokenizer, parts, (folder / "config.json",))


def _same(name: str) -> str:
    return name


def _text_name(name: str) -> str | None:
    """Of a whole UMT5 the encoder is used."""
    return None if name.startswith(("decoder.", "lm_head.")) else name


def _image_name(name: str) -> str | None:
    """Of a whole CLIP the part for pictures is used, without its last projection."""
    if name.startswith(("text_model.", "text_projection.", "visual_projection.", "logit_scale")):
        return None
    return None if name.endswith(".position_ids") else name.removeprefix("vision_model.")


_LIBRARY_NAMES: Mapping[str, Rename] = {"text_encoder": _text_name, "image_encoder": _image_name}
# For each of the original parts without a config: how it is read from the shapes, and its names.
_ORIGINAL_PARTS: Mapping[str, tuple[Callable[[WeightFiles], dict[str, Any]], Callable[[Collection[str]], Rename]]] = {
    "vae": (original_configs.vae, original_names.vae),
    "text_encoder": (original_configs.prompt_encoder, lambda _: original_names.prompt_encoder),
    "image_encoder": (original_configs.image_encoder, lambda _: original_names.image_encoder),
}


def _check(config: Mapping[str, Any], folder: Path, wanted: Kind, two: bool) -> str:
    kind, title = recognise(config, two)
    if kind != wanted:
        raise _other(folder, wanted, title)
    return title


def _check_together(parts: Mapping[str, Part], folder: Path, wanted: Kind) -> None:
    """Sees that the networks are of one model: what one gives, the transformer takes."""
    transformer = parts["transformer"].config
    for name, (given, otherwise, taken) in _WIDTHS.items():
        here = parts[name].config.get(given, otherwise) if name in parts else None
        there = transformer.get(taken, otherwise)
        if here is not None and here != there:
            text = f"The {name} in {folder} is of another model: its {given} is {here}; the transformer takes {there}."
            raise Ex4dError(BAD_INPUT, text, _DOWNLOAD[wanted])


def _other(folder: Path, wanted: Kind, title: str) -> Ex4dError:
    text = f"{folder} is {title}. {TITLES[wanted]} is wanted."
    return Ex4dError(UNSUPPORTED, text, _DOWNLOAD[wanted])


def _weights(folder: Path, base: str, wanted: Kind) -> tuple[Path, ...]:
    """The file `base`.safetensors of a folder, or the shards that its index names."""
    names = _weight_names(folder, base)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        text = f"{len(missing)} of the {len(names)} files of {folder} are missing: {', '.join(missing[:4])}."
        raise Ex4dError(NOT_FOUND, text, _DOWNLOAD[wanted])
    if not names:
        others = sorted(file.name for file in folder.glob("*") if file.suffix in (".safetensors", ".bin", *_PICKLES))
        has = f" It has {', '.join(others[:4])}, which is not read." if others else ""
        raise Ex4dError(NOT_FOUND, f"There is no {base}.safetensors in {folder}.{has}", _DOWNLOAD[wanted])
    return tuple(folder / name for name in names)


def _weight_names(folder: Path, base: str) -> list[str]:
    index = folder / f"{base}.safetensors.index.json"
    if index.is_file():
        table = read_config(index).get("weight_map")
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
            raise Ex4dError(BAD_INPUT, f"{index} names no files of weights.", "Delete it and download it again.")
        return sorted(set(table.values()))
    return [f"{base}.safetensors"] if (folder / f"{base}.safetensors").is_file() else []


def _originals(folder: Path, part: str) -> list[Path]:
    return sorted(file for file in folder.glob(f"{_ORIGINALS[part]}.*") if file.suffix in (".safetensors", *_PICKLES))


def _pickles(folder: Path, part: str) -> list[Path]:
    """The file of a part, where it was not converted yet."""
    files = _originals(folder, part)
    return [] if any(file.suffix == ".safetensors" for file in files) else files[:1]


def _original(folder: Path, part: str, wanted: Kind) -> Path:
    files = [file for file in _originals(folder, part) if file.suffix == ".safetensors"]
    if len(files) != 1:
        found = f"There are {', '.join(file.name for file in files)}" if files else f"There is no {_ORIGINALS[part]}"
        hint = "Keep one of them." if files else _DOWNLOAD[wanted]
        raise Ex4dError(BAD_INPUT if files else NOT_FOUND, f"{found} in {folder}.", hint)
    return files[0]


def _tokenizer(folder: Path, wanted: Kind) -> Path:
    if not (folder / _TOKENIZER).is_file():
        raise Ex4dError(NOT_FOUND, f"There is no {_TOKENIZER} in {folder}.", _DOWNLOAD[wanted])
    return folder / _TOKENIZER


def read_config(file: Path) -> dict[str, Any]:
    """What a config.json holds. Raises Ex4dError: NOT_FOUND, or BAD_INPUT for what is no config."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {file}.", "Download the model again.") from error
    except (OSError, ValueError) as error:
        raise Ex4dError(BAD_INPUT, f"{file} cannot be read: {error}.", "Download it again.") from error
    if not isinstance(value, dict):
        raise Ex4dError(BAD_INPUT, f"{file} is no config: it holds a {type(value).__name__}.", "Download it again.")
    return value
