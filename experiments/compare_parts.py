"""What compare_models.py computes and draws. `experiments/compare_parts.py` serves it.

Shapes: H0 W0 the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from experiments.agreement import agreement, align_to, as_inverse, span_of
from experiments.inspection import write_png
from experiments.inspection_drawing import figure_picture, heat, new_figure, tile_sheet
from experiments.result_tables import markdown_table, write_csv, write_text
from lib.demo.colour import Look, as_8bit, paint_depth
from lib.demo.model import LoadedModel

NUMBERS = {"aligned_error": "Aligned error", "correlation": "Correlation", "ranking": "Ranking agreement"}
LARGEST_DIFFERENCE = 0.3  # of the range: the last colour of a difference
DIFFERENCE_COLOURS = "turbo"
SMALLEST_SPAN = 0.01  # of the colours of a matrix


def predict_all(models: Mapping[str, LoadedModel], image_bgr: np.ndarray) -> dict[str, np.ndarray]:
    """Each model's map as inverse depth, H0 x W0, by the models' names."""
    return {name: as_inverse(model.predict([image_bgr])[0]) for name, model in models.items()}


def compare_pairs(maps: Mapping[str, np.ndarray]) -> list[dict]:
    """A row for each model against each other one as the reference."""
    pairs = [(model, reference) for model in maps for reference in maps if model != reference]
    return [
        {"model": model, "reference": reference, **asdict(agreement(maps[model], maps[reference]))}
        for model, reference in pairs
    ]


def aligned_maps(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All maps with the scale and shift of the first one."""
    first = next(iter(maps.values()))
    return {name: values if values is first else align_to(values, first) for name, values in maps.items()}


def differences(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """How far each map is from the median of all, after alignment, pixel by pixel, as shares of the median's range."""
    aligned = aligned_maps(maps)
    median = np.median(list(aligned.values()), axis=0)
    span = span_of(median)
    return {name: np.abs(align_to(values, median) - median) / span for name, values in aligned.items()}


def paint_difference(difference: np.ndarray) -> np.ndarray:
    """A difference, shares of the range, in colours."""
    return heat(difference, DIFFERENCE_COLOURS, 0.0, LARGEST_DIFFERENCE)


def compare_sheet(image_bgr: np.ndarray, maps: Mapping[str, np.ndarray], colour_map: str, *, heading: str) -> np.ndarray:
    """The picture and the maps; below them where all differ, and where each differs from the median of all."""
    aligned, apart = aligned_maps(maps), differences(maps)
    first, palette = paint_depth(next(iter(aligned.values())), Look(colour_map=colour_map), nearest_is_largest=True)
    tiles = [as_8bit(image_bgr), first, *(palette.paint(values) for values in list(aligned.values())[1:])]
    together = np.mean(list(apart.values()), axis=0)
    tiles += [paint_difference(each) for each in (together, *apart.values())]
    titles = ["picture", *maps, f"mean difference, red: {100 * LARGEST_DIFFERENCE:.0f}%"]
    titles += [f"from the median: {100 * each.mean():.1f}%" for each in apart.values()]
    return tile_sheet(tiles, titles, heading=heading, tile_width=300, columns=1 + len(maps))


def mean_pairs(rows: Sequence[dict], name: str) -> dict[tuple[str, str], float]:
    """The mean of a number over the pictures, by model and reference."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row["model"], row["reference"]), []).append(row[name])
    return {pair: float(np.mean(each)) for pair, each in values.items()}


def save_means(rows: Sequence[dict], names: Sequence[str], folder: Path) -> None:
    """compare.csv, .md and .png in a folder."""
    write_csv(folder / "compare.csv", rows)
    pictures = len({row["picture"] for row in rows})
    lines = ["# Models compared", "", f"Mean over the pictures ({pictures}); each model (row) against each reference (column)."]
    figure, axes = new_figure(4.2 * len(NUMBERS) + 1.5, 1.8 + 0.5 * len(names), columns=len(NUMBERS))
    for axis, (number, title) in zip(np.ravel(axes), NUMBERS.items(), strict=True):
        means = mean_pairs(rows, number)
        table = [[means.get((name, reference), float("nan")) for reference in names] for name in names]
        cells = [[name, *line] for name, line in zip(names, table, strict=True)]
        lines += ["", f"## {title}", "", *markdown_table(["", *names], cells)]
        draw_matrix(figure, axis, np.array(table), names, title, ends=matrix_ends(number, np.array(table)))
    write_text(folder / "compare.md", lines)
    write_png(folder / "compare.png", figure_picture(figure))


def matrix_ends(number: str, table: np.ndarray) -> tuple[float, float]:
    """The values of the first and the last colour, where errors begin at 0 and agreement ends at 1: equal models look equal."""
    if number == "aligned_error":
        return 0.0, float(np.nanmax(table, initial=SMALLEST_SPAN))
    return float(np.nanmin(table, initial=1 - SMALLEST_SPAN)), 1.0


def draw_matrix(figure, axis, table: np.ndarray, names: Sequence[str], title: str, *, ends: tuple[float, float]) -> None:
    """Fields with their numbers; brighter is more. ends: the values of the first and the last colour."""
    shown = axis.imshow(table, cmap="viridis", vmin=ends[0], vmax=ends[1])
    middle = sum(ends) / 2
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            axis.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color="wk"[int(value > middle)])
    axis.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_title(title, fontsize=9)
    figure.colorbar(shown, ax=axis).ax.tick_params(colors="white", labelsize=8)
