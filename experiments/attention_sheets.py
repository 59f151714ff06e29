"""Pictures of attention: one map over the picture, all heads as tiles, all blocks as tiles.

`experiments/attention_sheets.py` draws for experiments/attention_visualization.py. Shapes: h w a token grid.
"""

import cv2
import numpy as np

from experiments.attention_maps import CLASS_TOKEN, COMBINATIONS, DIRECTIONS, Attention, head_maps, patch_at
from experiments.inspection_drawing import mark_patch, overlay, tile_sheet
from experiments.recorder import AttentionRecord
from lib.demo.drawing import FOREGROUND, resize

TILE_SIDE = 480  # of what a map is painted on
TOP_PERCENT = 98  # what gets the last colour: a few patches that get everything do not darken the others


def ends_of(values: np.ndarray, *, how: str | int = "mean") -> tuple[float, float]:
    """What gets the first and the last colour. Attention is painted from zero on, a rollout from its smallest number on:
    every block adds a little to all patches alike."""
    low = float(values.min()) if how == "rollout" else 0.0
    seen = values[values > 0]  # outside of its window, a Swin patch sees nothing
    return low, float(np.percentile(seen, TOP_PERCENT)) if seen.size else 0.0


def range_text(ends: tuple[float, float]) -> str:
    """What the colours mean, for a title."""
    low, high = (100 * value for value in ends)
    return f"{low:.3g} to {high:.3g}%"


def small(image_bgr: np.ndarray) -> np.ndarray:
    """The picture at the size that maps are painted on."""
    height, width = image_bgr.shape[:2]
    scale = TILE_SIDE / max(height, width)
    return resize(image_bgr, max(round(width * scale), 1), max(round(height * scale), 1))


def map_picture(
    image_bgr: np.ndarray,
    values: np.ndarray,
    place: tuple[float, float] | str,
    asking_grid_hw: tuple[int, int],
    colour_map: str,
    *,
    how: str | int = "mean",
    smooth: bool = False,
) -> np.ndarray:
    """One map over the picture, with the patch that asks in a frame. how: as for `ends_of`."""
    painted = overlay(image_bgr, values, colour_map, ends_of(values, how=how), smooth=smooth)
    if place != CLASS_TOKEN:
        mark_patch(painted, patch_at(place, asking_grid_hw), asking_grid_hw)
    return painted


def asking_grid(attention: Attention, direction: str, how: str | int) -> tuple[int, int]:
    """The grid that the patch is a part of: a rollout's column begins at the first block."""
    if direction == "row":
        return attention.record.query_grid_hw
    return (attention.means[0] if how == "rollout" else attention.record).key_grid_hw


def overview_sheet(
    attention: Attention, image_bgr: np.ndarray, place: tuple[float, float] | str, colour_map: str
) -> np.ndarray:
    """The picture, then rows and columns: mean, maximum, rollout."""
    image_bgr = small(image_bgr)
    plain = image_bgr.copy()
    grid_hw = attention.record.query_grid_hw
    if place != CLASS_TOKEN:
        mark_patch(plain, patch_at(place, grid_hw), grid_hw)
    who = "the class token asks" if place == CLASS_TOKEN else f"a patch of {grid_hw[0]} x {grid_hw[1]} asks"
    tiles, titles = [plain], [who]
    for direction in DIRECTIONS:
        if direction == "column":
            tiles.append(image_bgr)
            titles.append("the picture")
        for how in COMBINATIONS:
            values = attention.maps(place, direction, how)
            grid = asking_grid(attention, direction, how)
            tiles.append(map_picture(image_bgr, values, place, grid, colour_map, how=how))
            titles.append(f"{direction}, {how}: {range_text(ends_of(values, how=how))}")
    name = attention.names[attention.block]
    return tile_sheet(tiles, titles, heading=f"{name}. row: where it looks; column: who looks at it", columns=4)


def heads_sheet(
    record: AttentionRecord,
    image_bgr: np.ndarray,
    place: tuple[float, float] | str,
    direction: str,
    colour_map: str,
    *,
    heading: str,
) -> np.ndarray:
    """Every head of a block."""
    image_bgr = small(image_bgr)
    heads, class_share = head_maps(record, place, direction=direction)
    grid_hw = record.query_grid_hw if direction == "row" else record.key_grid_hw
    tiles = [map_picture(image_bgr, values, place, grid_hw, colour_map) for values in heads.numpy()]
    titles = []
    for number, values in enumerate(heads.numpy()):
        class_text = f", class {100 * float(class_share[number]):.2g}%" if class_share is not None else ""
        titles.append(f"head {number}: {range_text(ends_of(values))}{class_text}")
    return tile_sheet(tiles, titles, heading=heading)


def blocks_sheet(
    attention: Attention, image_bgr: np.ndarray, place: tuple[float, float] | str, colour_map: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Where the place looks in every block up to the chosen one (mean over heads); also those maps themselves, h x w."""
    image_bgr = small(image_bgr)
    tiles, titles, maps = [], [], []
    for name, record in zip(attention.names, attention.means, strict=False):
        values = head_maps(record, place, direction="row")[0][0].numpy()
        maps.append(values)
        tiles.append(map_picture(image_bgr, values, place, record.query_grid_hw, colour_map))
        titles.append(f"{name}: {range_text(ends_of(values))}")
    return tile_sheet(tiles, titles, heading="where it looks in every block, mean over heads"), maps


def mosaic(image_bgr: np.ndarray, maps: np.ndarray, colour_map: str) -> np.ndarray:
    """All heads as tiles of one picture of the picture's own shape; each has its number. maps: A x h x w."""
    height, width = image_bgr.shape[:2]
    across = int(np.ceil(len(maps) ** 0.5))
    tile_w, tile_h = max(width // across, 1), max(height // across, 1)
    picture = resize(image_bgr, tile_w, tile_h)
    canvas = np.zeros((tile_h * across, tile_w * across, 3), np.uint8)
    for number, values in enumerate(maps):
        tile = overlay(picture, values, colour_map, ends_of(values))
        cv2.putText(tile, str(number), (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, FOREGROUND, 1, cv2.LINE_AA)
        row, column = divmod(number, across)
        canvas[row * tile_h : (row + 1) * tile_h, column * tile_w : (column + 1) * tile_w] = tile
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_NEAREST)
