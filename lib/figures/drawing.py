"""What the figures are drawn with: SVG from plain text, plots and pictures of tensors by matplotlib, one style.

Shapes: C channels, h w a map, N = h * w its pixels.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.errors import UserError

LARGEST_BYTES = 150_000
DOTS_PER_INCH = 100
FONT = "font-family='Helvetica, Arial, sans-serif'"
DARK, FILL, INK = "#31577f", "#dbe7f5", "#222"


class Svg:
    """A picture in the making, as SVG text. Lengths in pixels, x to the right, y down."""

    def __init__(self, width: float, height: float):
        size = f"viewBox='0 0 {width:g} {height:g}' width='{width:g}' height='{height:g}'"
        self.parts = [f"<svg xmlns='http://www.w3.org/2000/svg' {size}>"]
        self.parts.append(f"<rect width='{width:g}' height='{height:g}' fill='white'/>")

    def box(
        self, x: float, y: float, width: float, height: float, *, fill: str = FILL, bold: bool = False, round: float = 0
    ) -> None:
        """A rectangle. round: radius of its corners."""
        more = (
            f"fill='{fill}' stroke='{DARK}'" + (" stroke-width='2.5'" if bold else "") + (f" rx='{round:g}'" if round else "")
        )
        self.parts.append(f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' {more}/>")

    def arrow(self, x: float, y: float, length: float) -> None:
        """An arrow to the right; of negative length, to the left."""
        way = 1 if length > 0 else -1
        path = f"M{x:g} {y:g} h{length:g} m{-6 * way} -5 l{8 * way} 5 l{-8 * way} 5"
        self.parts.append(f"<path d='{path}' fill='none' stroke='{DARK}' stroke-width='2'/>")

    def text(
        self,
        x: float,
        y: float,
        words: object,
        *,
        size: float = 12,
        anchor: str = "middle",
        fill: str = INK,
        bold: bool = False,
    ) -> None:
        """One line of text whose baseline is y."""
        style = f"{FONT} font-size='{size:g}' text-anchor='{anchor}' fill='{fill}'" + (" font-weight='bold'" if bold else "")
        self.parts.append(f"<text x='{x:g}' y='{y:g}' {style}>{words}</text>")

    def grid(
        self, x: float, y: float, cell: float, numbers: np.ndarray, *, fills: list[list[str]] | None = None, size: float = 12
    ) -> None:
        """A table of numbers (or of words) as squares, h x w; fills: the colour of each."""
        for row, line in enumerate(numbers):
            for column, number in enumerate(line):
                fill = FILL if fills is None else fills[row][column]
                self.box(x + column * cell, y + row * cell, cell, cell, fill=fill)
                middle = x + (column + 0.5) * cell
                self.text(middle, y + (row + 0.5) * cell + 0.36 * size, number, size=size)

    def finish(self) -> str:
        """The whole file."""
        return "\n".join([*self.parts, "</svg>", ""])


def shade_of(share: float) -> str:
    """From white (0) over yellow to blue (1), light enough for dark text, as an SVG colour."""
    stops = np.array([[255, 255, 255], [255, 233, 160], [150, 210, 190], [130, 165, 225]], np.float64)
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    red, green, blue = stops[first] + (place - first) * (stops[first + 1] - stops[first])
    return f"#{round(red):02x}{round(green):02x}{round(blue):02x}"


def feature_colours(feature_map: Tensor) -> np.ndarray:
    """Features as colours: C x h x w -> h x w x 3 uint8 RGB.

    The three directions in which the C numbers of the pixels differ most (their first principal components) become red,
    green and blue. Pixels of like features get like colours; which colour that is means nothing.
    """
    pixels = feature_map.detach().float().flatten(1).T  # C h w -> N C
    pixels = pixels - pixels.mean(dim=0)
    _, _, directions = torch.linalg.svd(pixels, full_matrices=False)  # -> C C
    directions = directions[:3]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    components = pixels @ (directions * largest.sign()).T  # N C -> N 3; the sign of a direction is arbitrary: choose one
    low, high = (torch.quantile(components, share, dim=0) for share in (0.02, 0.98))
    colours = ((components - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return (255 * colours).round().byte().unflatten(0, feature_map.shape[-2:]).numpy()  # N 3 -> h w 3


def depth_colours(depth: np.ndarray) -> np.ndarray:
    """Inverse depth, H x W -> H x W x 3 uint8 RGB, near is bright."""
    from lib.demo.colour import Look, paint_depth

    return paint_depth(depth, Look(), nearest_is_largest=True)[0][..., ::-1]


def new_figure(width: float, height: float, *, rows: int = 1, columns: int = 1, **grid):
    """A matplotlib figure of so many inches, and its axes (rows x columns). grid: width_ratios and the like."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system is touched, nothing is kept
    except ImportError:
        raise UserError("the figures need matplotlib: pip install -r experiments/requirements.txt") from None
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid)
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
    return figure, axes


def label(axis, title: str, across: str, up: str) -> None:
    """Title and axes of a plot."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(across, fontsize=9)
    axis.set_ylabel(up, fontsize=9)


def show_picture(axis, image_rgb: np.ndarray, title: str, below: str = "") -> None:
    """A picture in an axis, every pixel a square of one colour."""
    axis.imshow(image_rgb, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(below, fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def picture_bytes(figure, ending: str) -> bytes:
    """A matplotlib figure as a .png or .jpg file of at most LARGEST_BYTES. Raises UserError where it does not fit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image_bgr = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])
    settings = [[cv2.IMWRITE_PNG_COMPRESSION, 9]] if ending == ".png" else [[1, quality] for quality in range(92, 40, -6)]
    for setting in settings:
        encoded = cv2.imencode(ending, image_bgr, setting)[1]
        if encoded.size <= LARGEST_BYTES:
            return encoded.tobytes()
    raise UserError(f"a figure of {encoded.size} bytes does not fit into {LARGEST_BYTES}")
