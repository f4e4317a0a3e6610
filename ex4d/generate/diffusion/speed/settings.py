# SPDX-License-Identifier: Apache-2.0
"""The options of speed, and what they come to. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ex4d.settings import Setting, Value
from shared_protocol.errors import BAD_INPUT, Ex4dError

# Attention that can be asked for by name, and what diffusers calls it.
ATTENTION: Final[Mapping[str, str]] = {
    "exact": "native",
    "math": "_native_math",
    "cudnn": "_native_cudnn",
    "flash": "flash",
    "flash3": "_flash_3",
    "flash_hub": "flash_hub",
    "flash3_hub": "_flash_3_hub",
    "sage": "sage",
    "sage_hub": "sage_hub",
    "xformers": "xformers",
}
FEW_STEPS: Final = 8  # with so few steps, one is too unlike the next to be guessed from it

# What switches change in the final latents, as a share of their size (root mean squares): `benchmarks/switches.py` with
# its defaults, on a tiny model with random weights in float32. It tells rounding from leaving out, and no more.
DEVIATIONS: Final[Mapping[str, str]] = {
    "compile": "rounding: 3e-7",
    "attention": "rounding: 3e-7; sage rounds to 8 bits besides",
    "batched_cfg": "rounding: 3e-7",
    "fuse_loras": "rounding of the weights to their type: 3e-7 in float32",
    "first-block": "steps left out: 1e-2 with 47 % of the blocks computed",
    "taylor": "steps left out: 3e-2 with 48 % of the blocks computed",
    "distilled": "another model: 4 steps of its own",
}

_AS_SPEED_SAYS: Final = "preset"
_SETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "exact": {},
    "fast": {"compile": True, "attention": "auto", "cache": "auto"},
    "distilled": {"attention": "auto", "distilled": True},
}
_SWITCH: Final = (_AS_SPEED_SAYS, "off", "on")
_GROUP: Final = "Speed"

SPEED_SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "speed",
        "exact",
        "exact: nothing is traded for time; fast: compiled, the best attention there is, and a cache; distilled: 4 "
        "steps without guidance, by a LoRA made for it. Each switch below can be set by itself.",
        choices=tuple(_SETS),
        group=_GROUP,
    ),
    Setting(
        "compile", _AS_SPEED_SAYS, "Compile the blocks: slower first step, then quicker.", choices=_SWITCH, group=_GROUP
    ),
    Setting(
        "attention",
        _AS_SPEED_SAYS,
        "How attention is computed; auto takes the quickest there is that does not round more coarsely (not sage).",
        choices=(_AS_SPEED_SAYS, "auto", *ATTENTION),
        group=_GROUP,
    ),
    Setting(
        "cache",
        _AS_SPEED_SAYS,
        "Leave out steps that can be guessed: first-block goes by how much the first block's answer changes, taylor "
        "leaves out steps in between and follows the trend. Not with 8 steps or fewer.",
        choices=(_AS_SPEED_SAYS, "none", "auto", "first-block", "taylor"),
        group=_GROUP,
    ),
    Setting(
        "cache_threshold",
        0.08,
        "first-block: relative change below which a step is left out. More is quicker and less exact.",
        least=0,
        most=1,
        group=_GROUP,
    ),
    Setting("cache_interval", 3, "taylor: one step in so many is computed.", least=2, most=10, group=_GROUP),
    Setting(
        "fuse_loras",
        _AS_SPEED_SAYS,
        "Work the LoRAs into the weights once for all.",
        label="Fuse LoRAs",
        choices=_SWITCH,
        group=_GROUP,
    ),
    Setting(
        "batched_cfg",
        _AS_SPEED_SAYS,
        "Run positive and negative prompt in one pass, which needs more memory.",
        label="Batched CFG",
        choices=_SWITCH,
        group=_GROUP,
    ),
    Setting(
        "distilled",
        _AS_SPEED_SAYS,
        "4 steps without guidance, by the step-distilled LoRA. Steps, cfg and shift are that LoRA's.",
        choices=_SWITCH,
        group=_GROUP,
    ),
    Setting(
        "loras",
        "",
        "LoRAs beside the generator's own: files with strengths, as 'grain.safetensors:0.8, other.safetensors'.",
        label="LoRAs",
        group=_GROUP,
    ),
    Setting("gpus", 1, "GPUs that share each step.", label="GPUs", least=1, most=16, group=_GROUP),
)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA that was asked for."""

    file: Path
    strength: float


@dataclass(frozen=True)
class Speed:
    """The switches, resolved: what the named set says, with what was set by itself in its place."""

    compile: bool = False
    attention: str = "exact"  # a key of `ATTENTION`, or "auto"
    cache: str = "none"  # "none", "auto", "first-block" or "taylor"
    cache_threshold: float = 0.08
    cache_interval: int = 3
    fuse_loras: bool = False
    batched_cfg: bool = False
    distilled: bool = False
    loras: tuple[LoraFile, ...] = ()
    gpus: int = 1

    def remembers(self, steps: int) -> bool:
        """Whether a step uses what earlier ones of its window computed: such a window has to be run from its start."""
        return self.cache != "none" and steps > FEW_STEPS

    def record(self) -> dict[str, Any]:
        """All of it in JSON values."""
        files = [{"file": str(lora.file), "strength": lora.strength} for lora in self.loras]
        return asdict(self) | {"loras": files}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Speed:
        """What `record` gave."""
        files = tuple(LoraFile(Path(lora["file"]), lora["strength"]) for lora in record["loras"])
        return cls(**{**record, "loras": files})


def read_speed(values: Mapping[str, Value]) -> Speed:
    """The switches from a generator's settings; those that are not of speed are passed over.

    Args:
        values: of `read_settings`: all of `SPEED_SETTINGS` among them.

    Raises:
        Ex4dError: BAD_INPUT for LoRAs that cannot be read, or for a cache that cannot be shared by GPUs.
    """
    chosen: dict[str, Any] = dict(_SETS[str(values["speed"])])
    for name in ("compile", "attention", "cache", "fuse_loras", "batched_cfg", "distilled"):
        value = values[name]
        if value != _AS_SPEED_SAYS:
            chosen[name] = value == "on" if value in _SWITCH else value
    for name in ("cache_threshold", "cache_interval", "gpus"):
        chosen[name] = values[name]
    speed = Speed(**chosen, loras=read_loras(str(values["loras"])))
    if speed.gpus > 1 and speed.cache == "first-block":
        # Each GPU would judge by its own part of the picture, and wait for ever for one that judged otherwise.
        raise Ex4dError(
            BAD_INPUT,
            f"The cache 'first-block' cannot be shared by {speed.gpus} GPUs.",
            "Choose the cache 'taylor', or one GPU.",
        )
    return speed


def read_loras(text: str) -> tuple[LoraFile, ...]:
    """'a.safetensors:0.8, b.safetensors' → files with strengths; 1 where none is given.

    Raises:
        Ex4dError: BAD_INPUT for an entry without a file, a file that is no safetensors file, or a strength out of
            -4..4.
    """
    return tuple(_lora(entry.strip()) for entry in text.split(",")) if text.strip() else ()


def _lora(entry: str) -> LoraFile:
    hint = "Write LoRAs as 'file.safetensors:strength', separated by commas."
    name, colon, number = entry.rpartition(":")
    try:
        strength = float(number)
    except ValueError:  # no strength: the colon is a drive's, or there is none
        name, colon, strength = entry, "", 1.0
    if not colon:
        name = entry
    if not name.lower().endswith(".safetensors"):
        raise Ex4dError(BAD_INPUT, f"'{entry}' names no LoRA: those are safetensors files.", hint)
    if not -4.0 <= strength <= 4.0:
        raise Ex4dError(BAD_INPUT, f"A LoRA's strength cannot be {strength:g}.", "Give -4 to 4.")
    return LoraFile(Path(name.strip()).expanduser(), strength)
