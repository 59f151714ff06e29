"""Choosing a region of a picture with the mouse, in a window that is open already."""

import cv2
import numpy as np

from .colour import as_8bit
from .display import ESCAPE, is_open, read_key
from .drawing import BACKGROUND, MARGIN, SMALLEST_WIDTH, draw_text, resize

HINT = "Draw a rectangle with the mouse, then press Enter. Esc: the whole picture."
HINT_HEIGHT = 34
CONFIRM_KEYS = ("\r", "\n", " ")


def choose_region(window: str, image_bgr: np.ndarray, available_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """Asks for a rectangle: x, y, width, height in the picture's pixels.

    The whole picture, if none is drawn or the window is closed. available_wh: how much of the screen to use. Takes over
    the window's contents and its mouse callback.
    """
    height, width = image_bgr.shape[:2]
    scale = min(available_wh[0] / width, available_wh[1] / height)
    seen_w, seen_h = max(round(scale * width), 1), max(round(scale * height), 1)
    canvas = np.full((seen_h + HINT_HEIGHT, max(seen_w, SMALLEST_WIDTH), 3), BACKGROUND, np.uint8)
    canvas[:seen_h, :seen_w] = resize(as_8bit(image_bgr), seen_w, seen_h)
    draw_text(canvas, HINT, (MARGIN, seen_h + 22))
    corners = [(0, 0), (0, 0)]

    def drag(event: int, x: int, y: int, flags: int, data: object) -> None:
        place = (min(max(x, 0), seen_w), min(max(y, 0), seen_h))
        if event == cv2.EVENT_LBUTTONDOWN:
            corners[:] = place, place
        elif event == cv2.EVENT_LBUTTONUP or flags & cv2.EVENT_FLAG_LBUTTON:
            corners[1] = place

    cv2.setMouseCallback(window, drag)
    while True:
        shown = canvas.copy()
        cv2.rectangle(shown, *corners, (0, 0, 0), 3)
        cv2.rectangle(shown, *corners, (255, 255, 255), 1)  # light on dark: seen on any picture
        cv2.imshow(window, shown)
        key = read_key(20)
        if key in CONFIRM_KEYS:
            break
        if key == ESCAPE or not is_open(window):
            return 0, 0, width, height
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(*corners, strict=True))
    left, right = left * width // seen_w, right * width // seen_w
    top, bottom = top * height // seen_h, bottom * height // seen_h
    return (left, top, right - left, bottom - top) if right > left and bottom > top else (0, 0, width, height)
