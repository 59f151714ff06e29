"""The numbers by which the best model is kept, and pictures to look at. evaluate_depth.py measures more thoroughly.

Shapes: H W the network's input, h w the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from experiments.datasets import SampleError
from experiments.metrics import align, depth_metrics
from experiments.training.sources import NUM_VALIDATION_SCENES, SceneSource, open_and_report, open_spec, split_spec
from lib.demo.colour import Look, paint_depth
from lib.errors import UserError
from lib.image_processor import DPTImageProcessor

LARGEST_DEPTH = 80.0  # metres; truth beyond is not measured for relative models
SCENES_AT_ONCE = 16
PANEL_HEIGHT = 192
UNKNOWN_COLOUR = 96  # grey


@dataclass(frozen=True, eq=False)
class Example:
    """inputs: 1 x 3 x H x W, normalised. image_bgr: the same picture as uint8, for looking at. depth: h x w metres."""

    inputs: Tensor
    image_bgr: np.ndarray
    depth: np.ndarray


def scene_examples(source: SceneSource, imgproc: DPTImageProcessor, count: int) -> list[Example]:
    """Procedural scenes whose seeds no training uses."""
    if count > NUM_VALIDATION_SCENES:
        raise UserError(f"--val_count {count}: there are {NUM_VALIDATION_SCENES} procedural scenes for validation")
    mean, std = (torch.tensor(values)[:, None, None] for values in (imgproc.rule.mean, imgproc.rule.std))
    examples = []
    for first in range(0, count, SCENES_AT_ONCE):
        batch = source.scenes(range(first, min(first + SCENES_AT_ONCE, count)))
        for image, depth in zip(batch.images.cpu(), batch.depth.cpu(), strict=True):
            image_bgr = (image.flip(0).permute(1, 2, 0) * 255).round().byte().numpy()  # 3 H W RGB -> H W 3 BGR
            examples.append(Example(((image - mean) / std)[None], image_bgr, depth.numpy()))
    return examples


def file_examples(spec: str, imgproc: DPTImageProcessor, count: int, *, scale: float | None) -> list[Example]:
    """Up to `count` pictures, evenly spaced, of the data set's test split. Unusable ones are left out, and printed."""
    dataset = open_and_report(spec, split="test", scale=scale)
    examples = []
    for index in np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int)):
        try:
            sample = dataset[int(index)]
        except SampleError as error:
            print(f"Skipped: {error}")
            continue
        examples.append(Example(imgproc.prepare_image_bgr(sample.image_bgr), sample.image_bgr, sample.depth))
    if not examples:
        raise UserError(f"{spec}: none of its pictures can be used for validation")
    return examples


def make_examples(
    spec: str, source: SceneSource, imgproc: DPTImageProcessor, count: int, *, scale: float | None
) -> list[Example]:
    """The validation pictures that --val_data means."""
    if split_spec(spec)[0] == "procedural":
        return scene_examples(source, imgproc, count)
    return file_examples(spec, imgproc, count, scale=scale)


def is_trained_on(spec: str, data: Sequence[str], *, scale: float | None) -> bool:
    """Whether some of the validation pictures of --val_data are also among those of --data: most kinds have no splits."""
    if split_spec(spec)[0] == "procedural":
        return False
    validated_on = set(open_spec(spec, split="test", scale=scale).picture_paths)
    others = (other for other in data if split_spec(other)[0] != "procedural")
    return any(validated_on.intersection(open_spec(other, split="train", scale=scale).picture_paths) for other in others)


@dataclass(frozen=True)
class Validation:
    """metrics: means over pictures. panels: a picture of the first few examples, see `panel`; None without any."""

    metrics: dict[str, float]
    panels: np.ndarray | None


@torch.no_grad()
def validate(
    model: nn.Module,
    imgproc: DPTImageProcessor,
    examples: Sequence[Example],
    *,
    num_panels: int = 4,
) -> Validation:
    """δ1 and AbsRel, the mean over pictures, of predictions brought to the truth's grid; in eval mode.

    Relative models are first aligned by least squares in inverse depth, picture by picture, and truth beyond
    LARGEST_DEPTH does not count (nor does sky); metric models are taken as they are, up to their range.
    """
    was_training = model.training
    model.eval()
    is_inverse = model.output.nearest_is_largest
    limit = LARGEST_DEPTH if is_inverse else min(LARGEST_DEPTH, model.output.value_range[1])
    rows, panels = [], []
    for example in examples:
        prediction = imgproc.scale_prediction(model.inference(example.inputs)[0], example.depth.shape).cpu().numpy()
        if len(panels) < num_panels:
            panels.append(panel(example, prediction, is_inverse=is_inverse))
        truth = np.where(example.depth <= limit, example.depth, np.nan)
        if np.isfinite(truth).any() and np.isfinite(prediction).all():
            alignment = "inverse_depth" if is_inverse else "none"
            aligned = align(prediction, truth, alignment=alignment, is_inverse=is_inverse, max_depth=limit)
            rows.append(depth_metrics(aligned.depth, truth))
    model.train(was_training)
    if not rows:
        raise UserError("nothing to validate with: no validation picture has truth in range")
    means = {name: float(np.mean([row[name] for row in rows])) for name in ("delta1", "abs_rel")}
    return Validation(means, stack_panels(panels))


def panel(example: Example, prediction: np.ndarray, *, is_inverse: bool) -> np.ndarray:
    """Picture, truth and prediction side by side, PANEL_HEIGHT x . x 3 uint8 BGR; near is bright, unknown is grey."""
    known = example.depth > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        truth = np.where(known, 1 / example.depth if is_inverse else example.depth, np.nan)
    if is_inverse and known.any():
        truth = np.minimum(truth, np.percentile(truth[known], 99))  # one near pole must not make everything else dark
        prediction = np.minimum(prediction, np.percentile(prediction, 99))
    parts = [example.image_bgr]
    for values in (truth, prediction):
        painted, _ = paint_depth(values.astype(np.float32), Look(), nearest_is_largest=is_inverse)
        painted[np.isnan(values)] = UNKNOWN_COLOUR
        parts.append(painted)
    height, width = parts[0].shape[:2]
    size = (max(round(PANEL_HEIGHT * width / height), 1), PANEL_HEIGHT)
    return np.concatenate([cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts], axis=1)


def stack_panels(panels: list[np.ndarray]) -> np.ndarray | None:
    """One above the other, narrower ones filled up with grey."""
    if not panels:
        return None
    width = max(part.shape[1] for part in panels)
    fill = [((0, 0), (0, width - part.shape[1]), (0, 0)) for part in panels]
    rows = [np.pad(part, pads, constant_values=UNKNOWN_COLOUR) for part, pads in zip(panels, fill, strict=True)]
    return np.concatenate(rows)
