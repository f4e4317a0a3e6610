# SPDX-License-Identifier: Apache-2.0
"""Models of depth in layouts of others: those that transformers runs, and Depth Anything 3.

Where the hub's page was not at hand, the size is that of the architecture's numbers as they are stored. A licence is
what the authors say of the weights: where they say nothing, it allows nothing.
"""

from __future__ import annotations

from typing import Final

from ex4d.models.spec import ModelSpec

_APACHE: Final = "Apache-2.0"
_NC: Final = "CC BY-NC 4.0"
_CONFIG, _WEIGHTS, _PICTURES = "config.json", "model.safetensors", "preprocessor_config.json"


def _hub(name: str, title: str, repository: str, size: int, licence: str = _APACHE, notes: str = "") -> ModelSpec:
    """A model that transformers reads."""
    files = (_CONFIG, _PICTURES, _WEIGHTS)
    return ModelSpec(
        name=name,
        title=title,
        repository=repository,
        revision="main",
        files=files,
        needed=files,
        size=size,
        licence=licence,
        commercial_use=licence == _APACHE,
        used_for="depth",
        notes=notes,
    )


def _da3(name: str, title: str, repository: str, size: int, licence: str = _APACHE, notes: str = "") -> ModelSpec:
    """A model of the package depth-anything-3."""
    files = (_CONFIG, _WEIGHTS)
    return ModelSpec(
        name=name,
        title=title,
        repository=repository,
        revision="main",
        files=files,
        needed=files,
        size=size,
        licence=licence,
        commercial_use=licence == _APACHE,
        used_for="depth",
        notes=f"Needs the package depth-anything-3 too. {notes}".rstrip(),
    )


# Depth Anything V2: its authors give a licence to each size (README of DepthAnything/Depth-Anything-V2). The weights in
# metres are not named there, their pages name none, and the question has no answer yet.
_UNSAID: Final = "none stated for these weights"

DEPTH_SPECS: Final = (
    _hub(
        "depth-anything-small",
        "Depth Anything V2 Small",
        "depth-anything/Depth-Anything-V2-Small-hf",
        99_200_000,
    ),
    _hub(
        "depth-anything-base",
        "Depth Anything V2 Base",
        "depth-anything/Depth-Anything-V2-Base-hf",
        390_000_000,
        _NC,
    ),
    _hub(
        "depth-anything-large",
        "Depth Anything V2 Large",
        "depth-anything/Depth-Anything-V2-Large-hf",
        1_341_000_000,
        _NC,
    ),
    _hub(
        "depth-anything-indoor-small",
        "Depth Anything V2 Small in metres, for rooms",
        "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
        99_200_000,
        _UNSAID,
    ),
    _hub(
        "depth-anything-outdoor-small",
        "Depth Anything V2 Small in metres, for streets",
        "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf",
        99_200_000,
        _UNSAID,
    ),
    _hub(
        "depth-pro",
        "Depth Pro: depth in metres and focal length",
        "apple/DepthPro-hf",
        1_904_000_000,
        "Apple Machine Learning Research Model licence (apple-amlr): research purposes only",
        notes="The page names that licence; the README of the code (apple/ml-depth-pro) names another. Here the "
        "narrower one counts.",
    ),
    _da3(
        "da3-small", "Depth Anything 3 Small: depth, focal length and camera", "depth-anything/DA3-SMALL", 137_000_000
    ),
    _da3("da3-base", "Depth Anything 3 Base: depth, focal length and camera", "depth-anything/DA3-BASE", 541_000_000),
    _da3(
        "da3-large",
        "Depth Anything 3 Large: depth, lens and camera",
        "depth-anything/DA3-LARGE-1.1",
        1_644_000_000,
        _NC,
        notes="The licence is that of its authors' README; its page says another.",
    ),
    _da3(
        "da3-metric-large",
        "Depth Anything 3 Metric Large: depth in metres and sky, frame by frame",
        "depth-anything/DA3METRIC-LARGE",
        1_337_000_000,
    ),
    _da3(
        "da3-mono-large",
        "Depth Anything 3 Mono Large: depth and sky, frame by frame",
        "depth-anything/DA3MONO-LARGE",
        1_337_000_000,
    ),
)
