"""The window of experiments/stage_ablation.py: the model's own map beside that without a block or a head.

`experiments/ablation_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.ablation import MODES, Part, find_parts
from experiments.ablation_results import ablation_sheet, movement, paint_difference, predict_without
from experiments.inspection import write_json, write_png
from experiments.inspection_window import InspectionWindow
from experiments.stage_ablation import SUFFIXES
from lib.demo.colour import Look, as_8bit, paint_depth, step_colour_map
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile
from lib.predict import DepthMap

BLOCK_BAR, HEAD_BAR = "Block", "Head (0: whole block)"


class AblationWindow(InspectionWindow):
    """Sliders choose what is taken away; the numbers below say how far the map moved."""

    title = "Stage ablation"
    suffixes = SUFFIXES
    keys = (
        ("m", "drop / shuffle"),
        ("d", "difference / map"),
        ("v", "the model's own map / the picture"),
        ("c / x", "next / previous colour map"),
    )

    def __init__(self, files: Sequence[PictureFile], model: LoadedModel, args: argparse.Namespace):
        super().__init__(files, model, display_size=args.display_size)
        self.blocks = find_parts(model.dpt_model)
        self.heads: dict[str, list[Part]] = {part.block: [] for part in self.blocks}
        for part in find_parts(model.dpt_model, heads=True):
            self.heads[part.block].append(part)
        self.mode, self.colour_map = MODES[0], args.colormap
        self.shows_picture = self.shows_difference = False
        self.own: tuple[np.ndarray, DepthMap] | None = None  # the picture and the model's own map of it

    def bars(self) -> Sequence[tuple[str, int, int]]:
        return (BLOCK_BAR, 0, len(self.blocks) - 1), (HEAD_BAR, 0, max(map(len, self.heads.values())))

    def question(self) -> tuple[Part, str]:
        block = self.blocks[min(self.value_of(BLOCK_BAR), len(self.blocks) - 1)]
        heads = self.heads[block.block]
        head = min(self.value_of(HEAD_BAR), len(heads))
        return (heads[head - 1] if head else block), self.mode

    def compute(self, image_bgr: np.ndarray, question: tuple[Part, str]) -> tuple[Part, str, DepthMap, DepthMap]:
        if self.own is None or self.own[0] is not image_bgr:
            self.own = (image_bgr, self.model.predict([image_bgr])[0])
        return *question, self.own[1], predict_without(self.model, image_bgr, *question)

    def look(self) -> tuple:
        return self.colour_map, self.shows_picture, self.shows_difference, self.asked

    def press(self, key: str) -> None:
        if key == "m":
            self.mode = MODES[1 - MODES.index(self.mode)]
        elif key == "d":
            self.shows_difference = not self.shows_difference
        elif key == "v":
            self.shows_picture = not self.shows_picture
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        part, mode, own, changed = self.result
        paint = {"look": Look(colour_map=self.colour_map), "nearest_is_largest": own.nearest_is_largest}
        left = as_8bit(self.image_bgr) if self.shows_picture else paint_depth(own.depth, **paint)[0]
        depth = np.where(np.isfinite(changed.depth), changed.depth, 0)
        right = paint_difference(depth, own.depth) if self.shows_difference else paint_depth(depth, **paint)[0]
        numbers = movement(changed.depth, own.depth)
        text = ",  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in numbers.items())
        return [left, right], [f"{mode} {part.name}:  {text}"]

    def save(self, target: Path) -> None:
        part, mode, own, changed = self.result
        row = {"block": part.block, "head": part.head, "mode": mode, **movement(changed.depth, own.depth)}
        facts = {"picture": self.pictures.file.relative.as_posix(), **self.model.facts(self.image_bgr)}
        write_json(target.with_name(target.name + SUFFIXES[0]), "stage_ablation", facts | {"blocks": [row]})
        sheet = ablation_sheet(self.image_bgr, own, [(f"{mode} {part.name}", changed)], self.colour_map, heading="")
        write_png(target.with_name(target.name + SUFFIXES[1]), sheet)
