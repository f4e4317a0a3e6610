# SPDX-License-Identifier: Apache-2.0
"""What is to be known of a model before it is fetched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSpec:
    """One model that can be fetched.

    Attributes:
        name: what commands and generators call it.
        title: what an artist reads.
        repository: "owner/name" on the Hugging Face hub.
        revision: the commit that is fetched, or "main" where none is known; then the commit found is written down.
        files: patterns (as of `fnmatch`, `*` also matches "/") of the files that are fetched.
        needed: patterns that must each match a file; with fewer of them, the model cannot be used.
        size: bytes of all files.
        licence: of the weights.
        commercial_use: what that licence says about it.
        used_for: in a few words.
        notes: what else to know before fetching it.
        folder: name of its folder among models, shared by models of one repository.
        convert: files that hold a pickle and are rewritten once as safetensors beside them, which needs their size
            again; where that has been done, the pickle is needed no more.
    """

    name: str
    title: str
    repository: str
    revision: str
    files: tuple[str, ...]
    needed: tuple[str, ...]
    size: int
    licence: str
    commercial_use: bool
    used_for: str
    notes: str = ""
    folder: str = ""
    convert: tuple[str, ...] = ()

    @property
    def only_file(self) -> str:
        """Path of the one file that the model consists of, "" where it is a folder of files."""
        return self.files[0] if len(self.files) == 1 else ""

    @property
    def place(self) -> str:
        """Name of the model's folder below a folder of models."""
        return self.folder or self.name
