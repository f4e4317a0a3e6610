# SPDX-License-Identifier: Apache-2.0
"""What estimators with a network have in common: which model, where it lies, its licence, whether it fits, what goes
wrong. Importing this loads no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ex4d.depth.door import DepthRequest, Estimate, Gives, GivesInAll, Nature, Progress, nobody
from ex4d.models.places import find_model, need_model
from ex4d.models.registry import MODELS
from ex4d.models.verify import fingerprints
from ex4d.settings import Setting, Value, read_settings
from shared_protocol.errors import BAD_INPUT, INTERNAL, LIMIT, UNAVAILABLE, Ex4dError

if TYPE_CHECKING:
    from ex4d.depth.rig import Rig

GIB = 2**30
_PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "psutil")

MODEL, AUTO = "model", "auto"
DEVICE_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "device",
        "auto",
        "Where the network runs; auto: on the GPU where there is one.",
        choices=("auto", "cuda", "cpu"),
        group="Network",
    ),
    Setting(
        "precision",
        "auto",
        "Numbers that the network reckons with; auto: of 16 bits on a GPU, float32 on the CPU.",
        choices=("auto", "float32", "float16", "bfloat16"),
        group="Network",
    ),
)


@dataclass(frozen=True)
class Network:
    """Weights that an estimator can run."""

    model: str  # name in `ex4d.models.registry.MODELS`; for other weights, what was given: a path or a repository
    nature: Nature
    needs: tuple[str, ...] = ()  # other models of the registry that it cannot do without
    path: Path | None = None  # of weights that are in no registry

    @property
    def requires(self) -> tuple[str, ...]:
        """The models of the registry that have to be here."""
        return self.needs if self.path is not None else (self.model, *self.needs)


class NetworkEstimator(ABC):
    """A `DepthEstimator` that runs a network."""

    name: str
    gives: GivesInAll
    steady: bool
    draft = False
    uses_focal = False  # True where `run` looks at `request.focal`, which is None otherwise
    packages: tuple[str, ...] = ()  # modules that it needs beside those that all need
    install: str = "pip install 'ex4d-blender[depth]'"  # the command that brings all of them
    half: str = "float16"  # what the precision "auto" is on a GPU
    settings: tuple[Setting, ...]

    @abstractmethod
    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        """The networks that the settings' values allow, the best one first. For "auto" that is all of them.

        Raises:
            Ex4dError: BAD_INPUT or NOT_FOUND for a model that does not exist.
        """

    @abstractmethod
    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        """Bytes of memory that it takes at most where it computes, at 2 bytes a number: weights and activations.

        Args:
            height, width: of the clip's frames, pixels.
        """

    @abstractmethod
    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        """Every file that decides the depth, by a name for the side-car. `place` is what `where` gave."""

    @abstractmethod
    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        """Loads the network and gives the frames' depth, in order, telling `request.progress` at each step.

        Memory is released by the caller, of whatever was handed to `rig.hold`. Gradients are off only where it turns
        them off, which must not be around a `yield`: they would be off for whoever takes the frames as well.
        """

    def missing(self) -> str:
        """The packages that are not installed, by name; "" where none is missing."""
        return ", ".join(package for package in (*_PACKAGES, *self.packages) if find_spec(package) is None)

    def available(self) -> tuple[bool, str]:
        """Whether packages and the weights of any of its networks are here."""
        try:
            self._here(self._values({}), commercial=False)
        except Ex4dError as error:
            return False, str(error)
        return True, ""

    def nature(self, options: Mapping[str, Value], commercial: bool) -> Nature:
        """See `ex4d.depth.door.DepthEstimator.nature`."""
        return self.chosen(options, commercial)[0].nature

    def settle(
        self, options: Mapping[str, Value], commercial: bool, height: int, width: int
    ) -> tuple[dict[str, Value], str]:
        """See `ex4d.depth.door.DepthEstimator.settle`."""
        values = self._values(options)
        here = self._here(values, commercial)
        if values.get(MODEL) != AUTO:
            return values, ""
        taken, passed = here[0], ""
        if len(here) > 1 and height and width:
            short = [self._short_of(network, height, width, values) for network in here]
            taken = next((network for network, lacks in zip(here, short, strict=True) if not lacks), here[-1])
            passed = short[0]
        return {**values, MODEL: taken.model}, passed

    def fits(self, height: int, width: int, options: Mapping[str, Value], commercial: bool) -> str:
        """See `ex4d.depth.door.DepthEstimator.fits`."""
        network, values = self.chosen(options, commercial)
        return self._short_of(network, height, width, values)

    def identity(self, options: Mapping[str, Value], commercial: bool, progress: Progress = nobody) -> dict[str, str]:
        """See `ex4d.depth.door.DepthEstimator.identity`."""
        network, _ = self.chosen(options, commercial)
        files: dict[str, Path] = dict(self.files(network, self.where(network)))
        return fingerprints(files, lambda percent: progress("Reading the depth model", percent, 100))

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        """See `ex4d.depth.door.DepthEstimator.frames`.

        Raises:
            Ex4dError: BAD_INPUT when depth files were given, which would be left out unseen.
        """
        if request.files:
            raise Ex4dError(
                BAD_INPUT,
                f"Depth files were given, and the estimator '{self.name}' makes no use of them.",
                "Leave them out, or choose the estimator 'file'.",
            )
        height, width = request.clip.frames.shape[1:3]
        settled, _ = self.settle(request.options, request.commercial, height, width)
        network, values = self.chosen(settled, request.commercial)
        short = self._short_of(network, height, width, values)
        if short:
            raise Ex4dError(LIMIT, short, self.smaller())
        from ex4d.depth.rig import Rig, is_out_of_memory

        failed = ""
        with Rig(str(values["device"]), str(values["precision"]), self.half) as rig:
            try:
                with closing(_closable(self.run(network, self.where(network), request, values, rig))) as estimates:
                    for index, estimate in enumerate(estimates):
                        _check(estimate, index, self.name, rig)
                        yield estimate
            except Exception as error:
                if isinstance(error, Ex4dError) or not is_out_of_memory(error):
                    raise
                failed = f"The memory of {rig.device_name} did not suffice for {network.model}."
        if failed:  # outside of the handler, which keeps alive what it failed with
            raise Ex4dError(LIMIT, failed, self.smaller())

    def smaller(self) -> str:
        """What to do where memory does not suffice."""
        return "Close other programs, choose a smaller model or another estimator, or the device cpu."

    def where(self, network: Network) -> Path:
        """The network's file, or its folder where it has several. Raises Ex4dError(UNAVAILABLE)."""
        return need_model(network.model) if network.path is None else network.path

    def chosen(self, options: Mapping[str, Value], commercial: bool) -> tuple[Network, dict[str, Value]]:
        """The best network that the options mean here, and all settings' values. Raises as `nature`."""
        values = self._values(options)
        return self._here(values, commercial)[0], values

    def _values(self, options: Mapping[str, Value]) -> dict[str, Value]:
        """All settings' values. A model's name that was cleared is that of nobody's wish."""
        values = read_settings(self.settings, options, self.name, "estimator")
        return {**values, MODEL: AUTO} if values.get(MODEL) == "" else values

    def _here(self, values: Mapping[str, Value], commercial: bool) -> list[Network]:
        """The networks that the settings' values allow and that are here, the best one first; one at least.

        Raises:
            Ex4dError: as `nature`.
        """
        if missing := self.missing():
            text = f"The estimator '{self.name}' does not work here: {missing} not installed."
            raise Ex4dError(UNAVAILABLE, text, f"{self.install} brings what is missing.")
        every = self.networks(values)
        allowed = [network for network in every if network.nature.commercial_use or not commercial]
        if not allowed:
            first = every[0]
            raise Ex4dError(
                UNAVAILABLE,
                f"{first.model} may not be used commercially: {first.nature.licence}.",
                "Choose another model, or say that this is no commercial work (--no-commercial; in Blender a box).",
            )
        here = [network for network in allowed if not self._lacks(network)]
        if not here:
            # Told of one that was fetched and lacks a last step, rather than of one that nobody asked for.
            told = [network for network in allowed if all(map(find_model, network.requires))] or allowed
            here = [next((network for network in told if network.nature.commercial_use), told[0])]
            self._need(here[0])
        return here

    def _lacks(self, network: Network) -> str:
        """What of a network is not here, as a sentence; "" for nothing."""
        try:
            self._need(network)
        except Ex4dError as error:
            return str(error)
        return ""

    def _need(self, network: Network) -> None:
        """Raises Ex4dError where a part of a network is not here: what is missing, and the command that fetches it."""
        for name in network.requires:
            need_model(name)
        self.where(network)

    def _short_of(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> str:
        """What of the free memory does not suffice; "" where it does."""
        from ex4d.depth.rig import free_bytes, pick_device

        device = pick_device(str(values["device"]))
        peak, free = self.peak(network, height, width, values), free_bytes(device)
        peak *= 2 if is_wide(values) else 1
        if peak <= free:
            return ""
        where = "main memory" if device.type == "cpu" else "GPU memory"
        return f"{network.model} takes {peak / GIB:.1f} GiB of {where} here, and {free / GIB:.1f} GiB are free."


def is_wide(values: Mapping[str, Value]) -> bool:
    """Whether numbers of 32 bits are reckoned with, for the values of `DEVICE_SETTINGS`. Raises as `pick_device`."""
    from ex4d.depth.rig import pick_device

    precision = str(values["precision"])
    return precision == "float32" or (precision == "auto" and pick_device(str(values["device"])).type == "cpu")


def of_registry(model: str, gives: Gives, *, steady: bool, needs: tuple[str, ...] = ()) -> Network:
    """A network of the models that can be fetched. Its licence is that of all that it needs."""
    specs = [MODELS[name] for name in (model, *needs)]
    nature = Nature(
        model=model,
        licence="; ".join(dict.fromkeys(spec.licence for spec in specs)),
        commercial_use=all(spec.commercial_use for spec in specs),
        gives=gives,
        steady=steady,
        size=sum(spec.size for spec in specs),
    )
    return Network(model, nature, needs)


def _closable(estimates: Iterator[Estimate]) -> Generator[Estimate, None, None]:
    """As a generator, which can be ended before its end: what it holds is let go of then, not some time later."""
    yield from estimates


def _check(estimate: Estimate, index: int, name: str, rig: Rig) -> None:
    """A network that overflows gives values that are no numbers: better said than lifted to a mesh."""
    if np.isfinite(estimate.values).all():
        return
    hint = (
        "Choose the precision float32." if rig.precision != "float32" else "Are its weights whole? ex4d models verify"
    )
    raise Ex4dError(INTERNAL, f"The estimator '{name}' gave no numbers for frame {index + 1}.", hint)
