# SPDX-License-Identifier: Apache-2.0
"""What the GPU check runs, the most important first, and how long each is expected to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ex4d.generate.diffusion.memory import PROFILES
from ex4d.generate.diffusion.speed.distilled import LIGHTX2V_I2V
from ex4d.generate.diffusion.speed.settings import Speed

SMALL, LARGE = "small", "large"
WHOLE: Final = None  # all steps, through to the frames
FEW: Final = 3  # steps: one to warm up, then those that are timed


@dataclass(frozen=True)
class Size:
    """A shot of one window."""

    frames: int
    width: int
    height: int
    steps: int  # of a job, where it is not distilled
    step_seconds: float  # expected of an exact step; known better once one was timed
    around_seconds: float  # expected of conditioning and decoding

    def __str__(self) -> str:
        return f"{self.frames} x {self.width}x{self.height}"


@dataclass(frozen=True)
class Scale:
    """A model and the shots that it paints."""

    sizes: Mapping[str, Size]
    load_seconds: float  # expected
    compile_seconds: float


# The small one is EX-4D's own; the large one has the steps of the figures that others published.
FULL: Final = Scale(
    {SMALL: Size(49, 512, 512, 25, 2.6, 8.0), LARGE: Size(81, 832, 480, 40, 9.2, 20.0)},
    load_seconds=25.0,
    compile_seconds=60.0,
)
TINY: Final = Scale(
    {SMALL: Size(5, 32, 32, 10, 0.05, 0.5), LARGE: Size(9, 48, 32, 10, 0.1, 1.0)}, load_seconds=0.5, compile_seconds=1.0
)


@dataclass(frozen=True)
class Spec:
    """One row: a loaded model, switched, paints a shot or the first steps of it."""

    name: str
    size: str
    run: int | None  # steps; or `WHOLE`
    speed: Speed = field(default_factory=Speed)
    anchor: str = ""  # among the figures of others that are shown beside it


@dataclass(frozen=True)
class Group:
    """Rows that share a loaded model."""

    name: str
    specs: Sequence[Spec]
    profile: str = "48"
    weights: str | None = None  # None: as the profile has them
    card: int | None = None  # GiB of the card that is imitated
    distilled: bool = False
    exact: bool = False  # what the others are compared with


_TUNED: Final = Speed(compile=True, attention="auto")
_FAST: Final = Speed(compile=True, attention="auto", cache="auto")


def groups(attentions: Sequence[str]) -> list[Group]:
    """All that is run.

    Args:
        attentions: ways to compute attention that work here, beside "exact".
    """
    main = [
        Spec("exact", SMALL, WHOLE, anchor="plain"),
        Spec("exact", LARGE, FEW, anchor="plain"),
        Spec("compiled, best attention", SMALL, FEW, _TUNED, "tuned"),
        # What taylor leaves out does not depend on the weights.
        Spec("cache taylor", SMALL, WHOLE, Speed(cache="taylor"), "cached"),
    ]
    distilled = [
        Spec("distilled", SMALL, WHOLE, Speed(attention="auto", distilled=True), "distilled"),
        Spec("distilled", LARGE, WHOLE, Speed(attention="auto", distilled=True), "distilled"),
    ]
    switches = [
        Spec("compiled, best attention", LARGE, FEW, _TUNED, "tuned"),
        Spec("batched_cfg", SMALL, FEW, Speed(batched_cfg=True)),
        *(Spec(f"attention {name}", SMALL, FEW, Speed(attention=name)) for name in attentions),
        Spec("cache first-block", SMALL, WHOLE, Speed(cache="first-block"), "cached"),
        Spec("fast: compiled, cached", SMALL, WHOLE, _FAST, "cached"),
        Spec("fuse_loras", SMALL, FEW, Speed(fuse_loras=True)),  # the last: it stays
    ]
    quick = [Spec("distilled, compiled", SMALL, WHOLE, Speed(compile=True, attention="auto", distilled=True))]
    quick += [
        Spec(
            "distilled, compiled, fused",
            LARGE,
            WHOLE,
            Speed(compile=True, attention="auto", fuse_loras=True, distilled=True),
        ),
    ]
    order = {name: index for index, name in enumerate(("12", "24", "16", "8", "40"))}
    small_cards = [
        Group(
            f"profile {profile.name} on a card of {profile.card_gib} GiB",
            [Spec(f"profile {profile.name}", SMALL, FEW), Spec(f"profile {profile.name}", LARGE, FEW - 1)],
            profile=profile.name,
            card=profile.card_gib,
        )
        for profile in sorted((known for known in PROFILES if known.name in order), key=lambda known: order[known.name])
    ]
    return [
        Group("exact", main, exact=True),
        Group("distilled", distilled, distilled=True),
        *small_cards,
        Group("switches", switches),
        Group("weights float8", [Spec("weights float8", SMALL, FEW)], weights="float8"),
        Group("distilled, further", quick, distilled=True),
        Group("weights int8", [Spec("weights int8", SMALL, FEW)], weights="int8"),
    ]


def steps_of(spec: Spec, size: Size) -> int:
    """Of the whole job."""
    return LIGHTX2V_I2V.steps if spec.speed.distilled else size.steps


def guidance_of(spec: Spec, otherwise: float) -> float:
    """The scale of guidance."""
    return LIGHTX2V_I2V.cfg if spec.speed.distilled else otherwise


def expected_seconds(spec: Spec, scale: Scale, step_seconds: Mapping[str, float]) -> float:
    """Of a row, with its model loaded. `step_seconds` are those that were timed, by size."""
    size = scale.sizes[spec.size]
    steps = steps_of(spec, size) if spec.run is None else spec.run
    step = step_seconds.get(spec.size, size.step_seconds) * (0.5 if spec.speed.distilled else 1.0)
    return steps * step + size.around_seconds + (scale.compile_seconds if spec.speed.compile else 0.0)
