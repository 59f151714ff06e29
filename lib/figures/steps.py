"""Pictures of what lies between the five steps, from a run of a trained model: features as colours, maps, depth.

Shapes: C channels, h w a map; the rest as in lib/dpt_model.py.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.demo.samples import SAMPLE_PICTURE
from lib.dpt_model import DPTModel
from lib.figures.drawing import depth_colours, feature_colours, new_figure, show_picture
from lib.image_processor import DPTImageProcessor

SIDE = 320  # pixels of the longer side, larger than in the small model's training: more tokens to look at
FEATURE_CHANNELS = 2


@dataclass(frozen=True)
class Steps:
    """One picture on its way through a model. image_rgb: H x W x 3 uint8; the rest as the five steps give it."""

    image_rgb: np.ndarray
    patch_size: int
    tokens: Tensor
    grid_hw: tuple[int, int]
    stages: list[Tensor]
    maps: list[Tensor]
    fused_maps: list[Tensor]
    head_features: Tensor
    depth: Tensor


def run_steps(dpt_model: DPTModel, dpt_imgproc: DPTImageProcessor, image_bgr: np.ndarray, side: int = SIDE) -> Steps:
    """The five steps one by one, and everything between them."""
    image = dpt_imgproc.prepare_image_bgr(image_bgr, max_side_length=side)
    with torch.no_grad():
        tokens, grid_hw = dpt_model.patch_embed(image)
        stages = dpt_model.imgencoder(tokens, grid_hw)
        maps = dpt_model.reassemble(stages, grid_hw)
        fused_maps = dpt_model.fusion.all_maps(maps)
        features = dpt_model.head.features(fused_maps[-1], image.shape[-2:])
        depth = dpt_model.head.depth(features)
    small = cv2.resize(image_bgr, image.shape[:1:-1], interpolation=cv2.INTER_AREA)
    patch_size = image.shape[-2] // grid_hw[0]
    return Steps(small[..., ::-1], patch_size, tokens, grid_hw, stages, maps, fused_maps, features[0], depth[0])


def as_map(stage: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Rows of tokens (1 x N x C, or 1 x (1 + N) x C with a class token) or a map (1 x C x h x w) -> C x h x w."""
    if stage.dim() == 4:
        return stage[0]
    patches = stage[0, -grid_hw[0] * grid_hw[1] :]  # N C, without the class token
    return patches.T.unflatten(1, grid_hw)  # N C -> C h w


def shape_text(tensor: Tensor) -> str:
    """2 × 3 × 4."""
    return " × ".join(str(side) for side in tensor.shape)


def with_grid(image_rgb: np.ndarray, patch_size: int) -> np.ndarray:
    """The picture, three times as large, cut into its patches by white lines."""
    large = image_rgb.repeat(3, axis=0).repeat(3, axis=1)
    for first in range(3):
        large[first :: 3 * patch_size] = 255
        large[:, first :: 3 * patch_size] = 255
    return large


def draw_tokens(steps: Steps):
    """Step 1: the picture, its patches, and what patch embedding makes of it."""
    figure, axes = new_figure(9, 2.6, columns=3)
    rows, columns = steps.grid_hw
    height, width = steps.image_rgb.shape[:2]
    show_picture(axes[0, 0], steps.image_rgb, "picture", f"1 × 3 × {height} × {width}")
    grid_text = f"{rows} × {columns} cells of {steps.patch_size} × {steps.patch_size} pixels"
    show_picture(axes[0, 1], with_grid(steps.image_rgb, steps.patch_size), "patch grid", grid_text)
    colours = feature_colours(as_map(steps.tokens, steps.grid_hw))
    show_picture(axes[0, 2], colours, "1. patch embedding", shape_text(steps.tokens))
    return figure


def draw_stages(steps: Steps):
    """Step 2: the four stages as colours."""
    figure, axes = new_figure(9, 2.1, columns=len(steps.stages))
    for number, (axis, stage) in enumerate(zip(axes[0], steps.stages, strict=True), start=1):
        show_picture(axis, feature_colours(as_map(stage, steps.grid_hw)), f"stage {number}", shape_text(stage))
    return figure


def _pyramid(maps: list[Tensor], titles: list[str]):
    """Maps beside each other as large as they are: a cell of each has the same size on paper."""
    widths = [feature_map.shape[-1] for feature_map in maps]
    rows = max(feature_map.shape[-2] for feature_map in maps)
    shares = [max(width / max(widths), 0.16) for width in widths]
    figure, axes = new_figure(9, 0.8 + 8.4 * rows / max(widths) / sum(shares), columns=len(maps), width_ratios=shares)
    for axis, feature_map, title, share in zip(axes[0], maps, titles, shares, strict=True):
        size = " × ".join(str(side) for side in feature_map.shape[-2:])
        show_picture(axis, feature_colours(feature_map[0]), f"{title}\n{size}")
        margin = (share * max(widths) - feature_map.shape[-1]) / 2
        axis.set_xlim(-0.5 - margin, feature_map.shape[-1] - 0.5 + margin)
        axis.set_ylim(rows - 0.5 - (rows - feature_map.shape[-2]) / 2, -0.5 - (rows - feature_map.shape[-2]) / 2)
        axis.spines[:].set_visible(False)
    return figure


def draw_maps(steps: Steps):
    """Step 3: the four reassembled maps, a pyramid."""
    return _pyramid(steps.maps, [f"map {number}" for number in range(1, 1 + len(steps.maps))])


def draw_fusion(steps: Steps):
    """Step 4: what each fusion block gives, from the coarsest to the finest."""
    names = [f"block {number}" for number in range(len(steps.fused_maps), 0, -1)]
    return _pyramid(steps.fused_maps, names)


def draw_head(steps: Steps):
    """Step 5: some of the last features, and the depth that is made of them."""
    figure, axes = new_figure(9, 2.6, columns=FEATURE_CHANNELS + 1)
    low, high = (steps.head_features.flatten(1).quantile(share, dim=1) for share in (0.1, 0.9))
    busiest = (high - low).topk(FEATURE_CHANNELS).indices  # without those that only a border wakes
    for axis, channel in zip(axes[0], busiest, strict=False):
        values = steps.head_features[channel].numpy()
        grey = np.repeat((255 * (values - values.min()) / max(np.ptp(values), 1e-9)).astype(np.uint8)[..., None], 3, axis=2)
        show_picture(axis, grey, f"feature {int(channel)}")
    show_picture(axes[0, -1], depth_colours(steps.depth.numpy()), "depth", shape_text(steps.depth[None]))
    return figure


def steps_of_sample(dpt_model: DPTModel, dpt_imgproc: DPTImageProcessor) -> Steps:
    """The sample picture's way."""
    return run_steps(dpt_model, dpt_imgproc, cv2.imread(str(SAMPLE_PICTURE)))
