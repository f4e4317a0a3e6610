# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told of a reconstruction's depth. Plain Python, no Blender."""

from __future__ import annotations

from .scene_manifest import Known, SceneManifest

_FROM_FILES = "file"  # the estimator that reads depth which was brought along
_BY = "depth by "  # how the backend's note on its choice begins
_KNOWN = {"points": "tracked points", "measures": "known distances", "camera_height": "the camera's height"}


def sentence(note: str) -> str:
    """A note of the backend, which begins small and has no full stop."""
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


def fitted(known: Known) -> str:
    """How well depth agrees with what was known."""
    source = _KNOWN.get(known.source, known.source)
    return f"Fitted to {source} ({known.count}): {known.agreeing:.0%} agree, to {known.residual:.1%}"


def licence(manifest: SceneManifest) -> str:
    """That the depth may not be used commercially; "" where it may."""
    if manifest.commercial_use:
        return ""
    return f"Depth by {manifest.model or manifest.estimator} ({manifest.licence}): not for commercial use"


def in_short(manifest: SceneManifest) -> list[str]:
    """What matters at once, a sentence each: which estimator it was, and why; how well the depth fits; what it may not
    be used for. All else that the backend notes can be looked up."""
    # Of depth that was brought along a person knows where it is from.
    said = [] if manifest.estimator in ("", _FROM_FILES) else [f"{_BY}{manifest.model or manifest.estimator}"]
    said = [note for note in manifest.notes if note.startswith(_BY)][:1] or said  # the backend chose, and says why
    if manifest.draft:
        said.append("it is a guess, for blocking out a move")
    return [sentence(text) for text in (*said, manifest.fit, licence(manifest)) if text]
