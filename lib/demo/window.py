"""The window of run_image.py: a picture and its depth, trackbars, keys, the value under the mouse and a legend."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..predict import DepthMap
from . import drawing
from .colour import Look, as_8bit, change_look, paint_depth
from .display import ESCAPE, is_open, provide_fonts, read_key
from .model import LoadedModel
from .pictures import PictureFile, PictureRing
from .region import choose_region
from .save import free_target, save_depth
from .script import out_of_memory_message

WINDOW = "Plain DPT"
SAVE_FOLDER = Path("results")
SIZE_BAR, NEAR_BAR, FAR_BAR, PLANE_BAR = "Processing size (px)", "Near limit (%)", "Far limit (%)", "Remove plane (%)"
WAIT_MS = 20
SETTLE_SECONDS = 0.4  # a new processing size is computed when its trackbar has rested for this long
LARGEST_SIZE = 4  # the trackbar's end, as a multiple of the release's size
STATUS_HEIGHT, SMALLEST_HEIGHT = 68, drawing.SMALLEST_HEIGHT
COMPUTING = "computing the depth ..."
HELP = (
    ("c / x", "next / previous colour map"),
    ("r", "reverse the colours"),
    ("e", "equalise the contrast"),
    ("n / p", "next / previous picture"),
    ("s", "save what is shown"),
    ("h", "show or hide this help"),
    ("q, Esc", "quit"),
)


class DepthWindow:
    """Shows pictures one at a time until it is closed. Depth is computed in a thread, and the window never freezes."""

    def __init__(
        self,
        files: Sequence[PictureFile],
        model: LoadedModel,
        *,
        display_size: int,
        colour_map: str,
        crop: bool,
        save_kinds: Sequence[str],
    ):
        self.pictures, self.model, self.crop, self.save_kinds = PictureRing(files), model, crop, save_kinds
        self.available_wh = (max(display_size, drawing.SMALLEST_WIDTH), max(round(0.6 * display_size), SMALLEST_HEIGHT))
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.look = Look(colour_map=colour_map)
        self.regions: dict[PictureFile, tuple[int, int, int, int]] = {}  # chosen with --crop
        self.side_length = model.max_side_length  # what the trackbar asks for; None while nobody asked
        self.working_side_length = self.side_length  # what to go back to when a size is too much
        self.bar_side, self.bar_moved_at = 0, None
        self.depth_map, self.facts, self.job = None, {}, None  # the prediction, how it was made, and the next one
        self.mouse, self.message, self.help = (-1, -1), "", False
        self.version, self.painted, self.shown = 0, None, None  # counts new contents; what is on the screen

    def run(self) -> int:
        """Opens the window and returns when it is closed: 0, or 1 if pictures could not be read."""
        provide_fonts()
        cv2.namedWindow(WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        largest = LARGEST_SIZE * self.model.dpt_imgproc.rule.side
        for name, value, top in ((SIZE_BAR, 0, largest), (NEAR_BAR, 100, 100), (FAR_BAR, 0, 100), (PLANE_BAR, 0, 100)):
            cv2.createTrackbar(name, WINDOW, value, top, lambda _: None)
        cv2.setMouseCallback(WINDOW, self.move_mouse)
        try:
            self.open_picture(0)
            while is_open(WINDOW):
                self.follow_trackbars()
                self.collect()
                self.draw()
                if not self.press(read_key(WAIT_MS)):
                    break
        finally:
            cv2.destroyAllWindows()
            self.worker.shutdown(cancel_futures=True)
        return 1 if self.pictures.unreadable else 0

    def open_picture(self, step: int) -> None:
        """Goes on by so many pictures, round the list. Those that cannot be read are reported and left out."""
        image_bgr, file = self.pictures.read(step), self.pictures.file
        if self.crop:
            if file not in self.regions:
                self.regions[file] = choose_region(WINDOW, image_bgr, self.available_wh)
                cv2.setMouseCallback(WINDOW, self.move_mouse)
            x, y, width, height = self.regions[file]
            image_bgr = image_bgr[y : y + height, x : x + width]
        self.image_bgr, self.depth_map = image_bgr, None
        self.compute()

    def compute(self) -> None:
        """Starts the prediction of this picture at the chosen size; `collect` takes its result."""
        if self.job is not None:
            self.job.cancel()
        self.job = self.worker.submit(self.predict, self.image_bgr, self.side_length)
        self.message = COMPUTING
        self.version += 1

    def predict(self, image_bgr: np.ndarray, side_length: int | None) -> tuple[DepthMap, dict]:
        """The depth and how it was made. Runs in the worker's thread."""
        return self.model.predict([image_bgr], side_length)[0], self.model.facts(image_bgr, side_length)

    def collect(self) -> None:
        """Takes the prediction if it has come, or else the reason why not."""
        if self.job is None or not self.job.done():
            return
        job, self.job = self.job, None
        try:
            self.depth_map, self.facts = job.result()
            self.message, self.working_side_length = "", self.side_length
        except Exception as error:
            self.message = str(error) if isinstance(error, UserError) else out_of_memory_message(error)
            self.side_length = self.working_side_length
        self.version += 1
        if self.depth_map is not None and self.bar_moved_at is None:  # show the size that it became
            cv2.setTrackbarPos(SIZE_BAR, WINDOW, max(self.facts["network_size"].values()))
            self.bar_side = cv2.getTrackbarPos(SIZE_BAR, WINDOW)

    def follow_trackbars(self) -> None:
        """Reads the trackbars, and computes anew when that of the processing size has come to rest."""
        near, far, plane = (cv2.getTrackbarPos(name, WINDOW) for name in (NEAR_BAR, FAR_BAR, PLANE_BAR))
        self.look = replace(self.look, near_percent=near, far_percent=far, plane_percent=plane)
        side = cv2.getTrackbarPos(SIZE_BAR, WINDOW)
        if side != self.bar_side:
            self.bar_side, self.bar_moved_at = side, time.monotonic()
        elif self.bar_moved_at is not None and time.monotonic() - self.bar_moved_at > SETTLE_SECONDS:
            self.bar_moved_at = None
            self.side_length = max(side, 1)
            self.compute()

    def move_mouse(self, event: int, x: int, y: int, flags: int, data: object) -> None:
        """OpenCV's mouse callback."""
        self.mouse = (x, y)

    def press(self, key: str) -> bool:
        """Does what a key asks for; False to quit."""
        self.look = change_look(self.look, key)
        if key and key in "np" and len(self.pictures) > 1:
            self.open_picture(1 if key == "n" else -1)
        elif key == "s":
            self.save()
        elif key == "h":
            self.help = not self.help
        return key not in ("q", ESCAPE)

    def save(self) -> None:
        """Writes the files of --save for the picture as it is shown, never over older ones."""
        if self.depth_map is None:
            self.message = "nothing to save yet"
            return
        file = self.pictures.file
        target = free_target(SAVE_FOLDER / file.relative.with_name(file.relative.stem), self.save_kinds)
        facts = {"picture": file.relative.as_posix(), "region": self.regions.get(file), **self.facts}
        try:
            save_depth(self.depth_map, self.image_bgr, target, kinds=self.save_kinds, look=self.look, facts=facts)
            self.message = f"saved as {target}*"
        except UserError as error:
            self.message = str(error)
        print(self.message)

    def draw(self) -> None:
        """Brings the screen up to date. Painting the depth is the costly part and done only where something changed."""
        if self.painted != (self.look, self.version):
            self.painted, self.shown = (self.look, self.version), None
            self.canvas = self.paint()
        if self.shown == (self.mouse, self.message, self.help):
            return
        self.shown = (self.mouse, self.message, self.help)
        canvas = self.canvas.copy()
        lines = [self.title_text(), self.value_text(canvas), self.message or "h: help"]
        for number, line in enumerate(lines):
            drawing.draw_text(canvas, line, (drawing.MARGIN, canvas.shape[0] - STATUS_HEIGHT + 14 + 21 * number))
        if self.help:
            drawing.draw_help(canvas, HELP)
        cv2.imshow(WINDOW, canvas)

    def title_text(self) -> str:
        """Which picture this is, and what was made of it."""
        height, width = self.image_bgr.shape[:2]
        text = f"{self.pictures.index + 1} of {len(self.pictures)},  {width} x {height}"
        if self.depth_map is not None:
            size = self.facts["network_size"]
            text += f" (network {size['width']} x {size['height']})"
            text += f",  {self.depth_map.domain}" if self.depth_map.domain else ""
        return f"{text},  {self.pictures.file.path.name}"  # last, because it may be long

    def paint(self) -> np.ndarray:
        """The canvas without what follows the mouse: both panels, the legend, and room for the lines of text."""
        self.panels, (canvas_w, panels_h) = drawing.place_panels(*self.image_bgr.shape[:2], self.available_wh)
        _, _, panel_w, panel_h = self.panels[0]
        canvas = np.full((panels_h + drawing.LEGEND_HEIGHT + STATUS_HEIGHT, canvas_w, 3), drawing.BACKGROUND, np.uint8)

        pictures = [drawing.resize(as_8bit(self.image_bgr), panel_w, panel_h)]
        if self.depth_map is not None:
            depth = drawing.resize(self.depth_map.depth, panel_w, panel_h)
            colours, palette = paint_depth(depth, self.look, nearest_is_largest=self.depth_map.nearest_is_largest)
            pictures.append(colours)
            label = f"{drawing.QUANTITIES[self.depth_map.quantity][0]}   [{self.look.colour_map}]"
            if self.look.plane_percent:
                label = f"{self.look.plane_percent}% of the plane taken away from: {label}"
            canvas[panels_h : panels_h + drawing.LEGEND_HEIGHT] = drawing.draw_legend(palette, canvas_w, label)
        for (x, y, _, _), picture in zip(self.panels, pictures, strict=False):
            canvas[y : y + panel_h, x : x + panel_w] = picture
        if self.depth_map is None and self.job is not None:
            x, y, _, _ = self.panels[1]
            drawing.draw_text(canvas, COMPUTING, (x + panel_w / 2, y + panel_h / 2), anchor=0.5)
        return canvas

    def value_text(self, canvas: np.ndarray) -> str:
        """The model's own value at the pixel under the mouse, which is marked in both panels."""
        for x, y, width, height in self.panels if self.depth_map is not None else ():
            right, down = self.mouse[0] - x, self.mouse[1] - y
            if 0 <= right < width and 0 <= down < height:
                rows, columns = self.depth_map.depth.shape
                row, column = down * rows // height, right * columns // width
                for panel_x, panel_y, _, _ in self.panels:
                    cv2.circle(canvas, (panel_x + right, panel_y + down), 5, drawing.FOREGROUND, 1, cv2.LINE_AA)
                _, unit = drawing.QUANTITIES[self.depth_map.quantity]
                return f"at {column}, {row}: {self.depth_map.depth[row, column]:.4g}{unit}"
        return ""
