"""The window of experiments/resolution_study.py: the map at the release's own size beside that of another setting.

`experiments/resolution_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.inspection import write_json, write_png
from experiments.inspection_window import InspectionWindow
from experiments.resolution_parts import (
    Run,
    aligned_maps,
    busiest_part,
    choose_settings,
    detail_sheet,
    maps_sheet,
    paint_alike,
    run_setting,
    title,
)
from experiments.resolution_results import measure
from experiments.resolution_study import SUFFIXES
from lib.demo.colour import as_8bit, step_colour_map
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile

SETTING_BAR = "Setting"


class ResolutionWindow(InspectionWindow):
    """A slider goes through the settings; what was computed for a picture is kept."""

    title = "Resolution study"  # of the window
    suffixes = SUFFIXES
    keys = (("d", "the part with most detail / all"), ("v", "own size / picture"), ("c / x", "next / previous colour map"))

    def __init__(self, files: Sequence[PictureFile], model: LoadedModel, args: argparse.Namespace):
        super().__init__(files, model, display_size=args.display_size)
        self.args, self.colour_map = args, args.colormap
        self.shows_detail = self.shows_picture = False
        self.kept: tuple[np.ndarray | None, dict] = (None, {})  # the picture, and its runs by the setting

    def bars(self) -> Sequence[tuple[str, int, int]]:
        most = 1 + len(self.args.sizes or (0,) * 4) + len(self.args.stretches) + len(self.args.tiles)
        return ((SETTING_BAR, 0, most - 1),)

    def question(self) -> int:
        return self.value_of(SETTING_BAR)

    def compute(self, image_bgr: np.ndarray, question: int) -> list[Run]:
        """The run at the own size and at the chosen setting."""
        if self.kept[0] is not image_bgr:
            self.kept = (image_bgr, {})
        settings = choose_settings(self.model, image_bgr.shape[:2], self.args)
        runs = self.kept[1]
        for setting in (settings[0], settings[min(question, len(settings) - 1)]):
            if setting not in runs:
                runs[setting] = run_setting(self.model, image_bgr, setting, repeats=0)
        return [runs[settings[0]], runs[settings[min(question, len(settings) - 1)]]]

    def look(self) -> tuple:
        return self.colour_map, self.shows_detail, self.shows_picture, self.asked

    def press(self, key: str) -> None:
        if key == "d":
            self.shows_detail = not self.shows_detail
        elif key == "v":
            self.shows_picture = not self.shows_picture
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        other = self.result[1]
        part = busiest_part(self.image_bgr) if self.shows_detail else (slice(None), slice(None))
        pictures = paint_alike([each[part] for each in aligned_maps(self.result)], self.colour_map)
        if self.shows_picture:
            pictures[0] = as_8bit(self.image_bgr)[part]
        row = measure(self.result)[1]
        numbers = f"edges {row['edge_width']:.2f} px,  aligned error {row['aligned_error']:.3f},  ranking {row['ranking']:.3f}"
        return pictures, [f"{title(other)},  {numbers},  {other.seconds:.2f} s"]

    def save(self, target: Path) -> None:
        rows = measure(self.result)
        facts = {"picture": self.pictures.file.relative.as_posix(), **self.model.facts(self.image_bgr), "settings": rows}
        paths = [target.with_name(target.name + suffix) for suffix in SUFFIXES]
        write_json(paths[0], "resolution_study", facts)
        write_png(paths[1], maps_sheet(self.image_bgr, self.result, rows, self.colour_map, heading=""))
        write_png(paths[2], detail_sheet(self.image_bgr, self.result, self.colour_map, heading=""))
