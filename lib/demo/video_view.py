"""What the window of run_video.py shows: the frame, its newest depth, a legend and lines of text. Opens no window."""

from collections.abc import Sequence

import numpy as np

from . import drawing
from .colour import Look, paint_depth
from .frames import Frame
from .video_live import LiveFrame
from .video_normalise import Ends
from .window import STATUS_HEIGHT


class VideoView:
    """Draws the canvas anew where something changed. display_size: width of the window. help_lines: keys and meanings."""

    def __init__(self, display_size: int, help_lines: Sequence[tuple[str, str]]):
        self.available_wh = (
            max(display_size, drawing.SMALLEST_WIDTH),
            max(round(0.6 * display_size), drawing.SMALLEST_HEIGHT),
        )
        self.help_lines = help_lines
        self._base, self._base_of = None, None  # the canvas without what changes with every frame, and what it shows
        self._drawn = None

    def draw(
        self, frame: Frame, depth: LiveFrame | None, *, look: Look, ends: Ends | None, lines: Sequence[str], show_help: bool
    ) -> np.ndarray | None:
        """The canvas, H x W x 3 uint8; None if it is the same as the last one. ends: the (far, near) of the colours."""
        base_of = (id(depth), look, ends, frame.image_bgr.shape)
        if base_of != self._base_of:
            self._base, self._base_of, self._depth = self._draw_base(frame, depth, look, ends), base_of, depth
            self._drawn = None
        contents = (frame.index, frame.seconds, tuple(lines), show_help)
        if contents == self._drawn:
            return None
        self._drawn = contents
        canvas = self._base.copy()
        x, y, width, height = self.panels[0]
        canvas[y : y + height, x : x + width] = drawing.resize(frame.image_bgr, width, height)
        for number, line in enumerate(lines):
            drawing.draw_text(canvas, line, (drawing.MARGIN, canvas.shape[0] - STATUS_HEIGHT + 14 + 21 * number))
        if show_help:
            drawing.draw_help(canvas, self.help_lines)
        return canvas

    def _draw_base(self, frame: Frame, depth: LiveFrame | None, look: Look, ends: Ends | None) -> np.ndarray:
        self.panels, (canvas_w, panels_h) = drawing.place_panels(*frame.image_bgr.shape[:2], self.available_wh)
        base = np.full((panels_h + drawing.LEGEND_HEIGHT + STATUS_HEIGHT, canvas_w, 3), drawing.BACKGROUND, np.uint8)
        x, y, width, height = self.panels[1]
        if depth is None:
            drawing.draw_text(base, "computing the depth ...", (x + width / 2, y + height / 2), anchor=0.5)
            return base
        values = drawing.resize(depth.depth_map.depth, width, height)
        colours, palette = paint_depth(values, look, nearest_is_largest=depth.depth_map.nearest_is_largest, ends=ends)
        base[y : y + height, x : x + width] = colours
        label = f"{drawing.QUANTITIES[depth.depth_map.quantity][0]}   [{look.colour_map}]"
        base[panels_h : panels_h + drawing.LEGEND_HEIGHT] = drawing.draw_legend(palette, canvas_w, label)
        return base
