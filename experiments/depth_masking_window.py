"""The window of experiments/depth_masking.py: trackbars for the range, the plane and the feather.

`experiments/depth_masking_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from experiments.depth_cutout import Values, cut_out, limits_of, make_mask, over_checkerboard, values_to_cut
from experiments.depth_masking import SUFFIXES, cut_of
from experiments.inspection_window import InspectionWindow
from lib.demo.colour import Look, as_8bit, paint_depth, step_colour_map
from lib.demo.drawing import resize
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile
from lib.predict import DepthMap

FAR_BAR, NEAR_BAR, PLANE_BAR, FEATHER_BAR = "Far limit (%)", "Near limit (%)", "Remove plane (%)", "Feather (px)"
VIEWS = ("cut-out", "mask", "depth")
CLICK_PERCENT = 8  # a click keeps so much on either side of what was clicked
LARGEST_FEATHER = 60


class MaskingWindow(InspectionWindow):
    """The picture beside what is cut out. save: writes the files of a picture."""

    title = "Depth masking"
    suffixes = SUFFIXES
    keys = (
        ("click", "range around this depth"),
        ("i", "invert"),
        ("v", "cut-out / mask / depth"),
        ("c / x", "next / previous colour map"),
    )

    def __init__(self, files: Sequence[PictureFile], model: LoadedModel, args: argparse.Namespace, *, save: Callable):
        super().__init__(files, model, display_size=args.display_size)
        self.cut, self.save_files = cut_of(args), save
        self.shown, self.colour_map = VIEWS[0], args.colormap
        self.cut_values = self.panel = None  # the values without the plane, what is shown of them, and what they belong to

    def bars(self) -> Sequence[tuple[str, int, int]]:
        cut = self.cut
        return (
            (FAR_BAR, round(cut.far_percent), 100),
            (NEAR_BAR, round(cut.near_percent), 100),
            (PLANE_BAR, round(cut.plane_percent), 100),
            (FEATHER_BAR, min(round(cut.feather), LARGEST_FEATHER), LARGEST_FEATHER),
        )

    def compute(self, image_bgr: np.ndarray, question: Hashable) -> DepthMap:
        return self.model.predict([image_bgr])[0]

    def look(self) -> Hashable:
        far, near, plane, feather = (self.value_of(label) for label, _, _ in self.bars())
        if (far, near) != (round(self.cut.far_percent), round(self.cut.near_percent)):
            self.cut = replace(self.cut, limits=None)  # whoever moves these means percents
        self.cut = replace(self.cut, far_percent=far, near_percent=max(near, far + 1), plane_percent=plane, feather=feather)
        if self.clicked and self.result is not None:
            self.keep_around(self.place)
        return self.cut, self.shown, self.colour_map, self.place

    def values(self) -> Values:
        """The numbers that the mask is cut by, fitted anew only where something changed."""
        kept = self.cut_values
        if kept is None or kept[0] is not self.result or kept[1] != self.cut.plane_percent:
            values, _ = values_to_cut(self.result, self.cut.plane_percent)
            self.cut_values = kept = (self.result, self.cut.plane_percent, values)
        return kept[2]

    def keep_around(self, place: tuple[float, float]) -> None:
        """Sets the trackbars to a range around the value that was clicked."""
        self.clicked = False
        values = self.values()
        rows, columns = values.numbers.shape
        value = float(values.numbers[int(place[1] * rows), int(place[0] * columns)])
        low, high = limits_of(values, replace(self.cut, limits=None, far_percent=0, near_percent=100))
        if not np.isfinite(value) or high <= low:
            return
        percent = 100 * (value - low) / (high - low)
        percent = percent if values.nearest_is_largest else 100 - percent
        cv2.setTrackbarPos(FAR_BAR, self.title, round(max(percent - CLICK_PERCENT, 0)))
        cv2.setTrackbarPos(NEAR_BAR, self.title, round(min(percent + CLICK_PERCENT, 100)))

    def press(self, key: str) -> None:
        if key == "i":
            self.cut = replace(self.cut, invert=not self.cut.invert)
        elif key == "v":
            self.shown = VIEWS[(VIEWS.index(self.shown) + 1) % len(VIEWS)]
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        values = self.values()
        key = (self.cut, self.shown, self.colour_map)
        if self.panel is None or self.panel[0] is not values or self.panel[1] != key:  # the pointer changes nothing of it
            self.panel = (values, key, *self.right_panel())
        _, _, painted, share = self.panel
        rows, columns = values.numbers.shape
        value = values.numbers[int(self.place[1] * rows), int(self.place[0] * columns)]
        low, high = limits_of(values, self.cut)
        what = "outside" if self.cut.invert else "inside"
        kept = f"{100 * share:.1f}% kept, {what} of {low:.4g} to {high:.4g} {values.unit}"
        return [as_8bit(self.image_bgr), painted], [f"{self.shown}: {kept};  here: {value:.4g}"]

    def right_panel(self) -> tuple[np.ndarray, float]:
        """What the view asks for, in the size of the picture, and the share of pixels that is kept."""
        values, image_bgr = self.values(), as_8bit(self.image_bgr)
        mask = make_mask(values, self.cut)
        if self.shown == "mask":
            painted = cv2.cvtColor(np.rint(255 * mask).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        elif self.shown == "depth":
            look = Look(colour_map=self.colour_map)
            painted, _ = paint_depth(values.numbers, look, nearest_is_largest=values.nearest_is_largest)
        else:
            height, width = image_bgr.shape[:2]
            scale = min(1.0, self.available_wh[0] / 2 / width)  # squares of the board as large as on the screen
            small = max(round(width * scale), 1), max(round(height * scale), 1)
            painted = over_checkerboard(cut_out(resize(image_bgr, *small), resize(mask, *small)))
            painted = resize(painted, width, height)
        return painted, float(mask.mean())

    def save(self, target: Path) -> None:
        facts = {"picture": self.pictures.file.relative.as_posix(), **self.model.facts(self.image_bgr)}
        self.save_files(self.result, self.image_bgr, self.cut, target, facts=facts)
