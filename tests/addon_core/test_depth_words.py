# SPDX-License-Identifier: GPL-3.0-or-later
"""What the status line says of a reconstruction's depth."""

from __future__ import annotations

from typing import Any

from blender_addon.core import depth_words, scene_manifest

from .test_scene_manifest import GOOD


def manifest(**changes: Any) -> scene_manifest.SceneManifest:
    return scene_manifest.from_dict(GOOD | changes, "scene.json")


def test_what_matters_is_said_in_a_few_sentences_and_no_other_note():
    fit = "disparity was multiplied by 0.4 and shifted by 0.02 to fit 41 known points (95% agree, within 1.2%)"
    told = manifest(
        estimator="vda",
        draft=False,
        notes=["depth by vda (small), the best that can be used here", "frames were aligned", "sky was pushed", fit],
        provenance={
            "depth": {"model": "small", "licence": "NC-1.0", "commercial_use": False},
            "known": {"source": "points", "count": 41, "agreeing": 0.95, "residual": 0.012, "note": fit},
        },
    )
    assert depth_words.in_short(told) == [
        "Depth by vda (small), the best that can be used here.",
        f"D{fit[1:]}.",
        "Depth by small (NC-1.0): not for commercial use.",
    ]
    assert scene_manifest.from_dict(scene_manifest.to_dict(told), "the .blend") == told


def test_an_estimator_that_was_chosen_by_hand_is_named_and_a_guess_is_called_one():
    told = manifest(
        estimator="draft",
        draft=True,
        notes=["draft depth, guessed from colour", "a usual lens is assumed"],
        provenance={},
    )
    assert depth_words.in_short(told) == ["Depth by draft.", "It is a guess, for blocking out a move."]


def test_how_depth_fits_the_source_camera_is_said_and_depth_from_files_needs_no_name():
    told = manifest(
        estimator="file",
        draft=False,
        notes=["depth fits the source camera as it is"],
        provenance={"depth": {"model": "", "commercial_use": True}, "source_camera": {"note": "depth fits as it is"}},
    )
    assert depth_words.in_short(told) == ["Depth fits as it is."]
