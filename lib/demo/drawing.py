"""What is drawn around a depth map on the screen: the layout, the legend, texts. Nothing here opens a window."""

from collections.abc import Sequence

import cv2
import numpy as np

from .colour import Palette

BACKGROUND, FOREGROUND = (30, 30, 30), (235, 235, 235)
TEXT_SCALE, MARGIN, GAP = 0.48, 12, 8
SMALLEST_WIDTH, SMALLEST_HEIGHT = 640, 220  # of a canvas: room for the lines of text, and for the help
LEGEND_HEIGHT, LEGEND_TICKS = 66, 5

# quantity of a DepthMap: what to call it in a legend, and the unit after a number
QUANTITIES = {
    "metres": ("depth in metres", " m"),
    "inverse depth": ("inverse depth, without a unit", " (inverse depth)"),
    "depth": ("relative depth, without a unit", " (relative depth)"),
}


def fit_panels(height: int, width: int, available_wh: tuple[int, int]) -> tuple[int, int, bool]:
    """How large a picture can be shown twice: width and height of a panel, and whether one stands above the other."""
    scales = {}
    for stacked in (False, True):
        across, down = (1, 2) if stacked else (2, 1)
        room_w, room_h = (available_wh[0] - GAP) / across, (available_wh[1] - GAP) / down
        scales[stacked] = min(room_w / width, room_h / height)
    stacked = scales[True] > 1.5 * scales[False]  # side by side, unless that makes a panorama a thin strip
    scale = scales[stacked]
    return max(round(width * scale), 1), max(round(height * scale), 1), stacked


def place_panels(
    height: int, width: int, available_wh: tuple[int, int]
) -> tuple[list[tuple[int, int, int, int]], tuple[int, int]]:
    """Where a picture and its depth stand: x, y, width and height of both, and the width and height of the whole."""
    panel_w, panel_h, stacked = fit_panels(height, width, available_wh)
    step_x, step_y = (0, panel_h + GAP) if stacked else (panel_w + GAP, 0)
    canvas_w, panels_h = max(panel_w + step_x, SMALLEST_WIDTH), max(panel_h + step_y, SMALLEST_HEIGHT)
    left, top = (canvas_w - panel_w - step_x) // 2, (panels_h - panel_h - step_y) // 2
    panels = [(left, top, panel_w, panel_h), (left + step_x, top + step_y, panel_w, panel_h)]
    return panels, (canvas_w, panels_h)


def draw_legend(palette: Palette, width: int, label: str) -> np.ndarray:
    """The colours of a palette from far to near with their values, LEGEND_HEIGHT x width x 3. label: the quantity."""
    legend = np.full((LEGEND_HEIGHT, width, 3), BACKGROUND, np.uint8)
    left, right = MARGIN, width - MARGIN
    values = np.linspace(palette.far, palette.near, right - left, dtype=np.float32)
    legend[24:40, left:right] = palette.paint(values)
    for share, text in ((0, "far"), (0.5, label), (1, "near")):
        draw_text(legend, text, (left + share * (right - left), 17), anchor=share)
    for share in np.linspace(0, 1, LEGEND_TICKS):
        x = left + share * (right - left - 1)
        cv2.line(legend, (round(x), 40), (round(x), 44), FOREGROUND)
        draw_text(legend, f"{palette.far + share * (palette.near - palette.far):.4g}", (x, 57), anchor=share)
    return legend


def draw_text(canvas: np.ndarray, text: str, position: tuple[float, float], *, anchor: float = 0.0) -> None:
    """One line of light text, in place. position: x of its left (anchor 0) to right end (anchor 1), and baseline."""
    (text_width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)
    corner = (round(position[0] - anchor * text_width), round(position[1]))
    cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, FOREGROUND, 1, cv2.LINE_AA)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """For the screen: averages where the picture becomes smaller, and shows the pixels where it becomes larger."""
    shrinks = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def draw_help(canvas: np.ndarray, lines: Sequence[tuple[str, str]]) -> None:
    """Keys and their meanings, on a darkened box over the picture, in place."""
    box = canvas[10 : 28 + 23 * len(lines), 10:340]
    box //= 6
    for number, (keys, meaning) in enumerate(lines):
        baseline = 36 + 23 * number
        draw_text(canvas, keys, (26, baseline))
        draw_text(canvas, meaning, (110, baseline))
