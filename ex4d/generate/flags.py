# SPDX-License-Identifier: Apache-2.0
"""Generators' options on the command line: one flag for each setting that any of them declares.

Which generator is meant is known only when all flags are read, so their values stay text until then.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from ex4d.generate.door import Generator
from ex4d.settings import Setting, Value, from_text

# The public code's names of flags (generate.py), for settings that are called otherwise here.
ALIASES = {
    "steps": "--num_inference_steps",
    "adapter": "--ex4d_path",
    "model": "--dit_dir",
}
_FILES = ("adapter", "gguf", "model")  # settings that are paths: a side-car leads to them from any folder
_FILE_LISTS = ("loras",)  # the same for several, separated by commas; a strength may follow each
_PREFIX = "option_"
_LONGEST = 60  # characters of a default in --help
_METAVARS = {int: "N", float: "X", str: "TEXT"}


def add_settings(parser: argparse.ArgumentParser, generators: Mapping[str, Generator]) -> None:
    """Adds a flag for every setting; a setting of two generators is one flag, with the kind it has in the first."""
    owners: dict[str, list[tuple[str, Setting]]] = {}
    for generator in generators.values():
        for setting in generator.settings:
            owners.setdefault(setting.name, []).append((generator.name, setting))
    group = parser.add_argument_group("options of generators", "see also --list_options GENERATOR")
    for name, found in owners.items():
        setting = found[0][1]
        flags = [f"--{name}", *([ALIASES[name]] if name in ALIASES else [])]
        kept: dict[str, Any] = {"dest": _PREFIX + name, "default": argparse.SUPPRESS, "help": _help(found)}
        if isinstance(setting.default, bool):
            group.add_argument(*flags, action=argparse.BooleanOptionalAction, **kept)
        else:
            group.add_argument(*flags, metavar=_METAVARS[type(setting.default)], **kept)


def typed_options(arguments: argparse.Namespace, settings: Sequence[Setting]) -> dict[str, Value]:
    """The options that were typed, as values of their settings' types; of other generators' as text.

    Raises:
        Ex4dError: BAD_INPUT for a text that is not a number where one is wanted.
    """
    known = {setting.name: setting for setting in settings}
    texts = {name.removeprefix(_PREFIX): text for name, text in vars(arguments).items() if name.startswith(_PREFIX)}
    return {name: _value(known[name], text) if name in known else text for name, text in texts.items()}


def listing(generator: Generator) -> str:
    """All settings of a generator: flags, default, range, what they do."""
    works, reason = generator.available()
    lines = [f"{generator.name}: {generator.label}" + ("" if works else f" (missing: {reason})")]
    if not generator.settings:
        lines.append("  It has no options.")
    groups: dict[str, list[Setting]] = {"": []}  # the first has no heading
    for setting in generator.settings:
        groups.setdefault(setting.group, []).append(setting)
    for heading, settings in groups.items():
        lines += [f"\n{heading}"] if heading else []
        for setting in settings:
            flags = [f"--{setting.name}", *([ALIASES[setting.name]] if setting.name in ALIASES else [])]
            if isinstance(setting.default, bool):
                flags.append(f"--no-{setting.name}")
            facts = _facts(_shown(setting.default), setting)
            lines.append(f"  {', '.join(flags)}" + (f"  ({facts})" if facts else ""))
            lines.append(f"      {setting.help}")
    return "\n".join(lines)


def _help(found: Sequence[tuple[str, Setting]]) -> str:
    """Help for a flag, with the generators that have it."""
    setting = found[0][1]
    about = {name: _facts(shorten(_shown(other.default), _LONGEST, placeholder=" …"), other) for name, other in found}
    if len(set(about.values())) == 1:
        about = {", ".join(about): next(iter(about.values()))}
    facts = "; ".join(f"{names}: {what}" if what else names for names, what in about.items())
    return f"{setting.help} ({facts})".replace("%", "%%")


def _facts(default: str, setting: Setting) -> str:
    said = [f"default {default}"] if default else []
    if setting.choices:
        said.append(f"one of {', '.join(setting.choices)}")
    elif setting.least is not None and setting.most is not None:
        said.append(f"{setting.least:g} to {setting.most:g}")
    elif setting.least is not None:
        said.append(f"{setting.least:g} or more")
    elif setting.most is not None:
        said.append(f"at most {setting.most:g}")
    return ", ".join(said)


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f"'{value}'" if " " in value else value
    return f"{value:g}"


def _value(setting: Setting, text: str | bool) -> Value:
    kind = type(setting.default)
    if isinstance(text, bool):
        return text
    if kind is str:
        if not text.strip() or setting.name not in (*_FILES, *_FILE_LISTS):
            return text
        files = text.split(",") if setting.name in _FILE_LISTS else [text]
        return ", ".join(str(Path(file.strip()).expanduser().absolute()) for file in files)
    return from_text(setting, text)
