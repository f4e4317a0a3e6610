# SPDX-License-Identifier: Apache-2.0
"""Options of the depth step that hold for every estimator: what is done to its depth afterwards."""

from __future__ import annotations

from ex4d.settings import Setting

STAGE_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "commercial",
        True,
        "Only models whose licence allows commercial use.",
        label="Commercial use",
    ),
    Setting(
        "steady",
        "auto",
        "Align frames to their neighbours and smooth over time; auto: where the estimator is not steady by itself.",
        label="Steady over time",
        choices=("auto", "on", "off"),
        group="Clean-up",
    ),
    Setting(
        "edges",
        "auto",
        "Bring depth edges to the edges of the picture; auto: for what a network estimated.",
        label="Edges",
        choices=("auto", "on", "off"),
        group="Clean-up",
    ),
    Setting(
        "sky",
        "auto",
        "Find the sky and push it far away; auto: for what a network estimated.",
        label="Sky",
        choices=("auto", "on", "off"),
        group="Clean-up",
    ),
    Setting(
        "estimated_camera",
        False,
        "Take the source camera's movement from the estimator, where it tells one and none is given.",
        label="Estimate the source camera",
    ),
)
