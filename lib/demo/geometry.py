"""From a depth map to metres, points, normals and triangles: pure functions of arrays.

Shapes: H W the depth map, h w the grid of the pixels that are kept, N points, T triangles.

Pixels: u to the right and v downwards, the centre of the first pixel at 0.5, 0.5.
Points: metres, x to the right, y upwards, z towards the viewer, as in glTF. The camera stands at the origin and looks
along -z, so that a point at depth d has z = -d. Depth is measured along the axis (z-depth), not along the ray.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

DEFAULT_VIEW_DEGREES = 60.0  # across the longer side, where nothing tells the focal length: a phone's main camera
FULL_FRAME_DIAGONAL = math.hypot(36, 24)  # millimetres, what "35 mm equivalent" focal lengths refer to
NEVER_TEAR = 1.0  # a threshold from here on keeps every triangle
OPAQUE = 127  # a mask keeps what is brighter


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion. Everything in pixels: size of the picture, focal lengths, principal point."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def centred(cls, width: int, height: int, focal: float) -> "Pinhole":
        """Square pixels, and the principal point in the middle."""
        return cls(width, height, focal, focal, width / 2, height / 2)

    @property
    def view_degrees(self) -> tuple[float, float]:
        """Angles that the picture covers: horizontal, vertical."""
        return (
            math.degrees(math.atan(self.cx / self.fx) + math.atan((self.width - self.cx) / self.fx)),
            math.degrees(math.atan(self.cy / self.fy) + math.atan((self.height - self.cy) / self.fy)),
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> "Pinhole":
        """The camera of a part of the picture."""
        return Pinhole(width, height, self.fx, self.fy, self.cx - x, self.cy - y)

    def resized(self, width: int, height: int) -> "Pinhole":
        """The camera of the picture at another size."""
        across, down = width / self.width, height / self.height
        return Pinhole(width, height, self.fx * across, self.fy * down, self.cx * across, self.cy * down)


def focal_of_view(degrees: float, side: float) -> float:
    """Focal length in pixels that lets `side` pixels cover this angle.

    >>> round(focal_of_view(90, 640), 6)
    320.0
    """
    return side / 2 / math.tan(math.radians(degrees) / 2)


def view_of_focal(focal: float, side: float) -> float:
    """The angle in degrees that `side` pixels cover: the way back from `focal_of_view`."""
    return math.degrees(2 * math.atan(side / 2 / focal))


def focal_of_35mm(millimetres: float, width: int, height: int) -> float:
    """Focal length in pixels for a 35 mm equivalent, which compares the diagonals (CIPA DCG-001)."""
    return millimetres * math.hypot(width, height) / FULL_FRAME_DIAGONAL


@dataclass(frozen=True)
class DepthRange:
    """How the numbers of a model become metres: see `to_metres`. near, far: metres, 0 < near < far."""

    near: float
    far: float
    scale: float = 1.0
    shift: float = 0.0


def inverse_to_metres(values: np.ndarray, near: float, far: float) -> np.ndarray:
    """Inverse relative depth, 1 at `near` and 0 at `far` -> metres, by 1 / depth being linear in the values.

    depth = 1 / (v (1/near - 1/far) + 1/far)

    Values above 1 are nearer than `near`; those below 0 are kept at `far`, because their inverse has no bound.

    >>> inverse_to_metres(np.array([1.0, 0.0, -5.0]), 2.0, 10.0).tolist()
    [2.0, 10.0, 10.0]
    """
    return 1 / (np.maximum(values, 0) * (1 / near - 1 / far) + 1 / far)


def to_metres(depth: np.ndarray, quantity: str, limits: tuple[float, float], depth_range: DepthRange) -> np.ndarray:
    """A model's depth map -> metres, H W -> H W float32; NaN where nothing is known.

    quantity: as a DepthMap says. limits: smallest and largest value, for relative quantities.
    "inverse depth": v = scale * normalised value + shift, then `inverse_to_metres`.
    "depth" (relative): the same v, and near + v (far - near).
    "metres": scale * value + shift; what lies nearer than `near` or beyond `far` is left out.
    """
    near, far, scale, shift = depth_range.near, depth_range.far, depth_range.scale, depth_range.shift
    if not 0 < near < far:
        raise ValueError(f"expected 0 < near < far, got near {near:g} and far {far:g}")
    with np.errstate(invalid="ignore", divide="ignore"):
        if quantity == "metres":
            metres = depth * np.float32(scale) + np.float32(shift)
            metres = np.where((metres >= near) & (metres <= far), metres, np.nan)
        else:
            low, high = limits
            values = (depth - np.float32(low)) / np.float32(max(high - low, 1e-12))
            values = values * np.float32(scale) + np.float32(shift)
            if quantity == "inverse depth":
                metres = inverse_to_metres(values, near, far)
            else:
                metres = near + np.clip(values, 0, None) * (far - near)
        return np.where(np.isfinite(metres) & (metres > 0), metres, np.nan).astype(np.float32, copy=False)


def kept(length: int, step: int) -> np.ndarray:
    """Indices of the rows or columns that stay when every `step`-th is kept: always the first and the last.

    >>> kept(8, 3).tolist()
    [0, 3, 6, 7]
    """
    indices = np.arange(0, length, step)
    return indices if indices[-1] == length - 1 else np.append(indices, length - 1)


def step_for(height: int, width: int, most_points: int) -> int:
    """The smallest step for which no more than about most_points pixels stay."""
    return max(1, math.ceil(math.sqrt(height * width / most_points)))


def unproject(metres: np.ndarray, camera: Pinhole, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Points of pixels: metres h w at these rows and columns of the camera's picture -> h w 3 float32."""
    right = ((columns + 0.5 - camera.cx) / camera.fx).astype(np.float32)
    up = ((camera.cy - rows - 0.5) / camera.fy).astype(np.float32)
    points = np.empty((*metres.shape, 3), np.float32)
    np.multiply(metres, right[None, :], out=points[..., 0])
    np.multiply(metres, up[:, None], out=points[..., 1])
    np.negative(metres, out=points[..., 2])
    return points


def is_torn(nearest: np.ndarray, farthest: np.ndarray, threshold: float) -> np.ndarray:
    """Whether a jump in depth is too large to be one surface: farthest / nearest - 1 > threshold. NaN counts as torn."""
    if threshold >= NEVER_TEAR:
        return ~np.isfinite(nearest + farthest)
    with np.errstate(over="ignore"):
        return ~(farthest <= nearest * np.float32(1 + threshold))


def edge_pixels(metres: np.ndarray, threshold: float) -> np.ndarray:
    """H W bool: pixels beside a jump, or unknown. They float between two surfaces, because networks blur edges."""
    known = np.isfinite(metres)
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    farthest = cv2.dilate(np.where(known, metres, 0), kernel)
    nearest = cv2.erode(np.where(known, metres, np.inf).astype(np.float32), kernel)
    return is_torn(nearest, farthest, threshold) | ~known


def triangles(metres: np.ndarray, threshold: float) -> np.ndarray:
    """Two triangles for every square of four pixels, without those across a jump: h w -> T 3, indices into h * w.

    Counter-clockwise as the camera sees them. A square is cut along the diagonal that the depth changes less along.
    """
    height, width = metres.shape
    index = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    corners = {"a": np.s_[:-1, :-1], "b": np.s_[:-1, 1:], "c": np.s_[1:, :-1], "d": np.s_[1:, 1:]}  # a b / c d
    depth = {name: metres[place] for name, place in corners.items()}
    number = {name: index[place] for name, place in corners.items()}

    def flat(*names: str) -> np.ndarray:
        values = [depth[name] for name in names]
        return ~is_torn(np.minimum.reduce(values), np.maximum.reduce(values), threshold)

    along_bc = np.abs(depth["b"] - depth["c"]) <= np.abs(depth["a"] - depth["d"])
    # A corner that is unknown decides as well: the other diagonal keeps the triangle without it.
    along_bc = np.where(np.isfinite(depth["a"] - depth["d"]), along_bc, True)
    along_bc = np.where(np.isfinite(depth["b"] - depth["c"]), along_bc, False)
    choices = ((along_bc, "acb"), (along_bc, "bcd"), (~along_bc, "acd"), (~along_bc, "adb"))
    parts = []
    for chosen, names in choices:
        keep = chosen & flat(*names)
        parts.append(np.stack([number[name][keep] for name in names], axis=-1))  # -> T 3
    return np.concatenate(parts)


def normals(points: np.ndarray) -> np.ndarray:
    """Unit normals that face the camera, h w 3 -> h w 3 float32; zeros where a neighbour is unknown."""
    across, down = np.empty_like(points), np.empty_like(points)
    for axis, difference in ((1, across), (0, down)):
        here = [slice(None)] * 2
        before, after, middle = list(here), list(here), list(here)
        before[axis], after[axis], middle[axis] = slice(None, -2), slice(2, None), slice(1, -1)
        difference[tuple(middle)] = points[tuple(after)] - points[tuple(before)]
        for edge, neighbour in ((0, 1), (-1, -2)):
            first, second = list(here), list(here)
            first[axis], second[axis] = edge, neighbour
            sign = 1 if edge == 0 else -1
            difference[tuple(first)] = sign * (points[tuple(second)] - points[tuple(first)])
    cross = np.cross(down, across)  # down x right points towards the camera
    length = np.linalg.norm(cross, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(cross / length).astype(np.float32)


def smooth(depth: np.ndarray, strength: float) -> np.ndarray:
    """Even out small differences and keep edges (bilateral filter), H W -> H W. strength: from 0, which does nothing, to 1."""
    if strength <= 0:
        return depth
    known = np.isfinite(depth)
    low, high = (float(depth[known].min()), float(depth[known].max())) if known.any() else (0.0, 0.0)
    if high <= low:
        return depth
    unit = np.where(known, (depth - low) / (high - low), 0).astype(np.float32)
    radius = max(1, round(strength * min(depth.shape) / 100))
    smoothed = cv2.bilateralFilter(unit, min(2 * radius + 1, 11), sigmaColor=0.1 * strength, sigmaSpace=radius)
    return np.where(known, smoothed * np.float32(high - low) + np.float32(low), depth).astype(np.float32)


@dataclass(frozen=True)
class Surface:
    """A mesh that shows a picture: vertices N 3 in metres, faces T 3, and of each vertex its pixel (row and column)."""

    vertices: np.ndarray
    faces: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def make_surface(metres: np.ndarray, camera: Pinhole, *, step: int, threshold: float) -> Surface:
    """The relief of a depth map in metres, H W. step: keep every so many pixels. threshold: see `is_torn`, per pixel.

    Vertices that no triangle uses are left out.
    """
    rows, columns = kept(metres.shape[0], step), kept(metres.shape[1], step)
    grid = metres[np.ix_(rows, columns)]  # H W -> h w
    faces = triangles(grid, min(threshold * step, NEVER_TEAR) if threshold < NEVER_TEAR else NEVER_TEAR)
    used = np.zeros(grid.size, bool)
    used[faces] = True
    new_number = np.cumsum(used, dtype=np.uint32) - 1
    points = unproject(grid, camera, rows, columns).reshape(-1, 3)  # h w 3 -> N 3
    row_of, column_of = (part.reshape(-1) for part in np.meshgrid(rows, columns, indexing="ij"))
    return Surface(points[used], new_number[faces], row_of[used], column_of[used])


def make_points(
    metres: np.ndarray, camera: Pinhole, *, step: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The points of a depth map in metres, H W: N 3 float32, and their rows and columns. Arguments as for `make_surface`.

    Pixels beside a jump are left out.
    """
    rows, columns = kept(metres.shape[0], step), kept(metres.shape[1], step)
    keep = ~edge_pixels(metres, threshold)[np.ix_(rows, columns)]
    points = unproject(metres[np.ix_(rows, columns)], camera, rows, columns)  # h w 3
    row_of, column_of = np.nonzero(keep)
    return points[keep], rows[row_of], columns[column_of]
