"""Pictures of token norms, channels and components, and plots of norms over blocks.

`experiments/block_norm_sheets.py` draws for experiments/block_norm_visualization.py. Shapes: h w a token grid.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from experiments.block_norms import Components, Outlier, find_outliers, norm_curves, patch_norms
from experiments.inspection_drawing import DOTS_PER_INCH, figure_picture, heat, new_figure, tile_sheet
from experiments.recorder import TokenRecord
from lib.demo.drawing import resize

TILE_SIDE = 440
NUM_CHANNELS = 12
LINE, BAND, MARK, OTHER = "#f0a830", "#7a5a20", "#ff4060", "#60c0ff"
MARK_BGR = (96, 64, 255)  # MARK


def tile_size(image_bgr: np.ndarray) -> tuple[int, int]:
    """Width and height of a tile for this picture."""
    height, width = image_bgr.shape[:2]
    scale = TILE_SIDE / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def circle_outliers(picture: np.ndarray, outliers: Sequence[Outlier], grid_hw: tuple[int, int]) -> None:
    """A ring around each of these patches, in place."""
    height, width = picture.shape[:2]
    rows, columns = grid_hw
    radius = max(round(0.9 * max(height / rows, width / columns)), 4)
    for outlier in outliers:
        centre = (round((outlier.column + 0.5) * width / columns), round((outlier.row + 0.5) * height / rows))
        cv2.circle(picture, centre, radius + 1, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.circle(picture, centre, radius + 1, MARK_BGR, 2, cv2.LINE_AA)


def norm_picture(norms: np.ndarray, size_wh: tuple[int, int], colour_map: str, factor: float) -> np.ndarray:
    """A map of norms with its outliers in rings. The last colour is at most where outliers begin."""
    high = min(float(norms.max()), factor * float(np.median(norms)))
    painted = heat(resize(norms, *size_wh), colour_map, float(norms.min()), high)
    circle_outliers(painted, find_outliers(norms, factor), norms.shape)
    return painted


def norms_sheet(
    names: Sequence[str], records: Sequence[TokenRecord], image_bgr: np.ndarray, colour_map: str, factor: float
) -> np.ndarray:
    """The picture, and the norms behind every block."""
    tiles, titles = [resize(image_bgr, *tile_size(image_bgr))], ["the picture"]
    for name, record in zip(names, records, strict=True):
        norms = patch_norms(record)
        tiles.append(norm_picture(norms, tile_size(image_bgr), colour_map, factor))
        titles.append(f"{name}: {norms.min():.3g} to {norms.max():.3g}")
    return tile_sheet(tiles, titles, heading=f"norms of the tokens; in rings: more than {factor:g} times the median")


def channels_sheet(
    record: TokenRecord, channels: Sequence[int], image_bgr: np.ndarray, colour_map: str, *, heading: str
) -> np.ndarray:
    """Single channels of one block's tokens, each from its smallest to its largest number."""
    tiles, titles = [], []
    for channel in channels:
        values = record.patches()[0, :, :, channel].numpy()
        tiles.append(channel_picture(values, tile_size(image_bgr), colour_map))
        titles.append(f"channel {channel}: {values.min():.3g} to {values.max():.3g}")
    return tile_sheet(tiles, titles, heading=heading)


def channel_picture(values: np.ndarray, size_wh: tuple[int, int], colour_map: str) -> np.ndarray:
    """One channel in colours, from its smallest to its largest number."""
    return heat(resize(values, *size_wh), colour_map, float(values.min()), float(values.max()))


def components_sheet(
    pictures: Sequence[np.ndarray],
    token_grids: Sequence[np.ndarray],
    titles: Sequence[str],
    components: Components,
    heading: str,
) -> np.ndarray:
    """Pictures above their components. Pictures of other shapes than the first are stretched to it."""
    size = tile_size(pictures[0])
    tiles = [
        np.vstack([resize(picture, *size), resize(components.paint(tokens), *size)])
        for picture, tokens in zip(pictures, token_grids, strict=True)
    ]
    return tile_sheet(tiles, titles, heading=heading)


def components_title(components: Components, name: str, pictures: int) -> str:
    """What the colours are."""
    shares = ", ".join(
        f"{colour} {100 * share:.0f}%" for colour, share in zip(("red", "green", "blue"), components.explained, strict=True)
    )
    together = f" of {pictures} pictures together" if pictures > 1 else ""
    return f"{name}: principal components{together}; {shares} of the variance"


def histogram_plot(name: str, record: TokenRecord, factor: float, *, size_wh: tuple[int, int]) -> np.ndarray:
    """The norms of one block; the line is where outliers begin, if there are. size_wh: of the plot, in pixels."""
    figure, axis = new_figure(size_wh[0] / DOTS_PER_INCH, size_wh[1] / DOTS_PER_INCH)
    norms = patch_norms(record)
    axis.hist(norms.ravel(), bins=40, color=LINE, log=True)
    if find_outliers(norms, factor):
        axis.axvline(factor * float(np.median(norms)), color=MARK, linewidth=1)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel("norm of a token")
    axis.set_ylabel("patches")
    return figure_picture(figure)


def histograms_plot(names: Sequence[str], records: Sequence[TokenRecord], factor: float) -> np.ndarray:
    """The norms of every block, one histogram above the other; dots are outliers. Heights are roots, so that few are seen."""
    all_norms = [patch_norms(record).ravel() for record in records]
    low, high = min(norms.min() for norms in all_norms), max(norms.max() for norms in all_norms)
    edges = np.geomspace(max(low, 1e-6) * 0.98, max(high, 2e-6) * 1.02, 80)
    figure, axis = new_figure(9, 1 + 0.35 * len(records))
    for number, (norms, record) in enumerate(zip(all_norms, records, strict=True)):
        counts, _ = np.histogram(norms, edges)
        heights = 1.4 * np.sqrt(counts / max(counts.max(), 1))
        axis.fill_between(edges[:-1], -number, heights - number, step="post", color=LINE, edgecolor="black", zorder=number)
        outliers = [outlier.norm for outlier in find_outliers(patch_norms(record), factor)]
        axis.scatter(outliers, [0.12 - number] * len(outliers), s=9, color=MARK, zorder=number + 1)
    axis.set_xscale("log")
    plain_numbers(axis.xaxis)
    axis.set_yticks([-number for number in range(len(names))], names)
    axis.set_xlabel(f"norm of a token; red: more than {factor:g} times the median")
    return figure_picture(figure)


def curves_plot(
    names: Sequence[str], records: Sequence[TokenRecord], factor: float, *, size_wh: tuple[int, int] = (900, 480)
) -> np.ndarray:
    """Norms over blocks: median, the middle 90%, the largest, the class token's; and how many outliers there are."""
    curves = norm_curves(records, factor)
    figure, axes = new_figure(size_wh[0] / DOTS_PER_INCH, size_wh[1] / DOTS_PER_INCH, rows=2, columns=1)
    above, below = np.ravel(axes)
    numbers = range(len(records))
    above.fill_between(numbers, curves["low"], curves["high"], color=BAND, label="5% to 95% of the patches")
    above.plot(numbers, curves["median"], color=LINE, label="median")
    above.plot(numbers, curves["max"], color=MARK, marker=".", label="largest")
    if curves["class_token"][0] is not None:
        above.plot(numbers, curves["class_token"], color=OTHER, linestyle="--", label="class token")
    above.set_yscale("log")
    plain_numbers(above.yaxis)
    above.set_ylabel("norm of a token")
    above.legend(fontsize=8, labelcolor="white", facecolor="#303030", edgecolor="none")
    below.bar(numbers, curves["outliers"], color=MARK)
    below.set_ylabel(f"more than {factor:g} x median")
    below.set_xlabel("block")
    below.set_ylim(0, max(1, *curves["outliers"]) * 1.05)
    below.yaxis.get_major_locator().set_params(integer=True)
    for axis in (above, below):
        axis.set_xlim(-0.6, len(records) - 0.4)
    stages = [name.split(" block")[0] for name in names]
    for number in numbers[1:]:
        if stages[number].startswith("stage") and stages[number] != stages[number - 1]:
            above.axvline(number - 0.5, color="#808080", linewidth=0.7)  # another stage has other features
    return figure_picture(figure)


def plain_numbers(axis) -> None:
    """Labels such as 20 and 30 on a logarithmic axis, instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
