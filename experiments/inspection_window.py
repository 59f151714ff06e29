"""The window of the scripts that open a model up: pictures one at a time, trackbars, keys, the patch under the pointer.

`experiments/inspection_window.py` holds what is the same for all of them; a script's own window says what is computed, what is
shown and what its keys do.
"""

from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from experiments.inspection import WINDOW_FOLDER, free_target
from lib.demo import drawing
from lib.demo.colour import as_8bit
from lib.demo.display import ESCAPE, is_open, provide_fonts, read_key
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile, PictureRing
from lib.demo.script import out_of_memory_message
from lib.errors import UserError

WAIT_MS = 20
STATUS_HEIGHT = 68
SMALLEST_HEIGHT = 220
COMMON_HELP = (
    ("n / p", "next / previous picture"),
    ("s", "save what is computed"),
    ("h", "show or hide this help"),
    ("q, Esc", "quit"),
)


class InspectionWindow:
    """Shows pictures until it is closed. What is slow runs in a thread, and the window never freezes.

    A script's window has bars (label, first value, last value), keys for the help, and the methods below `run`.
    """

    title = "Plain DPT"
    keys: Sequence[tuple[str, str]] = ()
    suffixes: Sequence[str] = ()

    def __init__(self, files: Sequence[PictureFile], model: LoadedModel, *, display_size: int):
        self.pictures, self.model = PictureRing(files), model
        self.available_wh = (max(display_size, drawing.SMALLEST_WIDTH), max(round(0.6 * display_size), SMALLEST_HEIGHT))
        self.worker = ThreadPoolExecutor(max_workers=1)
        self.image_bgr = self.result = self.job = self.asked = None
        self.message, self.help = "", False
        self.place = (0.5, 0.5)  # in the picture, x and y from 0 to 1: where the pointer was last
        self.clicked = False
        self.panels: list[tuple[int, int, int, int]] = []  # x, y, width and height of what stands for the picture
        self.painted = None

    def run(self) -> int:
        """Opens the window and returns when it is closed: 0, or 1 if pictures could not be read."""
        provide_fonts()
        cv2.namedWindow(self.title, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        for label, value, top in self.bars():
            cv2.createTrackbar(label, self.title, value, max(top, 1), lambda _: None)
        cv2.setMouseCallback(self.title, self.move_mouse)
        try:
            self.open_picture(0)
            while is_open(self.title):
                self.work()
                self.draw()
                key = read_key(WAIT_MS)
                if key in ("q", ESCAPE):
                    break
                if key:
                    self.press_any(key)
        finally:
            cv2.destroyAllWindows()
            self.worker.shutdown(cancel_futures=True)
        return 1 if self.pictures.unreadable else 0

    def bars(self) -> Sequence[tuple[str, int, int]]:
        """Trackbars: label, first value, last value (at least 1)."""
        return ()

    def question(self) -> Hashable:
        """What a result depends on besides the picture; when it changes, `compute` runs again."""
        return None

    def compute(self, image_bgr: np.ndarray, question: Hashable) -> object:
        """The result for a picture. Runs in another thread: must not touch the window."""
        raise NotImplementedError

    def look(self) -> Hashable:
        """What the view depends on besides the result."""
        return self.place

    def panels_with_pointer(self) -> int:
        """How many of the pictures shown, counted from the first, have the shape of the picture that the pointer is in."""
        return 2

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        """Pictures to show beside each other (all of one shape) and lines of text, from `self.result`."""
        raise NotImplementedError

    def press(self, key: str) -> None:
        """A key that is none of COMMON_HELP's."""

    def save(self, target: Path) -> None:
        """Writes what is computed; target: the path of the results without suffixes."""
        raise NotImplementedError

    def value_of(self, label: str) -> int:
        """Where a trackbar stands."""
        return cv2.getTrackbarPos(label, self.title)

    def open_picture(self, step: int) -> None:
        """Goes on by so many pictures, round the list. Those that cannot be read are reported and left out."""
        self.image_bgr = self.pictures.read(step)
        self.result, self.asked = None, None

    def work(self) -> None:
        """Takes a result that has come, and asks for a new one where the question has changed."""
        if self.job is not None and self.job.done():
            job, self.job = self.job, None
            self.painted = None
            try:
                self.result, self.message = job.result(), ""
            except Exception as error:
                self.message = str(error) if isinstance(error, UserError) else out_of_memory_message(error)
        question = (self.pictures.index, self.question())
        if self.job is None and self.asked != question:
            self.asked = question
            self.message = "computing ..."
            self.job = self.worker.submit(self.compute, self.image_bgr, question[1])

    def move_mouse(self, event: int, x: int, y: int, flags: int, data: object) -> None:
        """OpenCV's mouse callback."""
        for left, top, width, height in self.panels:
            if left <= x < left + width and top <= y < top + height:
                self.place = ((x - left + 0.5) / width, (y - top + 0.5) / height)
                self.clicked = self.clicked or event == cv2.EVENT_LBUTTONDOWN

    def press_any(self, key: str) -> None:
        """Does what a key asks for."""
        if key in "np" and len(self.pictures) > 1:
            self.open_picture(1 if key == "n" else -1)
        elif key == "s":
            self.save_safely()
        elif key == "h":
            self.help = not self.help
        elif key not in "np":
            self.press(key)

    def save_safely(self) -> None:
        """Saves beside older results, never over them; the message says where."""
        from lib.demo.save import make_folder

        if self.result is None:
            self.message = "nothing to save yet"
            return
        relative = self.pictures.file.relative
        target = free_target(WINDOW_FOLDER / relative.with_name(relative.stem), self.suffixes)
        try:
            make_folder(target.parent)
            self.save(target)
            self.message = f"saved as {target}*"
        except UserError as error:
            self.message = str(error)
        print(self.message)

    def draw(self) -> None:
        """Brings the screen up to date where something changed."""
        state = (self.pictures.index, self.look(), self.message, self.help, self.result is None)
        if self.painted == state:
            return
        self.painted = state
        pictures, lines = ([as_8bit(self.image_bgr)], [""]) if self.result is None else self.view()
        canvas = self.arrange(pictures)
        place = f"{self.pictures.index + 1} of {len(self.pictures)},  {self.pictures.file.path.name}"
        texts = [place, *lines][:2] + [self.message or "h: help"]
        for number, line in enumerate(texts):
            drawing.draw_text(canvas, line, (drawing.MARGIN, canvas.shape[0] - STATUS_HEIGHT + 14 + 21 * number))
        if self.help:
            drawing.draw_help(canvas, (*self.keys, *COMMON_HELP))
        cv2.imshow(self.title, canvas)

    def arrange(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """One picture, or two beside or above each other, as large as fits, with room for lines of text below."""
        height, width = pictures[0].shape[:2]
        if len(pictures) == 2:
            panel_w, panel_h, stacked = drawing.fit_panels(height, width, self.available_wh)
        else:
            scale = min(self.available_wh[0] / width, self.available_wh[1] / height)
            panel_w, panel_h, stacked = max(round(width * scale), 1), max(round(height * scale), 1), False
        step_x, step_y = (0, panel_h + drawing.GAP) if stacked else (panel_w + drawing.GAP, 0)
        steps = len(pictures) - 1
        total_w, total_h = panel_w + steps * step_x, panel_h + steps * step_y
        canvas_w, panels_h = max(total_w, drawing.SMALLEST_WIDTH), max(total_h, SMALLEST_HEIGHT)
        left, top = (canvas_w - total_w) // 2, (panels_h - total_h) // 2
        canvas = np.full((panels_h + STATUS_HEIGHT, canvas_w, 3), drawing.BACKGROUND, np.uint8)
        places = [(left + number * step_x, top + number * step_y) for number in range(len(pictures))]
        for (x, y), picture in zip(places, pictures, strict=True):
            canvas[y : y + panel_h, x : x + panel_w] = drawing.resize(picture, panel_w, panel_h)
        self.panels = [(x, y, panel_w, panel_h) for x, y in places[: self.panels_with_pointer()]]
        return canvas
