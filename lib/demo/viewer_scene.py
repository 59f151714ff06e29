"""What the 3D viewer shows: settings that a person changes, a shot (picture and depth), and the arrays made of both.

Nothing here knows about a server or a browser. Shapes: H W the picture, N points.
"""

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from ..predict import DepthMap
from .colour import Look, paint_depth, value_ends
from .geometry import (
    DepthRange,
    Pinhole,
    Surface,
    make_points,
    make_surface,
    normals,
    smooth,
    step_for,
    to_metres,
    unproject,
)
from .mesh_files import encode_texture, glb_bytes, obj_bytes, ply_bytes

MESH, POINTS = "textured mesh", "point cloud"
SHAPES = (MESH, POINTS)
PICTURE, DEPTH, NORMALS = "picture", "depth", "normals"
COLOURS = (PICTURE, DEPTH, NORMALS)
MOST_POINTS = 250_000  # of a still, unless asked for more: a browser turns so many smoothly
MOST_VIDEO_POINTS = 256 * 192  # of a frame: 20 of them a second are still little
RELATIVE_RANGE = (1.0, 10.0)  # metres: where a relative model's nearest and farthest values go at first
NEAREST = 0.01  # metres
FARTHEST = 100.0  # metres: for metric models that set no bound


@dataclass(frozen=True)
class Settings:
    """Everything about the scene that can be chosen. Lengths in metres.

    focal: of the whole picture, in pixels. edge: see `geometry.is_torn`, per pixel. step: keep every so many pixels.
    point_size: as a multiple of the distance between neighbours. smoothing: from 0 to 1; steadiness: from 0 to below 1,
    how much of the last frame's depth stays in a video's next. side_length: of the network's input, None for the model's.
    """

    shape: str = MESH
    colour_by: str = PICTURE
    depth_range: DepthRange = field(default_factory=lambda: DepthRange(*RELATIVE_RANGE))
    focal: float = 1000.0
    edge: float = 0.06
    step: int = 1
    point_size: float = 1.5
    smoothing: float = 0.0
    steadiness: float = 0.0
    side_length: int | None = None
    background: str = "dark"
    frustum: bool = True
    colour_map: str = "inferno"


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture with its depth, both H W.

    image_bgr: uint8. limits: the range of values that relative depth is normalised by. name: for files. mask: H W bool,
    what to show; None for everything. full_wh, region: of which picture, and of which part of it (x, y, width, height),
    this is a copy, maybe a smaller one; None for itself, and for the whole.
    """

    image_bgr: np.ndarray
    depth_map: DepthMap
    limits: tuple[float, float]
    name: str = "picture"
    mask: np.ndarray | None = None
    full_wh: tuple[int, int] | None = None
    region: tuple[int, int, int, int] | None = None

    def camera(self, focal: float) -> Pinhole:
        """The camera of this picture, for a focal length in pixels of the full one."""
        height, width = self.image_bgr.shape[:2]
        full_wh = self.full_wh or (width, height)
        return Pinhole.centred(*full_wh, focal).cropped(*(self.region or (0, 0, *full_wh))).resized(width, height)


def limits_of(depth_map: DepthMap, mask: np.ndarray | None = None) -> tuple[float, float]:
    """Smallest and largest finite value, of what the mask keeps."""
    depth = depth_map.depth if mask is None or not mask.any() else depth_map.depth[mask]
    return value_ends(depth, nearest_is_largest=True)


def default_range(quantity: str, value_range: tuple[float, float]) -> DepthRange:
    """Near and far to begin with: read from a metric model, agreed on for a relative one."""
    if quantity != "metres":
        return DepthRange(*RELATIVE_RANGE)
    low, high = value_range
    return DepthRange(max(low, NEAREST), high if math.isfinite(high) else FARTHEST)


def metres_of(shot: Shot, settings: Settings) -> np.ndarray:
    """Depth in metres, H W float32; NaN where nothing is known or the mask hides it."""
    depth = smooth(shot.depth_map.depth, settings.smoothing)
    metres = to_metres(depth, shot.depth_map.quantity, shot.limits, settings.depth_range)
    return metres if shot.mask is None else np.where(shot.mask, metres, np.float32(np.nan))


def colours_of(shot: Shot, settings: Settings, metres: np.ndarray) -> np.ndarray:
    """What the scene is painted with, H W 3 uint8 BGR."""
    if settings.colour_by == PICTURE:
        return shot.image_bgr
    if settings.colour_by == DEPTH:
        return depth_colours(shot, settings.colour_map)
    height, width = metres.shape
    points = unproject(metres, shot.camera(settings.focal), np.arange(height), np.arange(width))
    return np.rint((normals(points)[..., ::-1] + 1) * 127.5).astype(np.uint8)  # x, y, z -> red, green, blue


def depth_colours(shot: Shot, colour_map: str) -> np.ndarray:
    """The depth map, painted, H W 3 uint8 BGR."""
    nearest_is_largest = shot.depth_map.nearest_is_largest
    return paint_depth(shot.depth_map.depth, Look(colour_map=colour_map), nearest_is_largest=nearest_is_largest)[0]


def surface_of(shot: Shot, settings: Settings, metres: np.ndarray) -> Surface:
    """The relief."""
    return make_surface(metres, shot.camera(settings.focal), step=settings.step, threshold=settings.edge)


def cloud_of(shot: Shot, settings: Settings, metres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points N 3 float32 and their colours N 3 uint8 RGB."""
    points, rows, columns = make_points(metres, shot.camera(settings.focal), step=settings.step, threshold=settings.edge)
    return points, np.ascontiguousarray(colours_of(shot, settings, metres)[rows, columns, ::-1])


def glb_of(shot: Shot, settings: Settings, metres: np.ndarray) -> bytes:
    """The textured relief as .glb; empty where there is no surface at all."""
    surface = surface_of(shot, settings, metres)
    if len(surface.faces) == 0:
        return b""
    height, width = metres.shape
    return glb_bytes(surface, encode_texture(colours_of(shot, settings, metres)), (width, height))


def file_of(shot: Shot, settings: Settings, file_format: str) -> bytes:
    """The scene as .glb (textured mesh), .ply (points) or .obj (mesh with colours). Raises ValueError if it is empty."""
    metres = metres_of(shot, settings)
    if file_format == "ply":
        points, colours_rgb = cloud_of(shot, settings, metres)
        data = ply_bytes(points, colours_rgb) if len(points) else b""
    elif file_format == "obj":
        surface = surface_of(shot, settings, metres)
        colours_rgb = colours_of(shot, settings, metres)[surface.rows, surface.columns, ::-1]
        data = obj_bytes(surface, colours_rgb) if len(surface.faces) else b""
    else:
        data = glb_of(shot, settings, metres)
    if not data:
        raise ValueError("nothing is left to save: the mask, near and far or the edge threshold hide everything")
    return data


def spacing_of(shot: Shot, settings: Settings, metres: np.ndarray) -> float:
    """Metres between neighbouring points, at the median depth."""
    known = metres[::7, ::7]
    known = known[np.isfinite(known)]
    middle = float(np.median(known)) if known.size else 1.0
    return middle * settings.step / shot.camera(settings.focal).fx


def depth_ends(metres: np.ndarray) -> tuple[float, float, float]:
    """Nearest, middle and farthest depth, without the last hundredth on either side. Ones, if nothing is known."""
    known = metres[::3, ::3]
    known = known[np.isfinite(known)]
    if known.size == 0:
        return 1.0, 1.0, 1.0
    return tuple(float(value) for value in np.percentile(known, (1, 50, 99)))


def default_step(height: int, width: int, *, is_video: bool) -> int:
    """How many pixels to leave out at first."""
    return step_for(height, width, MOST_VIDEO_POINTS if is_video else MOST_POINTS)


def shrink(shot: Shot, step: int) -> Shot:
    """A shot of a step-th of the rows and columns: what a video keeps of a frame."""
    if step <= 1:
        return shot
    height, width = shot.image_bgr.shape[:2]
    small = (math.ceil(width / step), math.ceil(height / step))
    depth = cv2.resize(shot.depth_map.depth, small, interpolation=cv2.INTER_LINEAR)
    mask = shot.mask
    if mask is not None:
        mask = cv2.resize(mask.astype(np.uint8), small, interpolation=cv2.INTER_NEAREST) > 0
    return replace(
        shot,
        image_bgr=cv2.resize(shot.image_bgr, small, interpolation=cv2.INTER_AREA),
        depth_map=replace(shot.depth_map, depth=depth),
        mask=mask,
        full_wh=shot.full_wh or (width, height),
    )
