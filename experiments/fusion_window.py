"""The window of experiments/fusion_scaling.py: the picture beside its depth, and a slider for each fusion stage.

`experiments/fusion_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from experiments.fusion_parts import Encoded, decode, encode, restore, stage_name
from experiments.fusion_scaling import SUFFIXES, save_setting
from experiments.inspection import network_input, write_json
from experiments.inspection_window import InspectionWindow
from lib.demo.colour import Look, as_8bit, paint_depth, step_colour_map
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile

LARGEST = 2.0  # scales go from minus this to this
STEPS = 20  # of a slider, for each whole number: OpenCV's sliders know whole numbers from zero only


class FusionWindow(InspectionWindow):
    """A moved slider costs the fusion and the head; the encoder's work is kept for the picture that is shown."""

    title = "Fusion scaling"
    suffixes = SUFFIXES
    keys = (("0", "all scales back to 1"), ("c / x", "next / previous colour map"), ("r", "colours of the whole map / own"))

    def __init__(self, files: Sequence[PictureFile], model: LoadedModel, args: argparse.Namespace):
        super().__init__(files, model, display_size=args.display_size)
        self.args, self.num_stages = args, len(model.dpt_model.fusion.blocks)
        self.labels = [f"Stage {stage + 1}" for stage in range(self.num_stages)]
        self.colour_map, self.keeps_colours = args.colormap, False
        self.kept: tuple[np.ndarray, Encoded, np.ndarray] | None = None  # picture, its encoding, its unscaled map

    def bars(self) -> Sequence[tuple[str, int, int]]:
        first = self.args.only or [1.0] * self.num_stages
        places = [round((min(max(scale, -LARGEST), LARGEST) + LARGEST) * STEPS) for scale in first]
        return [(label, place, round(2 * LARGEST * STEPS)) for label, place in zip(self.labels, places, strict=True)]

    def question(self) -> tuple[float, ...]:
        """The scales."""
        return tuple(self.value_of(label) / STEPS - LARGEST for label in self.labels)

    def compute(self, image_bgr: np.ndarray, question: tuple[float, ...]) -> tuple[tuple[float, ...], np.ndarray]:
        if self.kept is None or self.kept[0] is not image_bgr:
            encoded = encode(self.model, network_input(self.model, image_bgr), image_bgr.shape[:2])
            self.kept = (image_bgr, encoded, restore(self.model, encoded, decode(self.model, encoded)))
        encoded = self.kept[1]
        return question, restore(self.model, encoded, decode(self.model, encoded, question))

    def look(self) -> tuple:
        return self.colour_map, self.keeps_colours, self.asked

    def press(self, key: str) -> None:
        if key == "0":
            for label in self.labels:
                cv2.setTrackbarPos(label, self.title, round((1 + LARGEST) * STEPS))
        elif key == "r":
            self.keeps_colours = not self.keeps_colours
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        scales, depth = self.result
        _, encoded, whole = self.kept
        painted, palette = paint_depth(
            whole if self.keeps_colours else depth,
            Look(colour_map=self.colour_map),
            nearest_is_largest=encoded.nearest_is_largest,
        )
        if self.keeps_colours:
            painted = palette.paint(depth)
        named = ",  ".join(f"{stage_name(stage, self.num_stages)}: {scale:g}" for stage, scale in enumerate(scales))
        return [as_8bit(self.image_bgr), painted], [f"{named},  values {depth.min():.3g} to {depth.max():.3g}"]

    def save(self, target: Path) -> None:
        scales, _ = self.result
        facts = {"picture": self.pictures.file.relative.as_posix(), **self.model.facts(self.image_bgr)}
        suffixed = {suffix: target.with_name(target.name + suffix) for suffix in SUFFIXES}
        write_json(suffixed["_fusion.json"], "fusion_scaling", facts | {"scales": list(scales)})
        save_setting(self.model, self.kept[1], list(scales), self.colour_map, suffixed)
