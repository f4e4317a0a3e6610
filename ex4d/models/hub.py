# SPDX-License-Identifier: Apache-2.0
"""The Hugging Face hub: which files a model has there, and its failures in words.

`huggingface_hub` is imported when the hub is asked, not before: what needs no network works without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ex4d.files import disk_error
from ex4d.models.places import matches, models_folders
from ex4d.models.spec import ModelSpec
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, Ex4dError


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository."""

    path: str
    size: int  # bytes
    sha256: str  # "" for small files, of which the hub does not tell it


@dataclass(frozen=True)
class Listing:
    """The files of a model at one commit of its repository."""

    commit: str
    files: tuple[RemoteFile, ...]


def listing(spec: ModelSpec) -> Listing:
    """Asks the hub for the files of a model.

    Raises:
        Ex4dError: UNAVAILABLE without `huggingface_hub`, network or permission; NOT_FOUND when the repository is not
            there, or lacks what is needed of it.
    """
    with telling(spec):
        from huggingface_hub import HfApi, RepoFile

        hub = HfApi()
        commit = hub.model_info(spec.repository, revision=spec.revision).sha or spec.revision
        found = hub.list_repo_tree(spec.repository, recursive=True, revision=commit)
        files = tuple(
            RemoteFile(item.path, item.size, item.lfs.sha256 if item.lfs else "")
            for item in found
            if isinstance(item, RepoFile) and matches(spec, item.path)
        )
    if not files:
        raise Ex4dError(
            NOT_FOUND,
            f"{spec.repository} at {commit[:12]} has none of the files of {spec.name} ({', '.join(spec.files)}).",
            "The repository has changed; a newer version of this project may know its files.",
        )
    return Listing(commit, files)


def by_hand(spec: ModelSpec) -> str:
    """How to bring a model here without this command: one sentence."""
    roots = models_folders()
    folder = str(roots[0] / spec.place) if roots else f"FOLDER/{spec.place} with EX4D_MODELS=FOLDER set"
    wanted = ", ".join(spec.files)
    return (
        f"By hand: copy {wanted} of https://huggingface.co/{spec.repository}/tree/{spec.revision} into {folder}, "
        "with the folders that they lie in there."
    )


@contextlib.contextmanager
def telling(spec: ModelSpec, folder: Path = Path()) -> Iterator[None]:
    """Turns what goes wrong in a block into an `Ex4dError` that says what can be done: with the hub, or the disk.

    Args:
        spec: the model that is asked for.
        folder: where the block writes.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise Ex4dError(
            UNAVAILABLE,
            "The package huggingface_hub is not installed.",
            f"pip install ex4d-blender[models]. {by_hand(spec)}",
        )
    try:
        yield
    except Ex4dError:
        raise
    except Exception as error:  # the library has a dozen classes of its own, and those of two HTTP libraries
        raise _told(error, spec, folder) from error


def _told(error: Exception, spec: ModelSpec, folder: Path) -> Ex4dError:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OfflineModeIsEnabled | HfHubHTTPError):
        cause = cause.__cause__
    if isinstance(cause, OfflineModeIsEnabled):
        return Ex4dError(UNAVAILABLE, "HF_HUB_OFFLINE is set, so nothing is fetched.", f"Unset it. {by_hand(spec)}")
    if isinstance(cause, GatedRepoError):
        return Ex4dError(
            UNAVAILABLE,
            f"{spec.repository} is given only to who has accepted its terms.",
            f"Accept them at https://huggingface.co/{spec.repository}, run `hf auth login`, and try again.",
        )
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
    if isinstance(cause, RepositoryNotFoundError) or status == 401:
        return Ex4dError(
            NOT_FOUND,
            f"{_endpoint()} knows no repository {spec.repository}, or does not show it to you.",
            "If it is a private one, or your token has expired, run `hf auth login`.",
        )
    if isinstance(cause, RevisionNotFoundError):
        return Ex4dError(NOT_FOUND, f"{spec.repository} has no revision {spec.revision}.", by_hand(spec))
    if isinstance(cause, RemoteEntryNotFoundError):
        return Ex4dError(NOT_FOUND, f"{spec.repository} lacks a file that it lists.", "Try again later.")
    if status == 403:
        return Ex4dError(
            UNAVAILABLE,
            f"The hub refused access to {spec.repository}.",
            "Run `hf auth login` with a token that may read.",
        )
    if status:
        return Ex4dError(
            UNAVAILABLE, f"The hub answered with status {status}.", "Try again later: what has arrived is kept."
        )
    if isinstance(error, HFValidationError):
        return Ex4dError(BAD_INPUT, f"The hub takes no such name: {spec.repository}.")
    if (
        isinstance(error, OSError)
        and error.errno is not None
        and not isinstance(error, (ConnectionError, TimeoutError))
    ):
        return disk_error(folder, error)
    what = str(error).strip().splitlines()
    return Ex4dError(
        UNAVAILABLE,
        f"{_endpoint()} cannot be reached ({what[0] if what else type(error).__name__}).",
        f"Check the network and try again: what has arrived is kept. {by_hand(spec)}",
    )


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
