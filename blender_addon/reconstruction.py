# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a reconstruction in a scene: root empty > source camera > mesh, and a shot camera to move.

The root is the reconstruction's world, which is the source camera of its first frame. It is turned so that this camera
looks along +Y with Z up, or put where a camera of the artist's stood. Where the source camera moved it is keyed; the
mesh lies in its axes and goes with it. What is built carries custom properties, so that it is found again after undo,
renaming and reopening.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

from . import clip_motion, materials, mesh_nodes
from .core import camera_math, frame_rate, scene_manifest
from .core.camera_math import F64
from .core.scene_manifest import SceneManifest

ROLE = "ex4d_role"  # on each object: one of the four below
ROOT, SOURCE_CAMERA, MESH, SHOT_CAMERA = "root", "source_camera", "mesh", "shot_camera"
ARTIFACT = "ex4d_artifact"  # on the collection and the mesh: id of the reconstruction in the backend
_CLIP_START = 1e-3  # of cameras, as a share of the pivot's distance
_CLIP_END = 2e6  # of cameras: whatever its scale and shift are, no point of a mesh lies beyond a million units
_SAME_PLACE = 1e-4  # how far two roots may be apart and be one
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


def build(
    scene: bpy.types.Scene,
    folder: Path,
    *,
    name: str,
    artifact: str = "",
    place: Place | None = None,
    keep: str = "",
) -> Built:
    """Builds a reconstruction in a new collection of the scene. Nothing that is there is replaced.

    The shot camera becomes the scene's camera; frame range, frame rate and resolution become the clip's, and the
    scene goes to its first frame. In a saved file the sequences get paths relative to it (in
    another one Blender gives them such paths when it is first saved).

    With `keep` the shot cameras of another reconstruction are this one's as well, the very same objects, and so is its
    root, where it stands at `place`: they lie in both collections then. Scene settings stay as they are.

    Args:
        scene: where to.
        folder: the reconstruction's files, which have to stay there.
        name: of the collection; the objects' names start with it.
        artifact: id of the reconstruction in the backend, kept as a custom property.
        place: where and when; None: upright at the origin, from frame 1 on.
        keep: collection of the reconstruction whose cameras are kept; "" = none.

    Raises:
        Ex4dError: the folder holds no usable reconstruction, or what is to be kept is gone; nothing was built.
    """
    kept = _shot_cameras(find(keep).collection) if keep else []
    manifest = scene_manifest.read(folder)
    place = place or Place()
    try:
        depth = materials.load_sequence(folder / scene_manifest.FIRST_MESH, f"{name} depth", "Non-Color")
        material = materials.build(name, folder / scene_manifest.FIRST_PICTURE, manifest)
    except RuntimeError as e:  # Blender's own reader
        raise Ex4dError(BAD_INPUT, f"Blender cannot read the pictures in {folder}: {str(e).strip()}") from None

    collection = bpy.data.collections.new(name)
    scene.collection.children.link(collection)
    root = _root(collection, name, manifest, place, keep)
    source = _camera(collection, f"{name} source", manifest, SOURCE_CAMERA, root)
    if kept:
        shot = kept[0]
        for camera in kept:
            collection.objects.link(camera)
            _see_all(camera, manifest)
            _hold(collection, camera)
    else:
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
    clip_motion.follow_inputs(mesh, source, material, manifest)
    clip_motion.animate(mesh, source, manifest, place.frame)
    for owner in (collection, mesh):
        owner[ARTIFACT], owner[MANIFEST] = artifact, json.dumps(scene_manifest.to_dict(manifest))
    if kept:
        scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)  # show the keys where the artist stands
    else:
        scene.camera = shot
        _set_up(scene, manifest, place.frame)
    return Built(collection.name, root.name, source.name, mesh.name, shot.name)


def folder_of(collection_name: str) -> Path:
    """Where a reconstruction's files lie. Blender keeps the path right when the .blend is saved elsewhere.

    Raises:
        Ex4dError: NOT_FOUND, its mesh is gone.
    """
    modifier = mesh_nodes.need_modifier(bpy.data.objects[find(collection_name).need(MESH)])
    image = mesh_nodes.get_input(modifier, "Depth")
    return Path(bpy.path.abspath(image.filepath)).resolve().parent.parent


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
    """The reconstruction in the scene; of several, the one whose camera the scene uses, else the last one built. Of
    those that share a camera it is the one whose mesh is shown.

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
    built = find(([n for n in looking if is_shown(n)] or looking or names)[-1])
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
    if chosen.shot_camera and scene.camera not in _shot_cameras(collection_name):
        scene.camera = bpy.data.objects[chosen.shot_camera]


def is_shown(collection_name: str) -> bool:
    """Whether a reconstruction's mesh is there, and not hidden for another's sake."""
    mesh = bpy.data.objects.get(find(collection_name).mesh)
    return mesh is not None and not (mesh.hide_viewport and mesh.hide_render)


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
    return _parsed(collection[MANIFEST], f"'{collection_name}'")


def manifest_of_mesh(mesh: bpy.types.Object) -> SceneManifest:
    """What `scene.json` said of an imported mesh, wherever the artist has put it.

    Raises:
        Ex4dError: NOT_FOUND, it does not tell; VERSION, it was imported by another release.
    """
    if MANIFEST not in mesh:
        raise Ex4dError(
            NOT_FOUND, f"'{mesh.name}' does not tell how its source camera moved.", "Reconstruct the clip again."
        )
    return _parsed(mesh[MANIFEST], f"'{mesh.name}'")


@functools.lru_cache(maxsize=8)
def _parsed(text: str, where: str) -> SceneManifest:
    # The panel asks at every redraw, and a long clip has a camera for each of its frames.
    return scene_manifest.from_dict(json.loads(text), where)


def _shot_cameras(collection_name: str) -> list[bpy.types.Object]:
    """The shot camera of a reconstruction, and the artist's copies of it."""
    return [obj for obj in bpy.data.collections[collection_name].all_objects if obj.get(ROLE) == SHOT_CAMERA]


def _root(
    collection: bpy.types.Collection, name: str, manifest: SceneManifest, place: Place, keep: str
) -> bpy.types.Object:
    """What a reconstruction hangs on: a new empty, or that of the kept one where it stands at the same place."""
    kept = bpy.data.objects.get(find(keep).root) if keep else None
    if kept is not None and np.allclose(np.array(kept.matrix_world), place.root, rtol=0.0, atol=_SAME_PLACE):
        collection.objects.link(kept)
        return kept
    root = _object(collection, f"{name} root", None, ROOT)
    root.empty_display_size = manifest.pivot * 0.1
    root.matrix_world = Matrix(place.root.tolist())
    return root


def _hold(collection: bpy.types.Collection, camera: bpy.types.Object) -> None:
    """Keeps the root that a camera hangs on: where the collection it came from is deleted, the camera stays put."""
    above = camera.parent
    while above is not None:
        if above.get(ROLE) == ROOT and above.name not in collection.objects:
            collection.objects.link(above)  # after this reconstruction's own root, which `find` meets first
        above = above.parent


def _see_all(camera: bpy.types.Object, manifest: SceneManifest) -> None:
    """Has a camera that was made for other depth not cut this one off."""
    data = camera.data
    if data.library is None:
        data.clip_start = min(data.clip_start, manifest.pivot * _CLIP_START)
        data.clip_end = max(data.clip_end, _CLIP_END)


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
    data.clip_start = manifest.pivot * _CLIP_START
    data.clip_end = _CLIP_END
    return _object(collection, name, data, role, parent)


def _set_up(scene: bpy.types.Scene, manifest: SceneManifest, first: int) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = manifest.width, manifest.height, 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    render.fps, render.fps_base = frame_rate.to_blender(manifest.fps)
    scene.frame_start, scene.frame_end = first, first + manifest.frames - 1
    scene.frame_set(first)
