"""Meshes and points as files that other programs open: .glb, .ply and .obj, written by trimesh.

All three have the axes of `geometry`: x to the right, y upwards, z towards the viewer, metres. The picture is upright
in Blender, MeshLab, three.js and the like.
"""

from typing import BinaryIO

import cv2
import numpy as np

from ..errors import UserError
from .geometry import Surface

MESH_FORMATS = ("glb", "ply", "obj")
JPEG_QUALITY = 92
LARGEST_TEXTURE = 4096  # pixels of a side: what every graphics card can show


def require_trimesh():
    """The package trimesh. Raises UserError with one sentence where it is missing."""
    try:
        import trimesh
    except ImportError as error:
        raise UserError(f"3D files need the package trimesh ({error}): pip install -r requirements.txt") from error
    return trimesh


def encode_texture(image_bgr: np.ndarray) -> bytes:
    """A uint8 picture as JPEG, made smaller where it is too large for graphics cards."""
    image_bgr = at_most(image_bgr, LARGEST_TEXTURE)
    return cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def at_most(image_bgr: np.ndarray, side: int) -> np.ndarray:
    """The picture with no side longer than this."""
    shrink = side / max(image_bgr.shape[:2])
    if shrink >= 1:
        return image_bgr
    size = [max(round(length * shrink), 1) for length in image_bgr.shape[1::-1]]
    return cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)


def glb_bytes(surface: Surface, texture: bytes, picture_wh: tuple[int, int], *, gain: float = 1.0) -> bytes:
    """A binary glTF of a relief with its picture. texture: see `encode_texture`. picture_wh: what rows and columns are of.
    gain: multiplies the texture's light.

    The material is unlit (KHR_materials_unlit): the picture has its light in it already, and lamps would shade every
    grain of the depth map.
    """
    trimesh = require_trimesh()
    width, height = picture_wh
    # trimesh counts v from the bottom, and turns it over for glTF, which counts from the top.
    uv = np.stack([(surface.columns + 0.5) / width, 1 - (surface.rows + 0.5) / height], axis=-1)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=EncodedPicture(texture), doubleSided=True)
    mesh = trimesh.Trimesh(
        surface.vertices, surface.faces, visual=trimesh.visual.TextureVisuals(uv=uv, material=material), process=False
    )
    return trimesh.exchange.gltf.export_glb(mesh, include_normals=False, tree_postprocessor=lambda tree: make_unlit(tree, gain))


class EncodedPicture:
    """A JPEG that trimesh takes for a PIL picture: written as it is, instead of decoded and encoded once more."""

    format = "JPEG"

    def __init__(self, encoded: bytes):
        self.encoded = encoded

    def tobytes(self) -> bytes:
        """What trimesh tells materials apart by."""
        return self.encoded

    def save(self, file: BinaryIO, format: str) -> None:
        file.write(self.encoded)


def make_unlit(tree: dict, gain: float) -> None:
    """Marks every material of a glTF tree as unlit and multiplies its light, in place."""
    for material in tree.get("materials", []):
        material.setdefault("extensions", {})["KHR_materials_unlit"] = {}
        if gain != 1:
            material["pbrMetallicRoughness"]["baseColorFactor"] = [gain, gain, gain, 1.0]
    tree.setdefault("extensionsUsed", []).append("KHR_materials_unlit")


def ply_bytes(points: np.ndarray, colours_rgb: np.ndarray) -> bytes:
    """A binary PLY of points N 3 with colours N 3 (uint8, RGB)."""
    trimesh = require_trimesh()
    return trimesh.PointCloud(points, colors=with_alpha(colours_rgb)).export(file_type="ply")


def obj_bytes(surface: Surface, colours_rgb: np.ndarray) -> bytes:
    """A Wavefront OBJ of a relief with a colour per vertex (N 3 uint8, RGB): one file, no material beside it."""
    trimesh = require_trimesh()
    mesh = trimesh.Trimesh(surface.vertices, surface.faces, vertex_colors=with_alpha(colours_rgb), process=False)
    text = mesh.export(file_type="obj", include_normals=False, header="Plain DPT: x right, y up, z to the viewer")
    return text.encode()


def with_alpha(colours_rgb: np.ndarray) -> np.ndarray:
    """N 3 -> N 4 uint8, opaque."""
    return np.concatenate([colours_rgb, np.full((len(colours_rgb), 1), 255, np.uint8)], axis=1)
