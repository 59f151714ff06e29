"""The window of experiments/compare_models.py: two models' maps beside each other, or how they differ.

`experiments/compare_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.agreement import agreement, align_to, span_of
from experiments.compare_models import SUFFIXES
from experiments.compare_parts import compare_pairs, compare_sheet, paint_difference, predict_all
from experiments.inspection import write_json, write_png
from experiments.inspection_window import InspectionWindow
from lib.demo.colour import Look, as_8bit, paint_depth, step_colour_map
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile

LEFT_BAR, RIGHT_BAR = "Left model", "Right model"


class CompareWindow(InspectionWindow):
    """All models run once per picture; sliders choose which two are seen."""

    title = "Compare models"
    suffixes = SUFFIXES
    keys = (("d", "difference / right map"), ("v", "picture / left map"), ("c / x", "next / previous colour map"))

    def __init__(self, files: Sequence[PictureFile], models: Mapping[str, LoadedModel], args: argparse.Namespace):
        super().__init__(files, next(iter(models.values())), display_size=args.display_size)
        self.models, self.colour_map = models, args.colormap
        self.shows_difference = self.shows_picture = False

    def bars(self) -> Sequence[tuple[str, int, int]]:
        return (LEFT_BAR, 0, len(self.models) - 1), (RIGHT_BAR, 1, len(self.models) - 1)

    def compute(self, image_bgr: np.ndarray, question: None) -> dict[str, np.ndarray]:
        return predict_all(self.models, image_bgr)

    def chosen(self) -> list[str]:
        """The names of the left and the right model."""
        return [list(self.models)[min(self.value_of(bar), len(self.models) - 1)] for bar in (LEFT_BAR, RIGHT_BAR)]

    def look(self) -> tuple:
        return *self.chosen(), self.colour_map, self.shows_difference, self.shows_picture

    def press(self, key: str) -> None:
        if key == "d":
            self.shows_difference = not self.shows_difference
        elif key == "v":
            self.shows_picture = not self.shows_picture
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        names = self.chosen()
        left, right = (self.result[name] for name in names)
        aligned = align_to(right, left)
        painted, palette = paint_depth(left, Look(colour_map=self.colour_map), nearest_is_largest=True)
        second = paint_difference(np.abs(aligned - left) / span_of(left)) if self.shows_difference else palette.paint(aligned)
        numbers = agreement(right, left)
        text = f"error {numbers.aligned_error:.3f},  correlation {numbers.correlation:.3f},  ranking {numbers.ranking:.3f}"
        pictures = [as_8bit(self.image_bgr) if self.shows_picture else painted, second]
        return pictures, [f"{names[0]}  |  {names[1]}:  {text}"]

    def save(self, target: Path) -> None:
        facts = {"picture": self.pictures.file.relative.as_posix(), "pairs": compare_pairs(self.result)}
        write_json(target.with_name(target.name + SUFFIXES[0]), "compare_models", facts)
        sheet = compare_sheet(self.image_bgr, self.result, self.colour_map, heading=self.pictures.file.path.name)
        write_png(target.with_name(target.name + SUFFIXES[1]), sheet)
