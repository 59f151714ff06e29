"""Numbers, tables and plots of resolution_study.py.

`experiments/resolution_results.py` serves it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from experiments.agreement import agreement, as_inverse, edge_width
from experiments.inspection import write_png
from experiments.inspection_drawing import figure_picture, new_figure
from experiments.resolution_parts import Run
from experiments.result_tables import markdown_table, write_csv, write_text

NUMBERS = ("edge_width", "aligned_error", "correlation", "ranking", "seconds")


def measure(runs: Sequence[Run]) -> list[dict]:
    """A row for each setting. Agreement is with the first one, the release's own size; between: the error to each of the
    settings, by their names."""
    maps = [as_inverse(run.depth_map) for run in runs]
    rows = []
    for run, values in zip(runs, maps, strict=True):
        between = {
            other.setting.name: agreement(values, theirs).aligned_error for other, theirs in zip(runs, maps, strict=True)
        }
        rows.append(
            {
                "setting": run.setting.name,
                "network_height": run.network_hw[0],
                "network_width": run.network_hw[1],
                "edge_width": edge_width(values),
                **asdict(agreement(values, maps[0])),
                "seconds": run.seconds,
                "between": between,
            }
        )
    return rows


def best_setting(rows: Sequence[dict], tolerance: float) -> str:
    """The name of the sharpest setting whose aligned error is within the tolerance; the own size always is."""
    within = [row for row in rows if row["aligned_error"] <= tolerance] or rows[:1]
    return min(within, key=lambda row: row["edge_width"])["setting"]


def mean_rows(rows: Sequence[dict]) -> list[dict]:
    """The means over the pictures, settings in their order."""
    names = list(dict.fromkeys(row["setting"] for row in rows))
    means = []
    for name in names:
        own = [row for row in rows if row["setting"] == name]
        others = {other: [row["between"][other] for row in own if other in row["between"]] for other in names}
        means.append(
            {
                "setting": name,
                **{number: float(np.mean([row[number] for row in own])) for number in NUMBERS},
                "pictures": len(own),
                "between": {other: float(np.mean(errors)) for other, errors in others.items() if errors},
            }
        )
    return means


def save_means(rows: Sequence[dict], tolerance: float, folder: Path, model_name: str) -> str:
    """resolution.csv (each picture), .md and .png (means) in a folder; returns the best setting."""
    means = mean_rows(rows)
    best = best_setting(means, tolerance)
    write_csv(folder / "resolution.csv", [{key: value for key, value in row.items() if key != "between"} for row in rows])
    header = ["setting", "edge width, pixels", "aligned error", "correlation", "ranking", "seconds", "pictures"]
    cells = [[row["setting"], *(row[number] for number in NUMBERS), row["pictures"]] for row in means]
    names = [row["setting"] for row in means]
    between = [[row["setting"], *(row["between"].get(name, float("nan")) for name in names)] for row in means]
    lines = [
        f"# Input sizes: {model_name}", "",
        f"Best for detail against consistency: **{best}**, the sharpest with an aligned error of at most {tolerance:g}.", "",
        *markdown_table(header, cells), "",
        "Aligned error of each setting (row) against each other (column):", "",
        *markdown_table(["", *names], between),
    ]  # fmt: skip
    write_text(folder / "resolution.md", lines)
    write_png(folder / "resolution.png", plot(means, best, tolerance))
    return best


def plot(means: Sequence[dict], best: str, tolerance: float) -> np.ndarray:
    """Detail against consistency, and the agreement of every two settings, as a picture."""
    names = [row["setting"] for row in means]
    figure, axes = new_figure(12, 4.6, columns=2)
    left, right = axes.ravel()
    for row in means:
        is_best = row["setting"] == best
        left.scatter(row["aligned_error"], row["edge_width"], s=90 if is_best else 30, marker="*" if is_best else "o")
        left.annotate(
            row["setting"], (row["aligned_error"], row["edge_width"]), xytext=(5, 4), textcoords="offset points",
            color="white", fontsize=8,
        )  # fmt: skip
    left.axvline(tolerance, color="white", linestyle=":", linewidth=1)
    left.set_xlabel("aligned error against the own size")
    left.set_ylabel("edge width, pixels (less is sharper)")
    left.margins(x=0.15, y=0.1)
    left.set_title("detail against consistency", fontsize=9)
    errors = np.array([[row["between"].get(name, np.nan) for name in names] for row in means])
    shown = right.imshow(errors, vmin=0, cmap="inferno")
    right.set_xticks(range(len(names)), names, rotation=60, ha="right")
    right.set_yticks(range(len(names)), names)
    right.set_title("aligned error between settings", fontsize=9)
    figure.colorbar(shown, ax=right).ax.tick_params(colors="white", labelsize=8)
    return figure_picture(figure)
