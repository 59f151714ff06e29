"""Masks by depth: which pixels lie between two distances, after taking a plane such as the floor away.

`experiments/depth_cutout.py` computes what experiments/depth_masking.py saves. Shapes: H W the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from lib.demo.colour import value_ends
from lib.image_processor import to_unit_range
from lib.predict import DepthMap

NEAREST_METRES = 0.01  # 1 / metres stays finite
FITTED_PIXELS = 4000
TRIALS = 400
INLIER_SHARE = 0.04  # of the range of inverse depth: how far from the plane its pixels may lie
FAR_SHARE = 0.1  # of the range: what is farther is the sky, or something like it
REFINEMENTS = 5


@dataclass(frozen=True)
class Cut:
    """Which pixels to keep.

    far_percent, near_percent: of the range of values, counted from the far end, as in run_image.py's window; or limits: two
    values in the unit of `Values`, instead. plane_percent: how much of the fitted plane is taken away first. invert: keep the
    others. feather: pixels over which the mask goes from 0 to 1.
    """

    far_percent: float = 50.0
    near_percent: float = 100.0
    limits: tuple[float, float] | None = None
    plane_percent: float = 0.0
    invert: bool = False
    feather: float = 0.0


@dataclass(frozen=True)
class Values:
    """What a mask is cut by: H x W numbers, the unit in words, and whether larger numbers are nearer."""

    numbers: np.ndarray
    unit: str
    nearest_is_largest: bool


@dataclass(frozen=True)
class Plane:
    """inverse depth = a x + b y + c, with x and y from -1 to 1 over the picture. inliers: share of the pixels, without the
    farthest, that lie on it.
    """

    a: float
    b: float
    c: float
    inliers: float

    def values(self, height: int, width: int) -> np.ndarray:
        """H x W."""
        ys, xs = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
        return (self.a * xs + self.b * ys + self.c).astype(np.float32)


def inverse_depth(depth_map: DepthMap) -> tuple[np.ndarray, str]:
    """Inverse depth, H x W, and its unit. A plane in the world is a plane in it, and in nothing else.

    Metres are turned over. Relative depth of unknown shift cannot be, and stays as it is, turned round (large is near).
    """
    if depth_map.quantity == "metres":
        return 1 / np.maximum(depth_map.depth, NEAREST_METRES), "1/m"
    if depth_map.nearest_is_largest:
        return depth_map.depth, "inverse depth"
    return -depth_map.depth, "relative depth, negative"


def fit_plane(inverse: np.ndarray, *, seed: int = 0) -> Plane | None:
    """The plane on which most pixels lie: the floor, usually. None where there is none (fewer than three usable pixels).

    Robust: among planes through three random pixels the one with the smallest sum of truncated squares (MSAC), then least
    squares over the pixels near it, a few times. What stands on the plane, however much nearer, does not tilt it, as long as
    the plane is the largest one in the picture. The farthest tenth of the range does not count: the sky is flat in inverse
    depth.
    """
    is_finite = np.isfinite(inverse)
    if is_finite.sum() < 3:
        return None
    low, high = np.percentile(inverse[is_finite], (2, 98))
    is_near = is_finite & (inverse > low + FAR_SHARE * (high - low))
    rows, columns = np.nonzero(is_near if is_near.sum() >= max(3, FAR_SHARE * is_finite.sum()) else is_finite)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(rows), min(FITTED_PIXELS, len(rows)), replace=False)
    height, width = inverse.shape
    points = np.stack(
        [2 * columns[chosen] / max(width - 1, 1) - 1, 2 * rows[chosen] / max(height - 1, 1) - 1, np.ones(len(chosen))], axis=1
    )  # P 3
    values = inverse[rows[chosen], columns[chosen]].astype(np.float64)
    tolerance = max(INLIER_SHARE * (high - low), 1e-9)
    triples = rng.integers(len(values), size=(TRIALS, 3))
    best, best_cost = np.array([0.0, 0.0, np.median(values)]), np.inf
    for triple in triples:
        corners = points[triple]
        if abs(np.linalg.det(corners)) < 1e-3:  # nearly on a line
            continue
        plane = np.linalg.solve(corners, values[triple])
        cost = np.minimum((points @ plane - values) ** 2, tolerance**2).sum()
        if cost < best_cost:
            best, best_cost = plane, cost
    for _ in range(REFINEMENTS):
        near = np.abs(points @ best - values) <= tolerance
        if near.sum() < 3:
            break
        best = np.linalg.lstsq(points[near], values[near], rcond=None)[0]
    near = np.abs(points @ best - values) <= tolerance
    return Plane(*(float(number) for number in best), inliers=float(near.mean()))


def values_to_cut(depth_map: DepthMap, plane_percent: float) -> tuple[Values, Plane | None]:
    """The model's own numbers, or inverse depth without (so much of) its plane, and that plane.

    The plane ends at its horizon: beyond, where it would be farther than everything in the picture, its value stays the
    farthest, so that a far wall above the floor does not seem to stand high on it. What lies below the plane counts as on it.
    """
    if not plane_percent:
        return Values(depth_map.depth, depth_map.quantity, depth_map.nearest_is_largest), None
    inverse, unit = inverse_depth(depth_map)
    plane = fit_plane(inverse)
    if plane is None:
        return Values(inverse, unit, True), None
    farthest, _ = value_ends(inverse, nearest_is_largest=True)
    share = np.float32(plane_percent / 100)
    removed = inverse - share * plane.values(*inverse.shape).clip(min=farthest)
    removed = removed.clip(min=(1 - share) * farthest)  # what lies below the plane
    return Values(removed, f"{unit} above the plane", True), plane


def limits_of(values: Values, cut: Cut) -> tuple[float, float]:
    """The smallest and the largest value to keep."""
    if cut.limits is not None:
        return min(cut.limits), max(cut.limits)
    far, near = value_ends(values.numbers, nearest_is_largest=values.nearest_is_largest)
    ends = [far + (near - far) * percent / 100 for percent in (cut.far_percent, cut.near_percent)]
    return min(ends), max(ends)


def make_mask(values: Values, cut: Cut) -> np.ndarray:
    """How much of each pixel to keep: H x W float32 from 0 to 1. Values that are not finite count as out of the range."""
    low, high = limits_of(values, cut)
    with np.errstate(invalid="ignore"):
        inside = (values.numbers >= low) & (values.numbers <= high)
    return feathered(inside != cut.invert, cut.feather)


def feathered(inside: np.ndarray, pixels: float) -> np.ndarray:
    """A ramp of so many pixels across the border of a region, 1/2 on it: H x W bool -> float32.

    Without pixels, or without a border, 0 and 1 only.
    """
    if pixels <= 0 or inside.all() or not inside.any():
        return inside.astype(np.float32)
    # To the middle of the nearest pixel of the other side; the border runs half a pixel before it.
    within, beyond = (cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 5) for side in (inside, ~inside))
    signed = np.where(inside, within - 0.5, 0.5 - beyond)
    return np.clip(0.5 + signed / pixels, 0, 1).astype(np.float32)


def cut_out(image_bgr: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the mask as its alpha channel: H x W x 4, uint8, or uint16 where the picture is. Its colours stay."""
    if image_bgr.dtype != np.uint16:
        image_bgr = np.rint(to_unit_range(image_bgr) * 255).astype(np.uint8) if image_bgr.dtype != np.uint8 else image_bgr
    top = np.iinfo(image_bgr.dtype).max
    return np.dstack([image_bgr, np.rint(mask * top).astype(image_bgr.dtype)])


def over_checkerboard(cutout: np.ndarray, square: int = 12) -> np.ndarray:
    """What is cut out before a checkerboard, for looking at: H x W x 4 -> H x W x 3 uint8."""
    height, width = cutout.shape[:2]
    board = ((np.arange(height)[:, None] // square + np.arange(width)[None, :] // square) % 2)[..., None]
    shares = to_unit_range(cutout)
    alpha = shares[..., 3:]
    return np.rint(255 * (shares[..., :3] * alpha + (0.35 + 0.15 * board) * (1 - alpha))).astype(np.uint8)
