# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a reconstruction in a scene: root empty > source camera > mesh, and a shot camera to move.

The root is the reconstruction's world, which is the source camera of its first frame. It is turned so that this camera
looks along +Y with Z up, or put where a camera of the artist's stood. Where the source camera moved it is keyed; the
mesh lies in its axes and goes with it. What is built carries custom properties, so that it is found again after undo,
renaming and reopening.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

from . import keys, materials, mesh_nodes
from .core import camera_math, frame_rate, scene_manifest
from .core.camera_math import F64
from .core.scene_manifest import SceneManifest

ROLE = "ex4d_role"  # on each object: one of the four below
ROOT, SOURCE_CAMERA, MESH, SHOT_CAMERA = "root", "source_camera", "mesh", "shot_camera"
ARTIFACT = "ex4d_artifact"  # on the collection, the root and the mesh: id of the reconstruction in the backend
MANIFEST = "ex4d_manifest"  # on the collection and the mesh: scene.json's values, as JSON


@dataclass(frozen=True, eq=False)
class Place:
    """Where a reconstruction is put, and when."""

    frame: int = 1  # scene frame that shows the first picture
    root: F64 = field(default_factory=lambda: camera_math.UPRIGHT)  # [4, 4] the root's `matrix_world`


@dataclass(frozen=True)
class Built:
    """Names of what `build` made; "" for what is gone."""

    collection: str
    root: str
    source_camera: str
    mesh: str
    shot_camera: str

    def need(self, role: str) -> str:
        """Name of a part.

        Raises:
            Ex4dError: NOT_FOUND, it is gone.
        """
        name = str(getattr(self, role))
        if not name:
            raise Ex4dError(
                NOT_FOUND,
                f"The {role.replace('_', ' ')} of '{self.collection}' is gone.",
                "Undo its deletion, or reconstruct the clip again.",
            )
        return name


def build(scene: bpy.types.Scene, folder: Path, *, name: str, artifact: str = "", place: Place | None = None) -> Built:
    """Builds a reconstruction in a new collection of the scene. Nothing that is there is replaced.

    The shot camera becomes the scene's camera; frame range, frame rate and resolution become the clip's, and the
    scene goes to its first frame. In a saved file the sequences get paths relative to it (in
    another one Blender gives them such paths when it is first saved).

    Args:
        scene: where to.
        folder: the reconstruction's files, which have to stay there.
        name: of the collection; the objects' names start with it.
        artifact: id of the reconstruction in the backend, kept as a custom property.
        place: where and when; None: upright at the origin, from frame 1 on.

    Raises:
        Ex4dError: the folder holds no usable reconstruction; nothing was built.
    """
    manifest = scene_manifest.read(folder)
    place = place or Place()
    try:
        depth = materials.load_sequence(folder / scene_manifest.FIRST_MESH, f"{name} depth", "Non-Color")
        material = materials.build(name, folder / scene_manifest.FIRST_PICTURE)
    except RuntimeError as e:  # Blender's own reader
        raise Ex4dError(BAD_INPUT, f"Blender cannot read the pictures in {folder}: {str(e).strip()}") from None

    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    root = _object(collection, f"{name} root", None, ROOT)
    root.empty_display_size = manifest.pivot * 0.1
    root.matrix_world = Matrix(place.root.tolist())
    source = _camera(collection, f"{name} source", manifest, SOURCE_CAMERA, root)
    shot = _camera(collection, f"{name} shot", manifest, SHOT_CAMERA, root)
    # Pan, tilt and roll as channels of their own: pan turns last, so the order only locks looking straight up.
    shot.rotation_mode = "ZXY"
    mesh = _object(collection, f"{name} mesh", bpy.data.meshes.new(f"{name} mesh"), MESH, source)
    mesh_nodes.add_modifier(
        mesh,
        {
            "Depth": depth,
            "Material": material,
            "Width": manifest.width,
            "Height": manifest.height,
            "Frames": manifest.frames,
            "Frame Start": place.frame,
            "Focal": manifest.focal,
            "Principal X": manifest.cx,
            "Principal Y": manifest.cy,
            "Disparity Scale": 1.0,
            "Disparity Shift": 0.0,
            "Unseen": mesh_nodes.UNSEEN_TINT,
            "Walls": mesh_nodes.CLOSED,
        },
    )
    mesh.data.materials.append(material)
    _follow_inputs(mesh, source, material, manifest)
    _animate(mesh, source, manifest, place.frame)
    for owner in (collection, root, mesh):
        owner[ARTIFACT] = artifact
    for owner in (collection, mesh):
        owner[MANIFEST] = json.dumps(scene_manifest.to_dict(manifest))
    scene.camera = shot
    _set_up(scene, manifest, place.frame)
    return Built(collection.name, root.name, source.name, mesh.name, shot.name)


def find(collection_name: str) -> Built:
    """The parts of a reconstruction by its collection, whatever they are called now.

    Raises:
        Ex4dError: NOT_FOUND, the collection is gone.
    """
    collection = bpy.data.collections.get(collection_name)
    if collection is None:
        raise Ex4dError(NOT_FOUND, f"The collection '{collection_name}' is gone.", "Reconstruct the clip again.")
    names = {role: "" for role in (ROOT, SOURCE_CAMERA, MESH, SHOT_CAMERA)}
    for obj in reversed(collection.all_objects):
        names[obj.get(ROLE)] = obj.name
    return Built(collection_name, *(names[role] for role in (ROOT, SOURCE_CAMERA, MESH, SHOT_CAMERA)))


def of_scene(scene: bpy.types.Scene) -> Built:
    """The reconstruction in the scene; of several, the one whose camera the scene uses, else the last one built.

    Its shot camera is the one that the scene looks through, where the artist made copies.

    Raises:
        Ex4dError: NOT_FOUND, there is none.
    """
    names = names_in(scene)
    if not names:
        raise Ex4dError(
            NOT_FOUND, f"Nothing is reconstructed in the scene '{scene.name}'.", "Reconstruct a clip first."
        )
    camera = scene.camera
    looking = [n for n in names if camera is not None and camera.name in bpy.data.collections[n].all_objects]
    built = find((looking or names)[-1])
    return replace(built, shot_camera=camera.name) if looking and camera.get(ROLE) == SHOT_CAMERA else built


def names_in(scene: bpy.types.Scene) -> tuple[str, ...]:
    """Collections of all reconstructions in the scene, the first that was built first."""
    return tuple(c.name for c in scene.collection.children_recursive if MANIFEST in c)


def show_alone(scene: bpy.types.Scene, collection_name: str) -> None:
    """Of several reconstructions, which lie in each other's way, show this one; look through its shot camera.

    Raises:
        Ex4dError: NOT_FOUND, its mesh is gone.
    """
    chosen = find(collection_name)
    mesh = chosen.need(MESH)
    for obj in (bpy.data.objects.get(find(name).mesh) for name in names_in(scene)):
        if obj is not None and obj.library is None:
            obj.hide_viewport = obj.hide_render = obj.name != mesh
    if chosen.shot_camera:
        scene.camera = bpy.data.objects[chosen.shot_camera]


def show_geometry(scene: bpy.types.Scene, geometry: str) -> None:
    """Have the meshes of all reconstructions in the scene stand as they are rendered: "closed" or "bounded"."""
    walls = mesh_nodes.BOUNDED if geometry == "bounded" else mesh_nodes.CLOSED
    for name in names_in(scene):
        mesh = bpy.data.objects.get(find(name).mesh)
        modifier = mesh_nodes.find_modifier(mesh) if mesh is not None and mesh.library is None else None
        if modifier is not None and mesh_nodes.has_input(modifier, "Walls"):
            if mesh_nodes.get_input(modifier, "Walls") != walls:  # setting it has the mesh made anew
                mesh_nodes.set_input(modifier, "Walls", walls)


def manifest_of(collection_name: str) -> SceneManifest:
    """What `scene.json` said of a built reconstruction.

    Raises:
        Ex4dError: NOT_FOUND, there is no such reconstruction in the file.
    """
    collection = bpy.data.collections.get(collection_name)
    if collection is None or MANIFEST not in collection:
        raise Ex4dError(NOT_FOUND, f"The collection '{collection_name}' holds no reconstruction.")
    return scene_manifest.from_dict(json.loads(collection[MANIFEST]), f"'{collection_name}'")


def manifest_of_mesh(mesh: bpy.types.Object) -> SceneManifest:
    """What `scene.json` said of an imported mesh, wherever the artist has put it.

    Raises:
        Ex4dError: NOT_FOUND, it does not tell; VERSION, it was imported by another release.
    """
    if MANIFEST not in mesh:
        raise Ex4dError(
            NOT_FOUND, f"'{mesh.name}' does not tell how its source camera moved.", "Reconstruct the clip again."
        )
    return scene_manifest.from_dict(json.loads(mesh[MANIFEST]), f"'{mesh.name}'")


def _object(
    collection: bpy.types.Collection,
    name: str,
    data: bpy.types.ID | None,
    role: str,
    parent: bpy.types.Object | None = None,
) -> bpy.types.Object:
    obj = bpy.data.objects.new(name, data)
    obj[ROLE] = role
    obj.parent = parent
    collection.objects.link(obj)
    return obj


def _camera(
    collection: bpy.types.Collection, name: str, manifest: SceneManifest, role: str, parent: bpy.types.Object
) -> bpy.types.Object:
    data = bpy.data.cameras.new(name)
    lens = camera_math.lens_for(manifest.focal, manifest.cx, manifest.cy, manifest.width, manifest.height)
    data.sensor_fit, data.sensor_width = lens.sensor_fit, lens.sensor_width
    data.lens, data.shift_x, data.shift_y = lens.lens, lens.shift_x, lens.shift_y
    data.display_size = manifest.pivot * 0.1
    data.clip_start = manifest.pivot * 1e-3
    data.clip_end = manifest.far * 100.0
    return _object(collection, name, data, role, parent)


def _set_up(scene: bpy.types.Scene, manifest: SceneManifest, first: int) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = manifest.width, manifest.height, 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.fps, render.fps_base = frame_rate.to_blender(manifest.fps)
    scene.frame_start, scene.frame_end = first, first + manifest.frames - 1
    scene.frame_set(first)


def _animate(mesh: bpy.types.Object, source: bpy.types.Object, manifest: SceneManifest, first: int) -> None:
    """Keys on every frame for what changes over time: where the source camera stands, and the mesh's lens inputs."""
    camera = manifest.camera
    frames = range(first, first + manifest.frames)
    if camera.moves:
        source.rotation_mode = "QUATERNION"
        poses = [
            Matrix(camera_math.blender_pose(np.array(pose).reshape(4, 4)).tolist()) for pose in camera.world_from_camera
        ]
        keys.lay_pose(source, dict(zip(frames, poses, strict=True)))
    if camera.zooms:
        modifier = mesh_nodes.find_modifier(mesh)
        for name, column in (("Focal", 0), ("Principal X", 2), ("Principal Y", 3)):
            values = {frame: lens[column] for frame, lens in zip(frames, camera.lens, strict=True)}
            path = mesh_nodes.input_path(modifier, name)
            keys.lay(mesh, path, values, lambda value, n=name: mesh_nodes.set_input(modifier, n, value))


def _follow_inputs(
    mesh: bpy.types.Object, source: bpy.types.Object, material: bpy.types.Material, manifest: SceneManifest
) -> None:
    """Drivers: the pictures run with the mesh, and the source camera shows the mesh's focal length and centre.

    The start of an image sequence cannot be driven, its offset can: the material's sequence is one frame long, and the
    offset does the counting. All are plain arithmetic, which Blender evaluates without running Python, so they work in
    files that nobody has declared trusted.
    """
    view = max(manifest.width, manifest.height)
    sensor = camera_math.DEFAULT_SENSOR
    offset = f'nodes["{materials.PICTURE}"].image_user.frame_offset'
    count = f"min(max(floor(frame) - value, 0), {manifest.frames - 1})"
    _drive(material.node_tree, offset, mesh, "Frame Start", count)
    _drive(source.data, "lens", mesh, "Focal", f"value * {sensor / view!r}")
    _drive(source.data, "shift_x", mesh, "Principal X", f"({manifest.width / 2!r} - value) / {view}")
    _drive(source.data, "shift_y", mesh, "Principal Y", f"(value - {manifest.height / 2!r}) / {view}")


def _drive(owner: bpy.types.ID, path: str, mesh: bpy.types.Object, source_input: str, expression: str) -> None:
    modifier = mesh_nodes.find_modifier(mesh)
    driver = owner.driver_add(path).driver
    variable = driver.variables.new()
    variable.name = "value"
    target = variable.targets[0]
    target.id = mesh
    target.data_path = mesh_nodes.input_path(modifier, source_input)
    driver.type = "SCRIPTED"
    driver.expression = expression
