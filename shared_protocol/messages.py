# SPDX-License-Identifier: Apache-2.0
"""Every message that crosses the wire, as a frozen dataclass.

The codec (`codec.py`) turns each into one msgpack header and, where a comment says so, one raw part of bytes.
Only these types are ever built from what arrives. Numbers in `CameraSample` follow the project's conventions:
OpenCV axes, pixels with centres at +0.5, scene units.
"""

from __future__ import annotations

from dataclasses import dataclass

PROTOCOL: tuple[int, int] = (1, 3)  # (major, minor); a differing major is refused on both sides

OptionValue = str | int | float | bool

# Job states. An interrupted job (the worker or the server died) goes back to "queued" by itself.
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
FINISHED = frozenset({DONE, FAILED, CANCELLED})


# ---- handshake and life signs


@dataclass(frozen=True)
class Hello:
    """First message of a client."""

    client: str  # program and version, for the log
    protocol: tuple[int, int]


@dataclass(frozen=True)
class SettingInfo:
    """One option of a generator or an estimator, as a panel needs it. Its type is that of its default."""

    name: str  # the key in `Generate.options` or `Reconstruct.depth_options`
    label: str  # for panels
    help: str  # one sentence
    default: OptionValue
    choices: tuple[str, ...] = ()  # of a text; () = any text
    least: float | None = None  # of a number
    most: float | None = None
    group: str = ""  # heading of a panel's section; "" = first


@dataclass(frozen=True)
class Door:
    """One estimator, rasterizer or generator, as it stands on the backend's machine."""

    kind: str  # "depth" | "rasterizer" | "generator"
    name: str
    label: str  # for menus
    licence: str
    commercial_use: bool
    available: bool
    reason: str  # why not available; "" when it is
    geometry: str = ""  # of a generator: the kind of mesh that it works best with, see `Render.geometry`
    lead_in: int = 0  # of a generator: frames that it wants before a shot that starts elsewhere, see `Render.lead_in`
    settings: tuple[SettingInfo, ...] = ()  # of a generator: its options; of an estimator: those of the step as well
    gives: str = ""  # of an estimator: "disparity" (scale and shift open) | "depth" (scale open) | "metric" | "either"
    steady: bool = False  # of an estimator: over time, by itself
    size: int = 0  # of an estimator: bytes of its weights


@dataclass(frozen=True)
class Welcome:
    """Answer to `Hello` when the majors agree; otherwise the answer is `Failure` with code VERSION."""

    server: str
    protocol: tuple[int, int]
    pid: int
    doors: tuple[Door, ...]


@dataclass(frozen=True)
class Ping:
    """Life sign, either way."""


@dataclass(frozen=True)
class Pong:
    """Answer to `Ping`."""


@dataclass(frozen=True)
class Shutdown:
    """Asks the backend to end. Running jobs stay in the journal and go on at the next start. Answer: `Pong`."""


@dataclass(frozen=True)
class Failure:
    """Answer to any request that could not be done."""

    code: str
    message: str
    hint: str


# ---- uploads: content-addressed, in chunks, resumable


@dataclass(frozen=True)
class Asset:
    """A file the client brings in, known by what it contains. `name` is for messages only, never a path."""

    sha256: str  # 64 hex digits
    size: int  # bytes
    name: str


@dataclass(frozen=True)
class AssetQuery:
    """How much of this asset is on the backend? Answer: `AssetState`."""

    asset: Asset


@dataclass(frozen=True)
class AssetChunk:
    """Bytes of an asset from `offset` on. One raw part. Answer: `AssetState`."""

    asset: Asset
    offset: int


@dataclass(frozen=True)
class AssetState:
    """`received` bytes are here, from the start; whole (and its hash checked) when received == size."""

    sha256: str
    received: int


# ---- jobs


@dataclass(frozen=True)
class Pick:
    """A point that was picked in a picture of the clip."""

    frame: int  # from 0, within the frames that are used
    x: float  # pixels of the clip as it comes in, centres at +0.5
    y: float


@dataclass(frozen=True)
class Measure:
    """Two picked points of one frame, and how far they are from each other in the world."""

    frame: int
    ax: float
    ay: float
    bx: float
    by: float
    distance: float  # scene units


@dataclass(frozen=True)
class Reconstruct:
    """Clip → depth → DW-mesh sequence."""

    clip: tuple[Asset, ...]  # one movie, or the files of an image sequence in order
    depth: tuple[Asset, ...] = ()  # depth of the same clip: one npz, or an EXR / 16-bit PNG sequence
    depth_kind: str = "auto"  # "depth" | "disparity" | "auto" (by file type)
    estimator: str = "auto"  # "auto": "file" where depth is given, else the best that works there
    first: int = 0  # first frame used, counted from 0
    count: int = 0  # frames used; 0 = to the end
    fps: tuple[int, int] | None = None  # for image sequences; a movie's own rate otherwise
    focal: float | None = None  # pixels of the clip as it comes in; None = 500/512 of the longest side
    max_side: int = 1280  # frames whose longest side is larger are scaled down to it
    source_camera: Asset | None = None  # how the camera moved: a camera path file, .json or .npz; None: it stood still
    depth_options: tuple[tuple[str, OptionValue], ...] = ()  # of the estimator's `Door.settings`
    lens: tuple[float, float] | None = None  # focal length and sensor width in millimetres, where `focal` is None
    sky_mask: tuple[Asset, ...] = ()  # pictures, white where the sky is: one for each frame, or one for all
    points: Asset | None = None  # points of known depth or place: a .json or .npz file (docs/protocol.md)
    measures: tuple[Measure, ...] = ()  # known distances
    camera_height: float | None = None  # of the first frame's camera above the ground, scene units
    ground: tuple[Pick, ...] = ()  # points on the ground; (): it is looked for


@dataclass(frozen=True)
class CameraSample:
    """The shot camera at one frame, and the state of the source mesh it looks at."""

    world_from_camera: tuple[float, ...]  # 16 numbers, row-major 4x4; the world is the source camera of frame 1
    fx: float
    fy: float
    cx: float
    cy: float
    source_frame: int  # index into the reconstruction's frames, from 0
    source_focal: float  # the mesh's own focal length and principal point, pixels of the reconstruction
    source_cx: float
    source_cy: float
    disparity_scale: float  # z' = 1 / (scale / z + shift)
    disparity_shift: float


@dataclass(frozen=True)
class Render:
    """Reconstruction + camera path → conditioning (colour, mask, coverage)."""

    scene: str  # artifact id of a reconstruct job
    width: int
    height: int
    fps: tuple[int, int]
    cameras: tuple[CameraSample, ...]
    geometry: str = "closed"  # "closed" | "bounded": what hangs behind the edges of things
    persist: bool = False  # still background that other frames saw fills holes
    lead_in: int = 0  # frames that glide from the source camera to the first of `cameras`, before it; never delivered
    seed: int = 0  # of the lead-in; counts only where there is one


@dataclass(frozen=True)
class Generate:
    """Conditioning → the new shot, frame by frame."""

    conditioning: str  # artifact id of a render job
    generator: str = "preview"
    seed: int = 0
    options: tuple[tuple[str, OptionValue], ...] = ()  # of `Door.settings`; what is left out has its default


@dataclass(frozen=True)
class Submit:
    """A job. `job_id` is made by the client, so that a re-sent request is the same job. Answer: `JobInfo`."""

    job_id: str  # 32 hex digits
    job: Reconstruct | Render | Generate


@dataclass(frozen=True)
class JobQuery:
    """Answer: `JobInfo`. With `watch`, `JobInfo` and `FileReady` messages follow by themselves until it ends."""

    job_id: str
    watch: bool = True


@dataclass(frozen=True)
class Cancel:
    """Answer: `JobInfo`; the work stops at the next step."""

    job_id: str


@dataclass(frozen=True)
class JobInfo:
    """Where a job stands."""

    job_id: str
    kind: str  # "reconstruct" | "render" | "generate"
    state: str
    phase: str  # what is being done now, for a person
    done: int  # steps done of `total` in this phase
    total: int
    artifact: str  # id of what it makes, in which files appear as they are finished; "" = not known yet
    error: Failure | None = None
    seconds_left: int | None = None  # of this phase, by its pace until now; None = nobody can tell
    glimpse: int = 0  # number of the newest glimpse, to be asked for with `GlimpseQuery`; 0 = there is none


@dataclass(frozen=True)
class GlimpseQuery:
    """How does the unfinished result look? Answer: `Glimpse`; `Failure` with NOT_FOUND where there is none."""

    job_id: str


@dataclass(frozen=True)
class Glimpse:
    """The newest picture of an unfinished result. One raw part: RGB bytes, sRGB, row by row from the top."""

    job_id: str
    number: int  # as in `JobInfo.glimpse`
    width: int  # pixels
    height: int


# ---- artifacts: folders of finished files


@dataclass(frozen=True)
class FileInfo:
    """A finished file of an artifact. `name` is relative with "/" between folder and file: "frames/0001.png"."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class FileReady:
    """Pushed to watchers: one more file is finished."""

    job_id: str
    artifact: str
    file: FileInfo


@dataclass(frozen=True)
class ListFiles:
    """Answer: `FileList`: the files that are finished by now."""

    artifact: str


@dataclass(frozen=True)
class FileList:
    """Answer to `ListFiles`."""

    artifact: str
    complete: bool  # True: nothing more will come
    files: tuple[FileInfo, ...]


@dataclass(frozen=True)
class Fetch:
    """Answer: `FileChunk` with at most `length` bytes from `offset`."""

    artifact: str
    name: str
    offset: int
    length: int


@dataclass(frozen=True)
class FileChunk:
    """Bytes of a file. One raw part."""

    artifact: str
    name: str
    offset: int
    size: int  # of the whole file
