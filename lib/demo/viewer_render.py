"""Pictures of a scene without a browser: for turntable videos and screenshots from the command line.

Points are drawn as squares, the nearest on top. That needs neither a graphics card nor a screen, and is the same
everywhere. Shapes: N points, T triangles, H W the drawn picture.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from .geometry import make_points, make_surface, step_for
from .viewer_scene import POINTS, Settings, Shot, colours_of, depth_ends, metres_of

BACKGROUNDS = {"dark": (24, 24, 28), "light": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0)}  # BGR
OVERSAMPLING = 2  # drawn so much larger and averaged: edges of squares become soft
MOST_DRAWN = 500_000  # pixels of the picture that a video draws
SQUARE, LARGEST_SQUARE = 1.5, 16  # side of a point's square, in spacings and at most in pixels
NEAREST = 1e-3  # metres in front of the drawing's camera
SWING_DEGREES = 25.0  # to either side: farther round, a picture has no back
TILT_SHARE = 0.35  # of the swing, up and down
FURTHER_BACK = 0.12  # of the middle depth: room for the swing
STRETCH, MOST_PARTS = 2.0, 8  # a mesh's edge gets a point every so many spacings, and at most so many parts
VIDEO_SIDE = 960  # pixels at most


@dataclass(frozen=True)
class Pose:
    """Where a drawing's camera stands: yaw and pitch in degrees around a point on the axis, `pivot` metres ahead.

    back: metres that it stands farther from the pivot than the picture's own camera.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    pivot: float = 1.0
    back: float = 0.0


def scene_points(shot: Shot, settings: Settings) -> tuple[np.ndarray, np.ndarray, float]:
    """Points N 3, their colours N 3 (BGR), and their spacing at a depth of one metre.

    Large pictures are thinned out, and the long edges of a mesh are filled.
    """
    metres = metres_of(shot, settings)
    height, width = metres.shape
    step = step_for(height, width, MOST_DRAWN)
    camera, colours_bgr = shot.camera(settings.focal), colours_of(shot, settings, metres)
    spacing = step / camera.fx
    if step > 1:  # what is left out still colours its neighbours: otherwise thin lines break up
        colours_bgr = cv2.blur(colours_bgr, (step, step))
    if settings.shape == POINTS:
        points, rows, columns = make_points(metres, camera, step=step, threshold=settings.edge)
        return points, colours_bgr[rows, columns], spacing
    surface = make_surface(metres, camera, step=step, threshold=settings.edge)
    colours_bgr = colours_bgr[surface.rows, surface.columns]
    more_points, more_colours = fill_edges(surface.vertices, colours_bgr, surface.faces, spacing)
    return np.concatenate([surface.vertices, more_points]), np.concatenate([colours_bgr, more_colours]), spacing


def fill_edges(
    vertices: np.ndarray, colours_bgr: np.ndarray, faces: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points on the edges that are longer than the points' spacing, and their colours: N 3 float32, N 3 uint8."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])  # T 3 -> 3T 2
    start, end = edges[edges[:, 0] < edges[:, 1]].T  # two triangles have an edge in opposite directions: take it once
    between = vertices[end] - vertices[start]
    length = np.sqrt(np.einsum("ij,ij->i", between, between))
    parts = np.ceil(length / (STRETCH * spacing * -vertices[start, 2])).clip(1, MOST_PARTS).astype(np.int8)
    points, colours = [np.empty((0, 3), np.float32)], [np.empty((0, 3), np.uint8)]
    for number in range(2, MOST_PARTS + 1):
        first, last = start[parts == number], end[parts == number]
        for part in range(1, number):
            share = np.float32(part / number)
            points.append(vertices[first] * (1 - share) + vertices[last] * share)
            colours.append((colours_bgr[first] * (1 - share) + colours_bgr[last] * share).astype(np.uint8))
    return np.concatenate(points), np.concatenate(colours)


def draw_points(
    points: np.ndarray,
    colours_bgr: np.ndarray,
    pose: Pose,
    *,
    focal: float,
    size_wh: tuple[int, int],
    spacing: float,
    background: str = "dark",
) -> np.ndarray:
    """The points from another place, H W 3 uint8 BGR. Axes as in `geometry`.

    focal: pixels of the drawing. spacing: metres between neighbours at a depth of one metre (the points of a picture
    spread like its rays), which says how large their squares have to be.
    """
    width, height = (side * OVERSAMPLING for side in size_wh)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = BACKGROUNDS[background]
    if len(points):
        seen = into_view(points, pose)
        depth = -seen[:, 2]
        drawn_focal = focal * OVERSAMPLING
        with np.errstate(divide="ignore", invalid="ignore"):
            across = width / 2 + drawn_focal * seen[:, 0] / depth
            down = height / 2 - drawn_focal * seen[:, 1] / depth
            sides = np.ceil(SQUARE * drawn_focal * spacing * -points[:, 2] / depth)
        visible = (depth > NEAREST) & (across >= 0) & (across < width) & (down >= 0) & (down < height)
        sides = np.clip(sides[visible], 1, LARGEST_SQUARE).astype(np.int8)
        splat(canvas, across[visible], down[visible], depth[visible], sides, colours_bgr[visible])
    return cv2.resize(canvas, size_wh, interpolation=cv2.INTER_AREA)


def into_view(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Points in the axes of a camera at this pose, N 3 -> N 3."""
    yaw, pitch = math.radians(pose.yaw), math.radians(pose.pitch)
    around_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    pivot = np.array([0, 0, -pose.pivot])
    turned = (points - pivot) @ (around_x @ around_y).T.astype(np.float32)
    return (turned + pivot - np.array([0, 0, pose.back])).astype(np.float32)


def splat(
    canvas: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    depth: np.ndarray,
    sides: np.ndarray,
    colours_bgr: np.ndarray,
) -> None:
    """Squares of these sides around these places on the canvas, in place; nearer ones cover farther ones."""
    height, width = canvas.shape[:2]
    order = np.argsort(-sides, kind="stable")  # the first ones have a pixel in every row and column of their square
    sides = sides[order]
    # The depth in the upper half and the point's number in the lower one: the smallest number is the nearest point.
    # Positive floats are in the order of their bits.
    keys = depth[order].astype(np.float32).view(np.uint32).astype(np.int64) << 32 | order
    border = LARGEST_SQUARE  # so that no square needs to be cut off
    stride = width + 2 * border
    owners = np.full(stride * (height + 2 * border), np.iinfo(np.int64).max)
    left, top = (np.floor(place[order] - (sides - 1) / 2).astype(np.int64) + border for place in (across, down))
    corners = top * stride + left
    for row in range(int(sides.max(initial=0))):
        for column in range(int(sides.max(initial=0))):
            count = int(np.searchsorted(-sides, -max(row, column)))  # how many squares are larger than this
            np.minimum.at(owners, corners[:count] + (row * stride + column), keys[:count])
    owners = owners.reshape(-1, stride)[border:-border, border:-border]
    drawn = owners < np.iinfo(np.int64).max
    canvas[drawn] = colours_bgr[owners[drawn] & 0xFFFFFFFF]


def drawing_size(shot: Shot, most: int = VIDEO_SIDE) -> tuple[int, int]:
    """Width and height of a drawing with the picture's shape, both even."""
    height, width = shot.image_bgr.shape[:2]
    scale = min(1, most / max(height, width))
    return tuple(max(2, round(side * scale / 2) * 2) for side in (width, height))


def draw_turntable(
    shot: Shot, settings: Settings, *, frames: int, degrees: float = SWING_DEGREES, size_wh: tuple[int, int] | None = None
) -> Iterator[np.ndarray]:
    """The frames of a video that swings around the scene and comes back, so that it can be repeated: H W 3 BGR each."""
    size_wh = size_wh or drawing_size(shot)
    points, colours_bgr, spacing = scene_points(shot, settings)
    pivot = depth_ends(metres_of(shot, settings))[1]
    camera = shot.camera(settings.focal)
    look = {
        "focal": camera.fx * size_wh[0] / camera.width,
        "size_wh": size_wh,
        "spacing": spacing,
        "background": settings.background,
    }
    for frame in range(frames):
        phase = 2 * math.pi * frame / frames
        pose = Pose(
            yaw=degrees * math.sin(phase),
            pitch=TILT_SHARE * degrees * math.sin(2 * phase) / 2,
            pivot=pivot,
            back=FURTHER_BACK * pivot * (1 - math.cos(phase)) / 2,
        )
        yield draw_points(points, colours_bgr, pose, **look)


def draw_screenshot(shot: Shot, settings: Settings, degrees: float = SWING_DEGREES / 2) -> np.ndarray:
    """The scene, seen from a little aside: H W 3 uint8 BGR."""
    frames = draw_turntable(shot, settings, frames=4, degrees=degrees)
    next(frames)
    return next(frames)
