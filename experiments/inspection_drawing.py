"""What the scripts that open a model up draw with: heat maps, overlays, sheets of tiles, plots as pictures.

`experiments/inspection_drawing.py` opens no window. Shapes: H W of a picture, h w of a map over it.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from lib.demo.colour import CODES, Palette, colour_table
from lib.demo.drawing import BACKGROUND, FOREGROUND, GAP, MARGIN, TEXT_SCALE, draw_text, resize
from lib.errors import UserError

LINE_HEIGHT = 22
MARK_BGR = (255, 255, 0)
DOTS_PER_INCH = 100


def palette(colour_map: str, low: float, high: float) -> Palette:
    """Colours from `low` (the map's first) to `high`."""
    steps = np.linspace(0, 255, CODES).round().astype(np.uint8)
    return Palette(low, high, colour_table(colour_map)[steps])


def heat(values: np.ndarray, colour_map: str, low: float = 0.0, high: float | None = None) -> np.ndarray:
    """A map, h x w -> h x w x 3 uint8 BGR. high: by default its largest number."""
    return palette(colour_map, low, float(values.max()) if high is None else high).paint(values)


def overlay(
    image_bgr: np.ndarray, values: np.ndarray, colour_map: str, ends: tuple[float, float], *, smooth: bool = False
) -> np.ndarray:
    """A map in colours over the picture in grey, H x W x 3; the picture shines through where the map is low.

    values: h x w. ends: what gets the first and the last colour. smooth: interpolated between the patches.
    """
    height, width = image_bgr.shape[:2]
    low, high = ends
    way = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    large = cv2.resize(values.astype(np.float32), (width, height), interpolation=way)
    share = ((large - low) / (high - low) if high > low else np.zeros_like(large)).clip(0, 1)[..., None]
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)[..., None]
    opacity = 0.35 + 0.55 * np.sqrt(share)
    return (0.7 * grey * (1 - opacity) + heat(large, colour_map, low, high) * opacity).astype(np.uint8)


def mark_patch(image_bgr: np.ndarray, patch: tuple[int, int], grid_hw: tuple[int, int]) -> None:
    """A frame around one patch (row, column) of the grid over the picture, in place."""
    height, width = image_bgr.shape[:2]
    (row, column), (rows, columns) = patch, grid_hw
    left, right = column * width // columns, (column + 1) * width // columns
    top, bottom = row * height // rows, (row + 1) * height // rows
    thickness = max(1, min(height, width) // 200)
    cv2.rectangle(image_bgr, (left, top), (right - 1, bottom - 1), (0, 0, 0), thickness + 2)
    cv2.rectangle(image_bgr, (left, top), (right - 1, bottom - 1), MARK_BGR, thickness)


def fit_inside(image_bgr: np.ndarray, longer_side: int) -> np.ndarray:
    """The picture, not larger than this; smaller ones are enlarged."""
    height, width = image_bgr.shape[:2]
    scale = longer_side / max(height, width)
    return resize(image_bgr, max(round(width * scale), 1), max(round(height * scale), 1))


def tile_sheet(
    tiles: Sequence[np.ndarray], titles: Sequence[str], *, heading: str = "", tile_width: int = 220, columns: int | None = None
) -> np.ndarray:
    """Pictures of one shape as tiles with a title over each. columns: as many as make the sheet about 4 to 3."""
    height = max(round(tile_width * tiles[0].shape[0] / tiles[0].shape[1]), 1)
    if columns is None and len(tiles) <= 4:
        columns = len(tiles)
    elif columns is None:
        columns = max(round((len(tiles) * (height + LINE_HEIGHT) / tile_width * 4 / 3) ** 0.5), 1)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    top = LINE_HEIGHT if heading else 0
    wide = columns * (tile_width + GAP) + GAP
    sheet = np.full((top + rows * (height + LINE_HEIGHT) + MARGIN, wide, 3), BACKGROUND, np.uint8)
    if heading:
        draw_text(sheet, shorten(heading, wide - 2 * GAP), (GAP, LINE_HEIGHT - 6))
    for number, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        left = GAP + number % columns * (tile_width + GAP)
        baseline = top + (number // columns) * (height + LINE_HEIGHT) + LINE_HEIGHT
        draw_text(sheet, shorten(title, tile_width), (left, baseline - 6))
        sheet[baseline : baseline + height, left : left + tile_width] = resize(tile, tile_width, height)
    return sheet


def shorten(text: str, width: int) -> str:
    """As much of a text as fits into so many pixels."""
    while text and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)[0][0] > width:
        text = text[:-1]
    return text


def new_figure(width: float, height: float, *, rows: int = 1, columns: int = 1):
    """A matplotlib figure of inches and its axes (an array if there are several), dark like the window.

    Raises UserError where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system is touched, nothing is kept
    except ImportError:
        raise UserError("plots need matplotlib: pip install -r experiments/requirements.txt") from None
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    dark, light = ([channel / 255 for channel in colour] for colour in (BACKGROUND, FOREGROUND))
    figure.set_facecolor(dark)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_facecolor(dark)
        axis.tick_params(which="both", colors=light, labelsize=8)
        for part in (axis.title, axis.xaxis.label, axis.yaxis.label):
            part.set_color(light)
        for spine in axis.spines.values():
            spine.set_color(light)
    return figure, axes[0, 0] if axes.size == 1 else axes


def figure_picture(figure) -> np.ndarray:
    """What a matplotlib figure looks like, H x W x 3 uint8 BGR."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])
