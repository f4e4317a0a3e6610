# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel shows: settings and job records of a scene (saved with it), and the state of things (not saved)."""

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from shared_protocol.errors import Ex4dError
from shared_protocol.moves import MOVES

from . import jobs, live_depth, reconstruct_job, reconstruction, source_camera, status

PATHS = (  # of a scene
    "clip_path",
    "depth_path",
    "sky_path",
    "source_camera_path",
    "reconstruct_folder",
    "reconstruct_clip",
    "render_folder",
    "take_folder",
)
_RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"}

_MOVE_LABELS = {
    "30": ("Arc 30°", "Turn 30 degrees around the pivot, rising a little"),
    "60": ("Arc 60°", "Turn 60 degrees around the pivot, rising a little"),
    "90": ("Arc 90°", "Turn 90 degrees around the pivot, rising a little"),
    "180": ("Swing 180°", "To each side and back"),
    "zoom_in": ("Travel in", "Half the way to the pivot"),
    "zoom_out": ("Travel out", "Back by half the distance to the pivot"),
}


def _is_camera(settings: bpy.types.PropertyGroup, obj: bpy.types.Object) -> bool:
    return obj.type == "CAMERA" and obj.name in settings.id_data.objects


def _camera_chosen(settings: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    if settings.source_camera is not None:
        settings.clip_start = source_camera.clip_start(settings.id_data, settings.source_camera)


def _geometry_chosen(settings: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    reconstruction.show_geometry(settings.id_data, jobs.geometry(settings.id_data))


def _get_range(settings: bpy.types.PropertyGroup) -> tuple[float, float]:
    try:
        return live_depth.shown_range(reconstruction.of_scene(settings.id_data))
    except Ex4dError:  # nothing is reconstructed, and nothing shows it
        return 0.0, 0.0


def _set_near(settings: bpy.types.PropertyGroup, value: float) -> None:
    _set_range(settings, value, _get_range(settings)[1])


def _set_far(settings: bpy.types.PropertyGroup, value: float) -> None:
    _set_range(settings, _get_range(settings)[0], value)


def _set_range(settings: bpy.types.PropertyGroup, near: float, far: float) -> None:
    try:
        live_depth.set_range(reconstruction.of_scene(settings.id_data), near, far)
    except Ex4dError as e:
        status.fail(e)
    else:
        if status.get().level == "ERROR":  # while it was dragged it may have been where it cannot be
            status.say(f"The depth goes from {near:.4g} to {far:.4g}.")


class EX4D_PG_Options(bpy.types.PropertyGroup):
    """What is set for one generator or estimator, by its name; the options themselves are custom properties. See
    `options`."""

    stamp: StringProperty(options={"HIDDEN"})  # of what the backend said about them


class EX4D_PG_Scene(bpy.types.PropertyGroup):
    """Settings of the six steps, and which jobs made what is here."""

    clip_path: StringProperty(
        name="Clip",
        description="A movie, or one picture of a numbered sequence",
        subtype="FILE_PATH",
        options=_RELATIVE,
    )
    depth_path: StringProperty(
        name="Depth",
        description="Depth of the same clip: .npz, or a file of an EXR or 16-bit PNG sequence. Empty: it is estimated",
        subtype="FILE_PATH",
        options=_RELATIVE,
    )
    depth_kind: EnumProperty(
        name="Depth is",
        items=(
            ("auto", "Automatic", "Told by the kind of file"),
            ("depth", "Depth", "Larger is further"),
            ("disparity", "Disparity", "Larger is nearer"),
        ),
    )
    sky_path: StringProperty(
        name="Sky mask",
        description="White where the sky is: a PNG for all frames, or a file of a sequence with one for each. Empty: "
        "the sky is looked for",
        subtype="FILE_PATH",
        options=_RELATIVE,
    )
    estimator: StringProperty(name="Estimator", description="How depth is found", default="auto")
    estimators: CollectionProperty(type=EX4D_PG_Options, options={"HIDDEN"})
    non_commercial: BoolProperty(
        name=reconstruct_job.NON_COMMERCIAL,
        description="Allow models whose licence forbids commercial use. Off: only those that a studio may use",
    )
    lens_unit: EnumProperty(
        name="Lens in",
        description="How you know the lens of the camera that took the clip",
        items=(
            ("PIXELS", "Pixels", "Its focal length in pixels of the clip"),
            ("MM", "Millimetres", "Its focal length and the width of its sensor in millimetres"),
        ),
    )
    focal: FloatProperty(
        name="Focal length",
        description="Of the camera that took the clip, in pixels of the clip. 0: the clip's file or the estimator says "
        "it, else a usual one is assumed",
        min=0.0,
        precision=1,
    )
    lens: FloatProperty(
        name="Lens",
        description="Focal length of the camera that took the clip, in millimetres. 0: the clip's file or the "
        "estimator says it, else a usual one is assumed",
        min=0.0,
        max=5000.0,
        precision=1,
    )
    sensor: FloatProperty(
        name="Sensor width",
        description="Width of the part of the sensor that the clip shows, in millimetres",
        default=36.0,
        min=0.1,
        max=500.0,
        precision=2,
    )
    camera_height: FloatProperty(
        name="Camera height",
        description="Of the first frame's camera above the ground, in the scene's units. 0: not known",
        min=0.0,
        precision=2,
        subtype="DISTANCE",
    )
    use_points: BoolProperty(
        name="Fit depth to tracked points",
        description="Fit the depth to the points that the motion tracker solved. Off: to the camera's movement alone",
        default=True,
    )
    keep_camera: BoolProperty(
        name="Keep the camera",
        description="Where this clip is reconstructed already: go on with its shot camera, its animation and all. Off: "
        "begin with a new camera",
        default=True,
    )
    near: FloatProperty(
        name="Near",
        description="Distance of what is near in the clip. Sets Disparity Scale and Shift",
        get=lambda settings: _get_range(settings)[0],
        set=_set_near,
        min=1e-4,
        precision=3,
        options=set(),
    )
    far: FloatProperty(
        name="Far",
        description="Distance of what is far in the clip. Sets Disparity Scale and Shift",
        get=lambda settings: _get_range(settings)[1],
        set=_set_far,
        min=1e-4,
        precision=3,
        options=set(),
    )
    first_frame: IntProperty(
        name="First frame",
        description="First frame of the clip to use. Counts from 1, whatever numbers the files have",
        default=1,
        min=1,
    )
    frame_count: IntProperty(name="Frames", description="How many frames to use. 0: all that follow", default=0, min=0)
    max_side: IntProperty(
        name="Longest side",
        description="Larger pictures are scaled down to it, in pixels",
        default=1280,
        min=16,
        max=8192,
    )

    source_kind: EnumProperty(
        name="Source camera",
        description="How the camera that took the clip moved",
        items=(
            ("STILL", "Stood still", "The camera did not move"),
            ("CAMERA", "Blender camera", "It moved as a camera of this scene: one that a motion tracker drives, say"),
            ("FILE", "Camera path", "It moved as a .json or .npz file says"),
        ),
    )
    source_camera: PointerProperty(
        name="Camera",
        description="It is read frame by frame, constraints and all. The scene's resolution must have the clip's shape",
        type=bpy.types.Object,
        poll=_is_camera,
        update=_camera_chosen,
    )
    source_camera_path: StringProperty(
        name="Camera path",
        description="A .json or .npz file with a camera for every frame of the clip",
        subtype="FILE_PATH",
        options=_RELATIVE,
    )
    clip_start: IntProperty(
        name="Clip starts at",
        description="Frame of the scene at which the camera stands as in the first picture of the clip's file",
        default=1,
    )

    move: EnumProperty(
        name="Move",
        items=tuple((m, *_MOVE_LABELS.get(m, (m, ""))) for m in MOVES),
        default="60",
    )

    geometry: EnumProperty(
        name="Geometry",
        description="What hangs behind the edges of things, and hides what lies behind it",
        items=(
            ("auto", "Automatic", "As the generator works best"),
            (
                "closed",
                "Closed",
                "All that lies behind a near thing's edge counts as unseen, down to what is behind it",
            ),
            (
                "bounded",
                "Bounded",
                "Things are taken to be as deep as they are wide: more of what lies behind them is seen",
            ),
        ),
        update=_geometry_chosen,
    )
    persist: BoolProperty(
        name="Keep background",
        description="Background that stood still and was seen in other frames of the clip fills what this frame lacks",
    )
    lead_in_auto: BoolProperty(
        name="Automatic lead-in",
        description="As many lead-in frames as the generator wants, where the shot does not start at the source camera",
        default=True,
    )
    lead_in: IntProperty(
        name="Lead-in frames",
        description="Where the shot's first view is far from the clip's: this many extra frames before the shot, in "
        "which the camera glides there, help a generator to know what it looks at. They are not part of the take",
        default=0,
        min=0,
        soft_max=48,
        max=480,
    )

    generator: StringProperty(name="Generator", description="What paints the new shot", default="preview")
    generators: CollectionProperty(type=EX4D_PG_Options, options={"HIDDEN"})
    seed: IntProperty(name="Seed", description="Same seed and same inputs give the same take", default=0, min=0)
    take_name: StringProperty(name="Take", description="Name of the takes. Empty: that of the clip")
    export_first: EnumProperty(
        name="Count from",
        items=(("1001", "1001", "First file is 1001.png"), ("1", "1", "First file is 0001.png")),
    )

    # Records, so that a .blend that is opened again finds its jobs.
    reconstruct_job: StringProperty(options={"HIDDEN"})
    reconstruct_folder: StringProperty(options={"HIDDEN"})
    reconstruct_clip: StringProperty(options={"HIDDEN"})
    reconstruct_first: IntProperty(options={"HIDDEN"}, default=1)
    reconstruct_keeps: PointerProperty(type=bpy.types.Collection, options={"HIDDEN"})  # whose camera is kept
    reconstruct_place: StringProperty(options={"HIDDEN"})  # see source_camera.place_to_text; "" = upright, from frame 1
    render_job: StringProperty(options={"HIDDEN"})
    render_folder: StringProperty(options={"HIDDEN"})
    render_hash: StringProperty(options={"HIDDEN"})
    render_artifact: StringProperty(options={"HIDDEN"})  # set when the job is done
    coverage_min: FloatProperty(name="Least coverage", subtype="FACTOR", min=0.0, max=1.0, default=0.0)
    coverage_mean: FloatProperty(name="Mean coverage", subtype="FACTOR", min=0.0, max=1.0, default=0.0)
    coverage_hash: StringProperty(options={"HIDDEN"})  # of the camera that the coverage belongs to
    draft_depth: BoolProperty(options={"HIDDEN"})
    take_folder: StringProperty(options={"HIDDEN"})  # of the newest take


class EX4D_PG_Status(bpy.types.PropertyGroup):
    """How things stand in this Blender session."""

    text: StringProperty(name="Status")
    hint: StringProperty()
    level: EnumProperty(items=(("INFO", "", ""), ("WARNING", "", ""), ("ERROR", "", "")))
    link: StringProperty(default="OFF")  # a state of core.events
    job_id: StringProperty()  # of the job that the bar shows; "" = none
    phase: StringProperty()
    left: StringProperty()  # time until the phase is done; "" = nobody can tell
    progress: FloatProperty(subtype="FACTOR", min=0.0, max=1.0)


_register, _unregister = bpy.utils.register_classes_factory((EX4D_PG_Options, EX4D_PG_Scene, EX4D_PG_Status))


def register() -> None:
    """Classes and the properties that hold them."""
    _register()
    bpy.types.Scene.ex4d = PointerProperty(type=EX4D_PG_Scene)
    bpy.types.WindowManager.ex4d = PointerProperty(type=EX4D_PG_Status)


def unregister() -> None:
    """Remove both."""
    del bpy.types.WindowManager.ex4d
    del bpy.types.Scene.ex4d
    _unregister()
