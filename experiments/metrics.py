"""How good a depth map is: errors, alignment, ordering of points. Numpy in float64; pixels without truth are left out.

    from experiments.metrics import align, depth_metrics     # experiments/metrics.py

    aligned = align(prediction, truth, alignment="inverse_depth", is_inverse=True, max_depth=80)
    print(depth_metrics(aligned.depth, truth)["delta1"])

Shapes: H W of all maps, N pixels or pairs. Truth is in metres, NaN where there is none.
"""

from dataclasses import dataclass

import numpy as np

from experiments.protocols import ALIGNMENTS
from lib.errors import UserError


@dataclass(frozen=True)
class Metric:
    """How a metric is written, and what it is. d: prediction, g: truth, e = ln d - ln g, E: mean over pixels."""

    title: str
    formula: str
    higher_is_better: bool = False


# SILog is not one number: the same name stands for different formulas in different projects.
SILOG_DEFINITIONS = {
    "zoe": Metric("SILog (Zoe, x100)", "100 * sqrt(E[e^2] - E[e]^2) of each picture, as ZoeDepth does"),
    "depth_anything_v2": Metric("SILog (DA-V2)", "sqrt(E[e^2] - 0.5 * E[e]^2), as Depth Anything V2 does"),
}
METRICS = {
    "abs_rel": Metric("AbsRel", "E[|d - g| / g]"),
    "sq_rel": Metric("SqRel", "E[(d - g)^2 / g]"),
    "rmse": Metric("RMSE", "sqrt(E[(d - g)^2]), metres"),
    "rmse_log": Metric("RMSE log", "sqrt(E[e^2])"),
    "log10": Metric("log10", "E[|log10 d - log10 g|]"),
    "silog": SILOG_DEFINITIONS["zoe"],
    "delta1": Metric("δ1", "share of pixels with max(d/g, g/d) < 1.25", higher_is_better=True),
    "delta2": Metric("δ2", "share of pixels with max(d/g, g/d) < 1.25^2", higher_is_better=True),
    "delta3": Metric("δ3", "share of pixels with max(d/g, g/d) < 1.25^3", higher_is_better=True),
    "mse": Metric("MSE", "E[(d - g)^2], square metres (scikit-image)"),
    "ssim": Metric(
        "SSIM",
        "structural similarity of the maps (scikit-image, 7 x 7), data range = that of the truth, "
        "mean over pixels whose whole window has truth",
        higher_is_better=True,
    ),
}
SSIM_WINDOW = 7


def depth_metrics(prediction: np.ndarray, truth: np.ndarray, *, silog: str = "zoe") -> dict[str, float]:
    """All metrics of METRICS but MSE and SSIM, over the pixels where truth is finite.

    prediction, truth: metres, any one shape. silog: a key of SILOG_DEFINITIONS. Raises UserError where no pixel has
    truth, or a prediction at such a pixel is not a number above zero.
    """
    d, g = _valid_pixels(prediction, truth)  # N
    e = np.log(d) - np.log(g)
    ratio = np.maximum(d / g, g / d)
    squared = np.mean(np.square(d - g))
    return {
        "abs_rel": float(np.mean(np.abs(d - g) / g)),
        "sq_rel": float(np.mean(np.square(d - g) / g)),
        "rmse": float(np.sqrt(squared)),
        "rmse_log": float(np.sqrt(np.mean(np.square(e)))),
        "log10": float(np.mean(np.abs(e)) / np.log(10)),
        "silog": _silog(e, silog),
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
    }


def _silog(e: np.ndarray, definition: str) -> float:
    if definition == "zoe":
        return float(100 * np.std(e))  # the square root of E[e^2] - E[e]^2, without its cancellation
    if definition == "depth_anything_v2":
        return float(np.sqrt(np.var(e) + 0.5 * np.mean(e) ** 2))
    raise ValueError(f"unknown definition of SILog {definition!r}; expected one of {', '.join(SILOG_DEFINITIONS)}")


def image_metrics(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """MSE and SSIM by scikit-image, of maps H x W in metres.

    SSIM is NaN where no window of 7 x 7 pixels has truth throughout (laser scans), or all truth is the same.
    """
    try:
        from skimage.metrics import mean_squared_error, structural_similarity
    except ImportError:
        raise UserError("SSIM needs scikit-image: pip install -r experiments/requirements.txt") from None

    d, g = _valid_pixels(prediction, truth)  # N
    metrics = {"mse": float(mean_squared_error(g, d)), "ssim": float("nan")}
    has_truth = np.isfinite(truth)
    margin = SSIM_WINDOW // 2
    is_inside = np.zeros(truth.shape, bool)  # windows that are full of truth, by their centres
    if min(truth.shape) >= SSIM_WINDOW:
        windows = np.lib.stride_tricks.sliding_window_view(has_truth, (SSIM_WINDOW, SSIM_WINDOW))
        is_inside[margin:-margin, margin:-margin] = windows.all(axis=(-2, -1))
    data_range = float(np.ptp(g))
    if is_inside.any() and data_range > 0:
        maps = [np.where(has_truth, values, 0).astype(np.float64) for values in (prediction, truth)]
        _, similarity = structural_similarity(*maps, win_size=SSIM_WINDOW, data_range=data_range, full=True)
        metrics["ssim"] = float(similarity[is_inside].mean())
    return metrics


def _valid_pixels(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth at the pixels with truth, N float64 each."""
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    has_truth = np.isfinite(truth)
    d, g = prediction[has_truth].astype(np.float64), truth[has_truth].astype(np.float64)
    if d.size == 0:
        raise UserError("no pixel has truth (within the crop and the caps)")
    if not (np.isfinite(d).all() and (d > 0).all()):
        bad = int(d.size - np.count_nonzero(np.isfinite(d) & (d > 0)))
        raise UserError(f"the prediction is not a number above zero at {bad} of {d.size} pixels with truth")
    return d, g


@dataclass(frozen=True, eq=False)
class Aligned:
    """A prediction in metres, and the scale and shift that made it so (1 and 0 where nothing was fitted)."""

    depth: np.ndarray
    scale: float
    shift: float


def align(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    alignment: str,
    is_inverse: bool,
    min_depth: float = 1e-3,
    max_depth: float = np.inf,
) -> Aligned:
    """A prediction, H x W, as metres between min_depth and max_depth, by one of ALIGNMENTS:

    "none"           it is in metres (metric protocols of Eigen, ZoeDepth)
    "inverse_depth"  least squares of scale * prediction + shift to 1 / truth; what lies beyond max_depth (or behind the
                     camera) becomes max_depth; then back to depth (MiDaS, Depth Anything)
    "depth"          least squares of scale * prediction + shift to truth (Marigold)

    Fitted on the pixels where truth is finite. is_inverse: the prediction is inverse depth (large is near), else depth;
    a depth is clamped at min_depth before it is turned over. A prediction without contrast gets scale 0. The scale may
    come out negative, where the prediction is worse than a constant.

    Raises UserError for a prediction that is not finite, or that this alignment cannot turn into metres.
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f"unknown alignment {alignment!r}; expected one of {', '.join(ALIGNMENTS)}")
    if is_inverse and alignment != "inverse_depth":
        raise UserError(
            f"inverse depth of unknown scale and shift cannot be aligned by {alignment!r}: align in inverse_depth"
        )
    prediction = prediction.astype(np.float64)
    has_truth = np.isfinite(truth)
    if not np.isfinite(prediction[has_truth]).all():
        raise UserError("the prediction is not finite everywhere")
    target, scale, shift = truth.astype(np.float64), 1.0, 0.0
    if alignment == "inverse_depth":
        values = prediction if is_inverse else 1 / np.maximum(prediction, min_depth)
        scale, shift = fit_scale_and_shift(values[has_truth], 1 / target[has_truth])
        depth = 1 / np.maximum(scale * values + shift, np.finfo(np.float64).tiny)  # then max_depth, by the last line
    else:
        if alignment == "depth":
            scale, shift = fit_scale_and_shift(prediction[has_truth], target[has_truth])
        depth = scale * prediction + shift
    return Aligned(np.clip(depth, min_depth, max_depth), scale, shift)


def fit_scale_and_shift(values: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Scale and shift that bring values nearest to targets (N each) in least squares; scale 0 for constant values."""
    if values.size == 0:
        raise UserError("no pixel has truth (within the crop and the caps)")
    mean, target_mean = values.mean(), targets.mean()
    centred = values - mean
    if np.abs(centred).max() <= np.finfo(np.float32).eps * np.abs(values).max():  # rounding is no contrast
        return 0.0, float(target_mean)
    scale = np.dot(centred, targets - target_mean) / np.dot(centred, centred)
    return float(scale), float(target_mean - scale * mean)


def ordering_accuracy(prediction: np.ndarray, points: np.ndarray, *, nearest_is_largest: bool) -> np.ndarray:
    """Which pairs of points a map, H x W, orders right: N bool. Equal values are wrong.

    points: N x 2 x 2, of each pair the nearer and the farther (row, column), as in DA-2K. The mean is DA-2K's accuracy;
    one minus it is WHDR (DIW; with weights of one).
    """
    nearer, farther = (prediction[points[:, which, 0], points[:, which, 1]] for which in (0, 1))  # N each
    if not (np.isfinite(nearer).all() and np.isfinite(farther).all()):
        raise UserError("the prediction is not finite at all points")
    return nearer > farther if nearest_is_largest else nearer < farther
