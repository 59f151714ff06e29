"""The window of experiments/block_norm_visualization.py: the picture beside norms, plots, a channel or components.

`experiments/block_norm_window.py` is imported where a window is opened.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import block_norm_sheets as sheets
from experiments.attention_maps import patch_at
from experiments.block_norm_visualization import SUFFIXES, save_components
from experiments.block_norms import (
    Components,
    busiest_channels,
    compact,
    find_outliers,
    fit_components,
    patch_norms,
    record_tokens,
)
from experiments.inspection import WINDOW_FOLDER, free_target, names_of_blocks, network_input, seen_picture
from experiments.inspection_drawing import fit_inside, mark_patch
from experiments.inspection_window import InspectionWindow
from experiments.recorder import TokenRecord
from lib.demo.colour import step_colour_map
from lib.demo.drawing import resize
from lib.demo.model import LoadedModel
from lib.demo.pictures import PictureFile, read_picture
from lib.errors import PictureError

BLOCK_BAR, CHANNEL_BAR = "Block", "Channel (0: busiest)"
VIEWS = ("norms", "all blocks", "histogram", "curves", "channel", "components")


@dataclass(frozen=True)
class Report:
    """What is computed for a picture: the tokens of every block, and the joint components of one (or None)."""

    records: list[TokenRecord]
    components: Components | None
    components_block: int | None
    num_pictures: int


class BlockNormWindow(InspectionWindow):
    """`v` goes through VIEWS. save: writes the files of a picture."""

    title = "Block norms"
    suffixes = SUFFIXES
    keys = (
        ("v / b", "next / previous view"),
        ("c / x", "next / previous colour map"),
    )

    def __init__(
        self, files: Sequence[PictureFile], model: LoadedModel, args: argparse.Namespace, block: int, *, save: Callable
    ):
        super().__init__(files, model, display_size=args.display_size)
        self.args, self.block, self.save_files = args, block, save
        self.names = names_of_blocks(model.dpt_model)
        self.shown, self.colour_map = VIEWS[0], args.colormap
        self.tokens: dict[tuple[Path, int], np.ndarray] = {}  # by picture and block, of the pictures for the components

    def bars(self) -> Sequence[tuple[str, int, int]]:
        widest = max(parameter.shape[-1] for parameter in self.model.dpt_model.imgencoder.parameters() if parameter.dim() == 1)
        first = self.args.channels[0] + 1 if self.args.channels else 0
        return (BLOCK_BAR, self.block, len(self.names) - 1), (CHANNEL_BAR, first, widest)

    def chosen_block(self) -> int:
        return min(self.value_of(BLOCK_BAR), len(self.names) - 1)

    def question(self) -> int | None:
        """The block whose components are asked for, or None."""
        return self.chosen_block() if self.shown == "components" else None

    def compute(self, image_bgr: np.ndarray, question: int | None) -> Report:
        records = record_tokens(self.model.dpt_model, network_input(self.model, image_bgr))
        if question is None:
            return Report(records, None, None, 0)
        token_sets = [records[question].patches()[0].flatten(0, 1).numpy()]
        for file in self.pictures.files[: self.args.joint_pictures]:
            tokens = self.tokens_of(file, question)
            if tokens is not None:
                token_sets.append(tokens)
        # The picture itself counts once more if it is among those: so it always counts.
        components = fit_components(token_sets, self.args.outlier)
        return Report(records, components, question, len(token_sets) - 1)

    def tokens_of(self, file: PictureFile, block: int) -> np.ndarray | None:
        """A picture's tokens behind a block, N x C, remembered; None for a picture that cannot be read."""
        key = (file.path, block)
        if key not in self.tokens:
            try:
                tensor = network_input(self.model, read_picture(file.path))
            except PictureError:
                return None
            record = record_tokens(self.model.dpt_model, tensor)[block]
            self.tokens[key] = compact(record.patches()[0].flatten(0, 1).numpy())
        return self.tokens[key]

    def look(self) -> tuple:
        return self.place, self.chosen_block(), self.value_of(CHANNEL_BAR), self.shown, self.colour_map

    def panels_with_pointer(self) -> int:
        return 2 if self.shown in ("norms", "channel", "components") else 1

    def press(self, key: str) -> None:
        if key in "vb":
            self.shown = VIEWS[(VIEWS.index(self.shown) + (1 if key == "v" else -1)) % len(VIEWS)]
        elif key in "cx":
            self.colour_map = step_colour_map(self.colour_map, key)

    def view(self) -> tuple[list[np.ndarray], list[str]]:
        report, block = self.result, self.chosen_block()
        record = report.records[block]
        norms = patch_norms(record)
        picture = fit_inside(seen_picture(self.model, self.image_bgr), self.available_wh[0] // 2)
        painted, label = self.right_panel(picture, block)
        outliers = find_outliers(norms, self.args.outlier)
        sheets.circle_outliers(picture, outliers, norms.shape)
        row, column = patch_at(self.place, norms.shape)
        mark_patch(picture, (row, column), norms.shape)
        times = norms[row, column] / max(float(np.median(norms)), 1e-12)
        text = f"{self.names[block]}, {len(outliers)} outliers, patch {row}, {column}: norm {norms[row, column]:.4g}"
        return [picture, painted], [f"{text} ({times:.2f} times the median); {label}"]

    def right_panel(self, picture: np.ndarray, block: int) -> tuple[np.ndarray, str]:
        """What the view asks for, in the shape of the picture, and its name."""
        report, factor = self.result, self.args.outlier
        record, size = report.records[block], (picture.shape[1], picture.shape[0])
        if self.shown == "all blocks":
            sheet = sheets.norms_sheet(self.names, report.records, picture, self.colour_map, factor)
            return self.letterbox(sheet, size), "norms behind every block"
        if self.shown == "histogram":
            return sheets.histogram_plot(self.names[block], record, factor, size_wh=size), "histogram of norms"
        if self.shown == "curves":
            return sheets.curves_plot(self.names, report.records, factor, size_wh=size), "norms over the blocks"
        if self.shown == "channel":
            number = self.value_of(CHANNEL_BAR) - 1
            width = record.features.shape[-1]
            channel = busiest_channels(record, 1)[0] if number < 0 else min(number, width - 1)
            values = record.patches()[0, :, :, channel].numpy()
            row, column = patch_at(self.place, values.shape)
            label = f"channel {channel}: {values[row, column]:.3g} of {values.min():.3g} to {values.max():.3g}"
            return sheets.channel_picture(values, size, self.colour_map), label
        if self.shown == "components" and report.components_block == block:
            painted = report.components.paint(record.patches()[0].numpy())
            return resize(painted, *size), f"components of {report.num_pictures} pictures"
        return sheets.norm_picture(patch_norms(record), size, self.colour_map, factor), self.shown

    @staticmethod
    def letterbox(sheet: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
        """A sheet as large as fits into the shape of the picture."""
        width, height = size_wh
        canvas = np.full((height, width, 3), sheet[0, 0], np.uint8)
        scale = min(width / sheet.shape[1], height / sheet.shape[0])
        small = resize(sheet, max(int(sheet.shape[1] * scale), 1), max(int(sheet.shape[0] * scale), 1))
        canvas[: small.shape[0], : small.shape[1]] = small
        return canvas

    def save(self, target: Path) -> None:
        records, block = self.result.records, self.chosen_block()
        facts = {"picture": self.pictures.file.relative.as_posix(), **self.model.facts(self.image_bgr)}
        picture = seen_picture(self.model, self.image_bgr)
        self.save_files(records, self.names, block, picture, target, args=self.args, facts=facts)
        seen = {target: (picture, records[block].patches()[0].numpy())}
        save_components(seen, self.names[block], free_target(WINDOW_FOLDER / "joint", ()), self.args.outlier)
