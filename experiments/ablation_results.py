"""How far maps move without a part of the model, as rows, tables and plots.

`experiments/ablation_results.py` serves stage_ablation.py. Shapes: H W of a map.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.ablation import Part, ablate
from experiments.agreement import align_to, correlation, span_of
from experiments.inspection import write_png
from experiments.inspection_drawing import figure_picture, heat, new_figure, tile_sheet
from experiments.result_tables import markdown_table, write_csv, write_text
from lib.demo.colour import Look, as_8bit, paint_depth
from lib.demo.model import LoadedModel
from lib.predict import DepthMap

DIFFERENCE_COLOURS, LARGEST_DIFFERENCE = "turbo", 0.1  # of the range: the last colour
SHOWN = 3  # maps that moved most, per kind of part, and then in the tables' heads
NUMBERS = ("aligned_error", "correlation", "raw_error")
IMPORTANCE = "aligned_error"  # what parts are ranked by, and what is plotted


def predict_without(model: LoadedModel, image_bgr: np.ndarray, part: Part, mode: str) -> DepthMap:
    """The picture's depth by the model without a part."""
    return replace(model, dpt_model=ablate(model.dpt_model, part, mode)).predict([image_bgr])[0]


def movement(changed: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """How far a map, H x W, moved from the model's own: NUMBERS. A map that is no numbers any more has moved all the way."""
    changed = np.where(np.isfinite(changed), changed, 0).astype(np.float64)
    own = own.astype(np.float64)
    span = span_of(own)
    return {
        "aligned_error": float(np.abs(align_to(changed, own) - own).mean()) / span,
        "correlation": correlation(changed, own),
        "raw_error": float(np.abs(changed - own).mean()) / span,
    }


def measure_parts(
    model: LoadedModel, image_bgr: np.ndarray, parts: Sequence[Part], modes: Sequence[str]
) -> tuple[DepthMap, list[dict], list[tuple[str, DepthMap]]]:
    """The model's own map, a row of NUMBERS for each part and mode, and the maps that moved most with their titles."""
    own = model.predict([image_bgr])[0]
    rows: list[dict] = []
    strongest: list[tuple[float, str, DepthMap]] = []
    for part in parts:
        for mode in modes:
            changed = predict_without(model, image_bgr, part, mode)
            row = movement(changed.depth, own.depth)
            rows.append({"block": part.block, "head": part.head, "mode": mode, **row})
            strongest.append((row[IMPORTANCE], f"{mode} {part.name}: {100 * row[IMPORTANCE]:.2g}%", changed))
            strongest = sorted(strongest, key=lambda each: -each[0])[:SHOWN]
    return own, rows, [(title, depth_map) for _, title, depth_map in strongest]


def paint_difference(changed: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Where a map, H x W, moved from the model's own after alignment, as a share of its range, in colours."""
    difference = np.abs(align_to(changed, own) - own) / span_of(own)
    return heat(difference, DIFFERENCE_COLOURS, 0.0, LARGEST_DIFFERENCE)


def ablation_sheet(
    image_bgr: np.ndarray, own: DepthMap, moved: Sequence[tuple[str, DepthMap]], colour_map: str, *, heading: str
) -> np.ndarray:
    """The picture, the model's own map and those that moved most with their aligned error; beside each, where it moved."""
    tiles, titles = [as_8bit(image_bgr)], ["picture"]
    for title, depth_map in [("the model as it is", own), *moved]:
        depth = np.where(np.isfinite(depth_map.depth), depth_map.depth, 0)
        tiles.append(paint_depth(depth, Look(colour_map=colour_map), nearest_is_largest=own.nearest_is_largest)[0])
        titles.append(title)
        if depth_map is not own:
            tiles.append(paint_difference(depth, own.depth))
            titles.append(f"difference, red: {100 * LARGEST_DIFFERENCE:.0f}%")
    return tile_sheet(tiles, titles, heading=heading, tile_width=300, columns=4)


def mean_rows(rows: Sequence[dict]) -> list[dict]:
    """The means over the pictures, parts in their order."""
    grouped: dict[tuple, list[dict]] = {}
    for row in rows:
        grouped.setdefault((row["block"], row["head"], row["mode"]), []).append(row)
    return [
        {"block": block, "head": head, "mode": mode, **{name: mean_of(part, name) for name in NUMBERS}, "pictures": len(part)}
        for (block, head, mode), part in grouped.items()
    ]


def mean_of(rows: Sequence[dict], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def save_means(rows: Sequence[dict], kind: str, folder: Path, model_name: str) -> None:
    """ablation_KIND.csv, .md (the most important first) and .png in a folder."""
    means = mean_rows(rows)
    write_csv(folder / f"ablation_{kind}.csv", means)
    header = ["part", "mode", "aligned error", "correlation", "raw error"]
    ranked = sorted(means, key=lambda row: -row[IMPORTANCE])
    cells = [
        [row["block"] if row["head"] is None else f"{row['block']} head {row['head']}", row["mode"],
         row["aligned_error"], row["correlation"], row["raw_error"]]
        for row in ranked
    ]  # fmt: skip
    lines = [f"# Importance of the {kind}: {model_name}", "", f"Mean over the pictures ({means[0]['pictures']}).", ""]
    write_text(folder / f"ablation_{kind}.md", lines + markdown_table(header, cells))
    plot = plot_blocks if kind == "blocks" else plot_heads
    write_png(folder / f"ablation_{kind}.png", plot(means))


def plot_blocks(means: Sequence[dict]) -> np.ndarray:
    """Bars: how far the map moves without each block, and with each one shuffled, as a picture."""
    blocks = list(dict.fromkeys(row["block"] for row in means))
    modes = list(dict.fromkeys(row["mode"] for row in means))
    figure, axis = new_figure(max(0.45 * len(blocks) + 1.5, 5), 3.6)
    for number, mode in enumerate(modes):
        heights = [next(row[IMPORTANCE] for row in means if (row["block"], row["mode"]) == (block, mode)) for block in blocks]
        places = np.arange(len(blocks)) + (number + 0.5) / len(modes) * 0.8 - 0.4
        axis.bar(places, heights, width=0.8 / len(modes), label=mode)
    axis.set_xticks(range(len(blocks)), blocks, rotation=60, ha="right")
    axis.set_ylabel("aligned error")
    axis.legend(fontsize=8, facecolor="none", labelcolor="white")
    return figure_picture(figure)


def plot_heads(means: Sequence[dict]) -> np.ndarray:
    """A field for each block and head, brighter where it matters more, one plot per mode, as a picture."""
    blocks = list(dict.fromkeys(row["block"] for row in means))
    modes = list(dict.fromkeys(row["mode"] for row in means))
    num_heads = 1 + max(row["head"] for row in means)
    figure, axes = new_figure((0.3 * num_heads + 2.2) * len(modes), 0.22 * len(blocks) + 1.4, columns=len(modes))
    largest = max(row[IMPORTANCE] for row in means)
    for axis, mode in zip(np.ravel(axes), modes, strict=True):
        field = np.full((len(blocks), num_heads), np.nan)  # pyramids have more heads in their later stages
        for row in means:
            if row["mode"] == mode:
                field[blocks.index(row["block"]), row["head"]] = row[IMPORTANCE]
        shown = axis.imshow(field, vmin=0, vmax=max(largest, 1e-9), cmap="inferno", aspect="auto")
        axis.set_title(mode, fontsize=9)
        axis.set_xlabel("head")
        axis.set_yticks(range(len(blocks)), blocks)
        bar = figure.colorbar(shown, ax=axis)
        bar.ax.tick_params(colors="white", labelsize=8)
    return figure_picture(figure)
