# SPDX-License-Identifier: Apache-2.0
"""Rows of the GPU check: each of a plan's, in its order, until time is up. A row that fails does not end the others."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

from scripts._gpu_model import Loaded, Weights, relative_rms
from scripts._gpu_plan import LARGE, Group, Scale, Spec, expected_seconds, guidance_of, steps_of
from scripts._gpu_watch import DECODING, ENCODING, PAINTING, PROMPTS, Stage, Trace, card_of, forget
from shared_protocol.errors import Ex4dError

OK, TOO_LOW, DISAGREES, FAILED, NOT_RUN = "ok", "TOO LOW", "DISAGREES", "FAILED", "not run"
BAD: Final = (TOO_LOW, DISAGREES, FAILED)
MOST_EXACT: Final = 0.01  # relative deviation of a profile that is said to be exact; bfloat16 itself is 0.7 % a step
_GRACE: Final = 10.0  # seconds over the time given, for a row to come to its end


@dataclass
class Row:
    """What came of a `Spec`. Seconds and bytes; None: not measured."""

    name: str
    group: str
    size: str
    shot: str
    state: str = NOT_RUN
    why: str = ""
    notes: list[str] = field(default_factory=list)
    steps_timed: int = 0
    first_step_seconds: float | None = None  # warming up, and compiling
    step_seconds: float | None = None
    condition_seconds: float | None = None
    decode_seconds: float | None = None
    job_steps: int = 0
    job_seconds: float | None = None  # conditioning, all steps and decoding, without loading
    load_seconds: float | None = None
    peak_bytes: int | None = None  # the highest of the stages
    predicted_bytes: int | None = None
    stages: dict[str, dict[str, float]] = field(default_factory=dict)  # with "predicted"
    deviation: float | None = None  # relative RMS from the exact latents after `steps_timed`
    computed: float | None = None  # share of the blocks' passes
    anchor: str = ""
    effect: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class Check:
    """The rows, and what later ones need of earlier ones."""

    def __init__(
        self, weights: Weights, scale: Scale, deadline: float, tell: Callable[[Row], None], only: str = ""
    ) -> None:
        """Runs nothing yet.

        Args:
            weights: of the model.
            scale: of it.
            deadline: of `time.monotonic`: what is not expected to end before is not begun.
            tell: is given each row when it is done.
            only: words, separated by commas: of the groups, those whose names have one of them in it. Deviations are
                told where "exact" is among them.
        """
        self._weights, self._scale, self._deadline, self._tell = weights, scale, deadline, tell
        self._only = only.split(",")
        self._exact: dict[str, list[Tensor]] = {}
        self._step_seconds: dict[str, float] = {}
        self._load_seconds = scale.load_seconds
        self.rows: list[Row] = []

    def run(self, groups: Sequence[Group]) -> list[Row]:
        """All groups. Returns the rows."""
        for group in groups:
            if not any(word.strip() in group.name for word in self._only):
                continue
            rows = [self._row(group, spec) for spec in group.specs]
            first = expected_seconds(group.specs[0], self._scale, self._step_seconds)
            if self._left() < self._load_seconds + first:
                self._done(rows, why=_no_time(self._left()))
                continue
            try:
                self._group(group, rows)
            except Exception as error:
                self._done([row for row in rows if row not in self.rows], FAILED, words_of(error))
            forget()
        return self.rows

    def _row(self, group: Group, spec: Spec) -> Row:
        size = self._scale.sizes[spec.size]
        return Row(spec.name, group.name, spec.size, str(size), anchor=spec.anchor, job_steps=steps_of(spec, size))

    def _group(self, group: Group, rows: Sequence[Row]) -> None:
        with card_of(group.card, torch.device("cuda" if torch.cuda.is_available() else "cpu")):
            largest = self._scale.sizes[LARGE if any(spec.size == LARGE for spec in group.specs) else rows[0].size]
            loaded = Loaded(self._weights, group.profile, group.weights, largest, distilled=group.distilled)
            try:
                self._load_seconds = max(self._load_seconds, loaded.load_seconds)
                around: dict[str, dict[str, Stage]] = {}
                for spec, row in zip(group.specs, rows, strict=True):
                    row.load_seconds = loaded.load_seconds
                    row.memory = {**loaded.facts["memory"], "card_gib": group.card}
                    if self._left() < (least := expected_seconds(spec, self._scale, self._step_seconds)):
                        self._done([row], why=f"{_no_time(self._left())} of about {least:.0f}")
                        continue
                    try:
                        self._measure(group, spec, row, loaded, around.setdefault(spec.size, {}))
                        self._done([row], row.state)
                    except Exception as error:
                        self._done([row], FAILED, words_of(error))
                    forget()
            finally:
                loaded.release()

    def _measure(self, group: Group, spec: Spec, row: Row, loaded: Loaded, around: dict[str, Stage]) -> None:
        size = self._scale.sizes[spec.size]
        trace = Trace(stop=spec.run, deadline=self._deadline + _GRACE)
        prompts = {name: stage for name, stage in loaded.meter.stages.items() if name == PROMPTS}
        loaded.meter.stages = {}
        cfg = guidance_of(spec, loaded.job.cfg)
        measured = loaded.meter.stages
        try:
            row.effect, computed = loaded.run(size, spec.speed, row.job_steps, cfg, trace)
            if DECODING not in {*around, *measured} and self._left() > -_GRACE:
                loaded.develop(trace.latents[-1], size)
        finally:
            around |= {name: stage for name, stage in measured.items() if name in (ENCODING, DECODING)}
            loaded.meter.stages = prompts  # of the loading: for the rows that follow
        row.computed = None if math.isnan(computed) else computed
        _times(row, trace, around, caching=row.effect["cache"] != "none")
        row.notes += row.effect["notes"]
        judge_memory(row, {**prompts, **around, **measured}, loaded.predicted(size, spec.speed).stages)
        self._compare(group, spec, row, trace, loaded.profile.exact)

    def _compare(self, group: Group, spec: Spec, row: Row, trace: Trace, exact: bool) -> None:
        steps, latents = len(trace.latents) - 1, trace.latents[-1]
        if not torch.isfinite(latents).all():
            row.state, row.why = FAILED, "latents are not finite"
            return
        if group.exact and spec.name == "exact":
            self._exact[spec.size] = trace.latents
            if row.step_seconds is not None:
                self._step_seconds[spec.size] = row.step_seconds
        elif not spec.speed.distilled and steps < len(kept := self._exact.get(spec.size, [])):
            row.deviation = relative_rms(latents, kept[steps])
            if exact and not _switched(spec) and row.deviation > MOST_EXACT:
                row.state, row.why = DISAGREES, f"an exact profile deviates by {row.deviation:.2g}"
        if spec.run is None and steps < row.job_steps:
            row.notes.append(f"time was up after {steps} of {row.job_steps} steps")

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _done(self, rows: Sequence[Row], state: str = NOT_RUN, why: str = "") -> None:
        for row in rows:
            row.state, row.why = state, why or row.why
            self.rows.append(row)
            self._tell(row)


def _times(row: Row, trace: Trace, around: Mapping[str, Stage], *, caching: bool) -> None:
    seconds = trace.step_seconds
    row.steps_timed, row.first_step_seconds = len(seconds), seconds[0]
    later = seconds[1:] or seconds
    # A cache leaves steps out, so that only the mean of all tells; the first, which warms up, never is left out.
    row.step_seconds = (sum(later) + max(later)) / (len(later) + 1) if caching else median(later)
    row.condition_seconds = around[ENCODING].seconds
    if DECODING in around:
        row.decode_seconds = around[DECODING].seconds
        row.job_seconds = row.condition_seconds + row.job_steps * row.step_seconds + row.decode_seconds


def judge_memory(row: Row, stages: Mapping[str, Stage], predicted: Mapping[str, int]) -> None:
    """Puts peaks and predictions of each stage into a row, and whether the predictions held."""
    row.state = OK
    for name in (PROMPTS, ENCODING, PAINTING, DECODING):
        if name not in stages:
            continue
        stage = stages[name]
        row.stages[name] = {**asdict(stage), "predicted": predicted.get(name, 0)}
        if stage.reserved > predicted.get(name, 0):
            row.state = TOO_LOW
            row.notes.append(
                f"{name}: {stage.reserved / 2**30:.2f} GiB taken, {predicted.get(name, 0) / 2**30:.2f} GiB predicted"
            )
    reserved = [int(stage["reserved"]) for stage in row.stages.values()]
    if any(reserved):
        row.peak_bytes, row.predicted_bytes = max(reserved), max(predicted.values())
        if row.state == TOO_LOW:
            row.why = "memory was predicted too low"


def _switched(spec: Spec) -> bool:
    speed = spec.speed
    return speed.compile or speed.attention != "exact" or speed.cache != "none" or speed.fuse_loras or speed.batched_cfg


def _no_time(left: float) -> str:
    return f"no time: {max(left, 0.0):.0f} s left"


def words_of(error: Exception) -> str:
    """An error in a line."""
    if isinstance(error, Ex4dError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({last.filename.rpartition('/')[2]}:{last.lineno})"
