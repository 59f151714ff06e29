"""The window of experiments/attention_visualization.py: the picture with the patch that asks, beside a map of its attention.

`experiments/attention_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.attention_maps import (
    CLASS_TOKEN,
    COMBINATIONS,
    DIRECTIONS,
    Attention,
    head_maps,
    patch_at,
    record_attention,
)
from experiments.attention_sheets import asking_grid, ends_of, map_picture, mosaic, range_text
from experiments.attention_visualization import SUFFIXES, TITLES, has_class_token
from experiments.inspection import names_of_blocks, network_input, seen_picture
from experiments.inspection_drawing import fit_inside, mark_patch
from experiments.inspection_window import InspectionWindow
from lib.demo.colour import step_colour_map
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile

BLOCK_BAR, HEAD_BAR = "Block", "Head (0: all)"


class AttentionWindow(InspectionWindow):
    """The pointer chooses the patch. `save`: writes what is seen, with all there is about it."""

    title = "Attention"
    suffixes = SUFFIXES
    keys = (
        ("d", "rows / columns"),
        ("m", "mean / maximum / rollout"),
        ("t", "all heads as tiles"),
        ("k", "class token asks / patch asks"),
        ("g", "smooth / patches"),
        ("f", "freeze the patch"),
        ("c / x", "next / previous colour map"),
    )

    def __init__(
        self, files: Sequence[PictureFile], model: LoadedModel, args: argparse.Namespace, block: int, *, save: Callable
    ):
        super().__init__(files, model, display_size=args.display_size)
        self.block, self.save_files = block, save
        self.names = names_of_blocks(model.dpt_model)
        self.can_ask_class = has_class_token(model.dpt_model)
        self.direction, self.how, self.colour_map = DIRECTIONS[0], COMBINATIONS[0], args.colormap
        self.tiles = self.smooth = False
        self.class_asks, self.frozen = args.class_token, None
        self.most_heads = max(
            getattr(module, "heads", 1) for module in model.dpt_model.imgencoder.modules() if hasattr(module, "heads")
        )

    def bars(self) -> Sequence[tuple[str, int, int]]:
        return (BLOCK_BAR, self.block, len(self.names) - 1), (HEAD_BAR, 0, self.most_heads)

    def question(self) -> tuple[int, bool]:
        """The block, and whether those before it are needed."""
        return min(self.value_of(BLOCK_BAR), len(self.names) - 1), self.how == "rollout"

    def compute(self, image_bgr: np.ndarray, question: tuple[int, bool]) -> Attention:
        block, with_means = question
        tensor = network_input(self.model, image_bgr)
        return record_attention(self.model.dpt_model, tensor, block, with_means=with_means)

    def look(self) -> tuple:
        head = self.value_of(HEAD_BAR)
        return self.asking(), head, self.direction, self.how, self.tiles, self.smooth, self.colour_map, self.asked

    def asking(self) -> tuple[float, float] | str:
        """Who asks."""
        return CLASS_TOKEN if self.class_asks else self.frozen or self.place

    def panels_with_pointer(self) -> int:
        return 1 if self.tiles else 2

    def press(self, key: str) -> None:
        if key == "d":
            self.direction = DIRECTIONS[1 - DIRECTIONS.index(self.direction)]
        elif key == "m":
            self.how = COMBINATIONS[(COMBINATIONS.index(self.how) + 1) % len(COMBINATIONS)]
        elif key == "t":
            self.tiles = not self.tiles
        elif key == "k":
            self.class_asks = self.can_ask_class and not self.class_asks
            self.message = "" if self.can_ask_class else "this encoder has no class token"
        elif key == "g":
            self.smooth = not self.smooth
        elif key == "f":
            self.frozen = None if self.frozen else self.place
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        attention, place = self.result, self.asking()
        picture = fit_inside(seen_picture(self.model, self.image_bgr), self.available_wh[0] // 2)
        head = min(self.value_of(HEAD_BAR), attention.record.heads)
        how = head - 1 if head else self.how
        if how == "rollout" and not attention.means:  # they are on their way
            how = "mean"
        grid_hw = asking_grid(attention, self.direction, how)
        if self.tiles:
            maps = head_maps(attention.record, place, direction=self.direction)[0].numpy()
            painted, label = mosaic(picture, maps, self.colour_map), f"all {attention.record.heads} heads"
        else:
            values = attention.maps(place, self.direction, how)
            painted = map_picture(picture, values, place, grid_hw, self.colour_map, how=how, smooth=self.smooth)
            what = f"head {how}" if isinstance(how, int) else how
            label = f"{what}, {range_text(ends_of(values, how=how))}"
        if place == CLASS_TOKEN:
            who = "class token"
        else:
            picture = picture.copy()
            patch = patch_at(place, grid_hw)
            mark_patch(picture, patch, grid_hw)
            who = f"patch {patch[0]}, {patch[1]} of {grid_hw[0]} x {grid_hw[1]}" + (" (frozen)" if self.frozen else "")
        return [picture, painted], [f"{attention.names[attention.block]}, {who}, {TITLES[self.direction]}, {label}"]

    def save(self, target: Path) -> None:
        block = self.result.block
        attention = self.compute(self.image_bgr, (block, True))  # the files have the rollout
        facts = {"picture": self.pictures.file.relative.as_posix(), **self.model.facts(self.image_bgr)}
        picture = seen_picture(self.model, self.image_bgr)
        self.save_files(attention, picture, self.asking(), target, facts=facts, colour_map=self.colour_map)
