"""How much two depth maps of one picture agree, where there is no truth, and how sharp a map's edges are.

`experiments/agreement.py` serves stage_ablation.py, resolution_study.py and compare_models.py. Numpy in float64.
Shapes: H W of all maps, N pixels or pairs.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from experiments.metrics import fit_scale_and_shift
from lib.predict import DepthMap

NEAREST_METRES = 0.1  # nearer than that, 1 / metres would drown everything else
PAIRS = 20_000
CLEAR_SHARE = 0.02  # pairs of points that differ by less than this share of the range have no order worth mentioning
STRONGEST = 0.01  # share of the pixels that count as edges
EDGE_WINDOW = 0.02  # of the longer side: within this distance an edge begins and ends


@dataclass(frozen=True)
class Agreement:
    """correlation: Pearson's. aligned_error: mean |s x + t - reference| by the best scale s and shift t, as a share of the
    reference's range. ranking: share of pairs of points, clearly apart in the reference, that come in the same order."""

    correlation: float
    aligned_error: float
    ranking: float


def as_inverse(depth_map: DepthMap) -> np.ndarray:
    """A map in which larger is nearer, H x W float64: inverse depth as it is, metres and relative depth turned over."""
    depth = depth_map.depth.astype(np.float64)
    if depth_map.nearest_is_largest:
        return depth
    nearest = NEAREST_METRES if depth_map.quantity == "metres" else 1e-3 * max(float(depth.max()), 1e-9)
    return 1 / np.maximum(depth, nearest)


def as_inverse_map(depth_map: DepthMap) -> DepthMap:
    """The same as a map to show beside others."""
    inverse = as_inverse(depth_map).astype(np.float32)
    return replace(depth_map, depth=inverse, quantity="inverse depth", nearest_is_largest=True, value_range=(0.0, np.inf))


def align_to(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The map with the scale and shift that bring it nearest to the reference in least squares, both H x W."""
    scale, shift = fit_scale_and_shift(values.ravel().astype(np.float64), reference.ravel().astype(np.float64))
    return scale * values.astype(np.float64) + shift


def span_of(reference: np.ndarray) -> float:
    """The range of a map without its most extreme hundredths; at least a tiny number."""
    low, high = np.percentile(reference, (1, 99))
    return max(float(high - low), 1e-12)


def agreement(values: np.ndarray, reference: np.ndarray, *, seed: int = 0) -> Agreement:
    """How much a map agrees with a reference, both H x W, of finite numbers. A constant map has correlation and ranking 0."""
    values, reference = values.astype(np.float64), reference.astype(np.float64)
    error = float(np.abs(align_to(values, reference) - reference).mean()) / span_of(reference)
    return Agreement(correlation(values, reference), error, same_order(values, reference, seed=seed))


def correlation(values: np.ndarray, reference: np.ndarray) -> float:
    """Pearson's correlation; 0 where one of the two is constant."""
    spreads = values.std() * reference.std()
    if not spreads > 1e-12 * max(np.abs(values).max() * np.abs(reference).max(), 1e-300):
        return 0.0
    return float(((values - values.mean()) * (reference - reference.mean())).mean() / spreads)


def same_order(values: np.ndarray, reference: np.ndarray, *, seed: int) -> float:
    """The share of random pairs of points, clearly apart in the reference, that the values put in the same order."""
    random = np.random.default_rng(seed)
    one, other = random.integers(0, reference.size, (2, PAIRS))  # N each
    apart = reference.ravel()[one] - reference.ravel()[other]
    is_clear = np.abs(apart) > CLEAR_SHARE * span_of(reference)
    if not is_clear.any():
        return 0.0
    same = np.sign(values.ravel()[one] - values.ravel()[other]) == np.sign(apart)
    return float(same[is_clear].mean())


def edge_width(depth: np.ndarray) -> float:
    """How wide the edges of a map are, in its pixels: 1 is a step, larger is blurred.

    At the steepest hundredth of the pixels: the range of values around, divided by the slope; the median. Does not depend
    on the map's scale and shift. What is at the borders, where networks often err, does not count.
    """
    depth = depth.astype(np.float64)
    down, across = np.diff(depth, axis=0, append=depth[-1:]), np.diff(depth, axis=1, append=depth[:, -1:])
    slope = np.hypot(down, across)  # to the next pixels: np.gradient, over two, would halve that of a step
    radius = max(round(EDGE_WINDOW * max(depth.shape)), 1)
    rows, columns = (min(radius, side // 4) for side in depth.shape)
    inside = np.pad(np.ones((depth.shape[0] - 2 * rows, depth.shape[1] - 2 * columns), bool), ((rows,), (columns,)))
    window = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * radius + 1, 2 * radius + 1))
    contrast = cv2.dilate(depth, window) - cv2.erode(depth, window)
    steepest = inside & (slope >= np.quantile(slope[inside], 1 - STRONGEST)) & (slope > 0)
    return float(np.median(contrast[steepest] / slope[steepest])) if steepest.any() else float("inf")
