"""Any predictor on any data set by a protocol: rows of metrics, their mean, and panels of the worst pictures.

    from experiments.evaluation import evaluate              # experiments/evaluation.py

    evaluation = evaluate(predict, dataset, protocol)        # predict: image_bgr -> DepthMap of its size

Shapes: H W the picture, h w its truth.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from experiments.datasets import PairSample, Sample, SampleError
from experiments.metrics import (
    METRICS,
    SILOG_DEFINITIONS,
    Metric,
    align,
    depth_metrics,
    image_metrics,
    ordering_accuracy,
)
from experiments.protocols import Protocol, crop_box, kb_crop_box
from experiments.worst_pictures import depth_panel, pairs_panel
from lib.demo.script import out_of_memory_message
from lib.errors import UserError
from lib.predict import DepthMap

PAIR_METRICS = {
    "accuracy": Metric("Accuracy", "share of pairs ordered right; the mean is over all pairs", higher_is_better=True),
    "whdr": Metric("WHDR", "share of pairs ordered wrong; the mean is over all pairs"),
}
WORST = 5

Predictor = Callable[[np.ndarray], DepthMap]  # H x W x 3 uint8 BGR -> a map of H x W


@dataclass
class Evaluation:
    """What came out. rows: name, metrics and details of each picture. mean: of each metric. skipped: sentences.

    worst: panels (uint8 BGR) of the worst pictures, the worst first.
    """

    metrics: dict[str, Metric]
    rows: list[dict] = field(default_factory=list)
    mean: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    worst: list[np.ndarray] = field(default_factory=list)


def evaluate(
    predict: Predictor,
    samples: Sequence,
    protocol: Protocol,
    *,
    limit: int | None = None,
    report: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Evaluation:
    """Run a predictor over a data set and measure it.

    samples: of `open_dataset`. limit: only so many, from the first. report: gets one sentence for each picture that
    cannot be used, which is skipped. progress: wraps the loop, as tqdm does.

    Raises UserError where no picture could be used.
    """
    if protocol.flip:
        predict = flip_averaged(predict)
    is_pairs = protocol.alignment is None
    table = PAIR_METRICS if is_pairs else {**METRICS, "silog": SILOG_DEFINITIONS[protocol.silog]}
    measure = measure_pairs if is_pairs else measure_depth
    evaluation = Evaluation(table)
    worst: list[tuple[tuple, np.ndarray]] = []  # a heap with the best of the worst on top
    count = len(samples) if limit is None else min(limit, len(samples))
    for index in progress(range(count)):
        try:
            row, draw_panel = measure(predict, samples[index], protocol)
        except SampleError as error:  # names the file itself
            evaluation.skipped.append(str(error))
        except Exception as error:
            message = str(error) if isinstance(error, UserError) else out_of_memory_message(error)
            evaluation.skipped.append(f"{samples.names[index]}: {message}")
        else:
            evaluation.rows.append(row)
            rank = (*badness(row), -index)  # of two that are equally bad, the first is shown
            if len(worst) < WORST:
                heapq.heappush(worst, (rank, draw_panel()))
            elif rank > worst[0][0]:
                heapq.heapreplace(worst, (rank, draw_panel()))
            continue
        report(f"Skipped: {evaluation.skipped[-1]}")
    if not evaluation.rows:
        raise UserError(f"none of {count} pictures could be evaluated; the first: {evaluation.skipped[0]}")
    evaluation.worst = [panel for _, panel in sorted(worst, key=lambda entry: entry[0], reverse=True)]
    evaluation.mean = mean_over_pairs(evaluation.rows) if is_pairs else mean_over_pictures(evaluation.rows, table)
    return evaluation


def flip_averaged(predict: Predictor) -> Predictor:
    """The mean of a picture's prediction and the mirrored picture's, mirrored back."""

    def predict_both(image_bgr: np.ndarray) -> DepthMap:
        plain = predict(image_bgr)
        mirrored = predict(np.ascontiguousarray(image_bgr[:, ::-1]))
        return replace(plain, depth=(plain.depth + mirrored.depth[:, ::-1]) / 2)

    return predict_both


def measure_depth(predict: Predictor, sample: Sample, protocol: Protocol) -> tuple[dict, Callable[[], np.ndarray]]:
    """One picture's row, and what draws its panel. Raises UserError for a sample or prediction that cannot be used."""
    image_bgr, truth = cut(sample, protocol)
    depth_map = predict(image_bgr)
    prediction = sample_at(depth_map.depth, truth.shape)
    aligned = align(
        prediction,
        truth,
        alignment=protocol.alignment,
        is_inverse=depth_map.nearest_is_largest,
        min_depth=protocol.min_depth,
        max_depth=protocol.max_depth,
    )
    metrics = depth_metrics(aligned.depth, truth, silog=protocol.silog) | image_metrics(aligned.depth, truth)
    details = {"pixels": int(np.isfinite(truth).sum()), "scale": aligned.scale, "shift": aligned.shift}
    row = {"name": sample.name, **metrics, **details}
    return row, lambda: depth_panel(row, image_bgr, truth, aligned.depth)


def measure_pairs(predict: Predictor, sample: PairSample, protocol: Protocol) -> tuple[dict, Callable[[], np.ndarray]]:
    """The same for ordered pairs of points."""
    depth_map = predict(sample.image_bgr)
    is_right = ordering_accuracy(depth_map.depth, sample.points, nearest_is_largest=depth_map.nearest_is_largest)
    counts = {"pairs": is_right.size, "right": int(is_right.sum())}
    row = {"name": sample.name, **mean_over_pairs([counts]), **counts}
    return row, lambda: pairs_panel(row, sample.image_bgr, depth_map, sample.points, is_right)


def cut(sample: Sample, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """A sample's picture, and its truth with NaN everywhere that the protocol leaves out."""
    image_bgr, truth = sample.image_bgr, sample.depth
    if protocol.kb_crop:
        if image_bgr.shape[:2] != truth.shape:
            raise UserError("KITTI's crop needs picture and truth of one size: pass --no-kb_crop")
        top, bottom, left, right = kb_crop_box(*truth.shape)
        image_bgr, truth = np.ascontiguousarray(image_bgr[top:bottom, left:right]), truth[top:bottom, left:right]
    top, bottom, left, right = crop_box(protocol, *truth.shape)
    evaluated = np.full(truth.shape, np.nan, np.float32)
    evaluated[top:bottom, left:right] = truth[top:bottom, left:right]
    with np.errstate(invalid="ignore"):
        evaluated[~((evaluated > protocol.min_depth) & (evaluated < protocol.max_depth))] = np.nan
    return image_bgr, evaluated


def sample_at(prediction: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A prediction, H x W, at the pixels of the truth, h x w: bilinear, pixel centres in proportion."""
    if prediction.shape == shape:
        return prediction
    return cv2.resize(prediction, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def badness(row: dict) -> tuple[float, float]:
    """Larger is worse: first the pixels (or pairs) that are wrong, then how wrong they are."""
    return 1 - row.get("delta1", row.get("accuracy")), row.get("abs_rel", 0.0)


def mean_over_pictures(rows: list[dict], table: dict[str, Metric]) -> dict[str, float]:
    """The mean of each metric over the pictures where it is defined; NaN where it is nowhere."""
    columns = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in table}
    return {name: float(np.mean(values)) if values else math.nan for name, values in columns.items()}


def mean_over_pairs(rows: list[dict]) -> dict[str, float]:
    accuracy = sum(row["right"] for row in rows) / sum(row["pairs"] for row in rows)
    return {"accuracy": accuracy, "whdr": 1 - accuracy}


def baseline(name: str, protocol: Protocol) -> Predictor:
    """A prediction without a model: "ramp" (lower in the picture is nearer, evenly from row to row) or "constant".

    It has no unit, so that the protocol has to align it. In the alignment "depth" the ramp is even in depth, else in
    inverse depth.
    """
    if protocol.alignment == "none":
        raise UserError("a baseline has no unit: pass --alignment inverse_depth or --alignment depth")
    is_inverse = protocol.alignment != "depth"

    def predict(image_bgr: np.ndarray) -> DepthMap:
        height, width = image_bgr.shape[:2]
        rows = np.ones(height) if name == "constant" else np.linspace(0, 1, height)
        if name == "ramp" and not is_inverse:
            rows = rows[::-1]
        depth = np.repeat(rows[:, None], width, axis=1).astype(np.float32)  # H -> H W
        return DepthMap(depth, "inverse depth" if is_inverse else "depth", is_inverse, (0.0, 1.0))

    return predict
