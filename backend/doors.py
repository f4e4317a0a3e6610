# SPDX-License-Identifier: Apache-2.0
"""What the engine can do on this machine, as clients are told."""

from __future__ import annotations

from dataclasses import replace

from ex4d.depth import DEPTH_DOORS
from ex4d.depth.network import AUTO
from ex4d.depth.settings import STAGE_SETTINGS
from ex4d.doctor import doors as installed_doors
from ex4d.doors import Door
from ex4d.generate import GENERATORS
from ex4d.settings import Setting
from shared_protocol import messages as m


def doors() -> tuple[m.Door, ...]:
    """Every estimator, rasterizer and generator, with whether it works here."""
    return tuple(_door(kind, door) for kind, door in installed_doors())


def names_of_doors() -> frozenset[str]:
    """The names by which jobs ask for estimators and generators."""
    return frozenset({AUTO, *(door.name for _, door in installed_doors())})


def _door(kind: str, door: Door) -> m.Door:
    works, reason = door.available()
    told = m.Door(
        kind,
        door.name,
        door.label,
        door.licence,
        door.commercial_use,
        works,
        "" if works else reason,
        settings=tuple(map(_setting, getattr(door, "settings", ()))),
    )
    if kind == "generator":
        generator = GENERATORS[door.name]
        return replace(told, geometry=generator.geometry, lead_in=generator.lead_in)
    if kind == "depth":
        estimator = DEPTH_DOORS[door.name]
        settings = (*told.settings, *map(_setting, STAGE_SETTINGS))
        return replace(told, settings=settings, gives=estimator.gives, steady=estimator.steady, size=estimator.size)
    return told


def _setting(setting: Setting) -> m.SettingInfo:
    least, most = (None if end is None else float(end) for end in (setting.least, setting.most))
    label = setting.label or setting.name.replace("_", " ").capitalize()
    return m.SettingInfo(
        setting.name, label, setting.help, setting.default, setting.choices, least, most, setting.group
    )
