"""The worst pictures of an evaluation to look at: picture, truth, prediction and error beside each other.

`experiments/worst_pictures.py` draws for experiments/evaluation.py. Shapes: H W of a map.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from lib.demo.colour import CODES, Look, Palette, colour_table, paint_depth
from lib.demo.drawing import BACKGROUND, GAP, MARGIN, draw_text, resize
from lib.predict import DepthMap

TILE_WIDTH, LINE_HEIGHT = 320, 22
WORST_RATIO = 1.5  # error colours end here; the limit of delta1 is in their middle
SPARSE = 0.3  # less truth than this share of the pixels is drawn thicker
RIGHT_BGR, WRONG_BGR = (80, 200, 80), (60, 60, 240)
DEPTH_TITLES = ("picture", "truth (near is bright)", "prediction, aligned", f"max(d/g, g/d), 1 to {WORST_RATIO:g}")
PAIR_TITLES = ("pairs, red is wrong", "prediction (near is bright)")


def depth_panel(row: dict, image_bgr: np.ndarray, truth: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Four tiles with a line of text. row: of the evaluation. truth, depth: metres, one size; truth has NaN."""
    has_truth = np.isfinite(truth)
    inverse = np.where(has_truth, 1 / truth, np.nan)
    low, high = np.nanpercentile(inverse, (1, 99))
    painted_truth, palette = paint_depth(inverse.clip(low, high), Look(), nearest_is_largest=True)
    painted_depth = palette.paint(1 / depth)
    ratio = np.where(has_truth, np.maximum(depth / truth, truth / depth), 1)
    steps = np.linspace(0, 255, CODES).round().astype(np.uint8)
    painted_error = Palette(1.0, WORST_RATIO, colour_table("turbo")[steps]).paint(ratio)
    for painted in (painted_truth, painted_error):
        painted[~has_truth] = BACKGROUND
    if has_truth.mean() < SPARSE:
        painted_truth, painted_error = (cv2.dilate(each, np.ones((5, 5))) for each in (painted_truth, painted_error))
    metres = f"truth {1 / high:.2f} to {1 / low:.2f} m"
    text = f"{row['name']}: delta1 {row['delta1']:.3f}, AbsRel {row['abs_rel']:.3f}, {metres}"
    return panel([image_bgr, painted_truth, painted_depth, painted_error], DEPTH_TITLES, text)


def pairs_panel(
    row: dict, image_bgr: np.ndarray, depth_map: DepthMap, points: np.ndarray, is_right: np.ndarray
) -> np.ndarray:
    """Two tiles. points: N x 2 x 2 (nearer, farther; row, column). A line joins a pair, the ring is the nearer."""
    drawn = image_bgr.copy()
    thickness = max(1, drawn.shape[1] // 250)
    for (nearer, farther), right in zip(points[..., ::-1].tolist(), is_right, strict=True):  # (row, column) -> (x, y)
        colour = RIGHT_BGR if right else WRONG_BGR
        cv2.line(drawn, nearer, farther, colour, thickness)
        cv2.circle(drawn, nearer, 4 * thickness, colour, thickness)
    painted, _ = paint_depth(depth_map.depth, Look(), nearest_is_largest=depth_map.nearest_is_largest)
    return panel([drawn, painted], PAIR_TITLES, f"{row['name']}: {row['right']} of {row['pairs']} pairs right")


def panel(tiles: Sequence[np.ndarray], titles: Sequence[str], text: str) -> np.ndarray:
    """Tiles of one height in a row, a title over each, a line of text over all."""
    height = round(TILE_WIDTH * tiles[0].shape[0] / tiles[0].shape[1])
    height = min(max(height, 1), 2 * TILE_WIDTH)
    width = len(tiles) * (TILE_WIDTH + GAP) - GAP
    canvas = np.full((2 * LINE_HEIGHT + height + MARGIN, width, 3), BACKGROUND, np.uint8)
    draw_text(canvas, text, (0, LINE_HEIGHT - 6))
    for number, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        left = number * (TILE_WIDTH + GAP)
        draw_text(canvas, title, (left, 2 * LINE_HEIGHT - 6))
        canvas[2 * LINE_HEIGHT : 2 * LINE_HEIGHT + height, left : left + TILE_WIDTH] = resize(tile, TILE_WIDTH, height)
    return canvas


def stack(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels of one width below each other."""
    return np.vstack(panels)
