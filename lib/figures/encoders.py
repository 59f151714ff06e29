"""Drawings of what the encoders do to positions: tables, windows, masks, from the functions that the encoders use.

Shapes: h w a grid, T its tokens.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from lib.dpt_model import DPTModel
from lib.encoders.layers import attend
from lib.encoders.relative import offset_index
from lib.encoders.swin import log_offsets, shift_mask, split_windows
from lib.encoders.vit import ViTEncoder, resize_position_table
from lib.errors import UserError
from lib.figures.drawing import DARK, Svg, feature_colours, label, new_figure, shade_of, show_picture
from lib.model_types import MODEL_TYPES

GRID = (2, 3)  # of the worked example
WINDOWS_GRID, WINDOWS, SHIFT = (8, 8), (2, 2), (2, 2)  # windows of 4 x 4 tokens, shifted by half of it
CELL = 26
BANDS = ["#dbe7f5", "#ffe0b8", "#cfe8cf", "#f3cfd8", "#e3d6f2", "#d9d9d9", "#fff2b0", "#c9ecec", "#f0dcc8"]
TAPPED = ["midas-vit", "depth-anything-v1", "depth-anything-v2"]


def offset_table_svg() -> str:
    """BEiT and Swin: which of 15 numbers each of the 36 pairs of a 2 x 3 grid's tokens reads."""
    rows, columns = GRID
    index = offset_index(GRID).numpy()
    table = np.arange((2 * rows - 1) * (2 * columns - 1)).reshape(2 * rows - 1, -1)
    svg = Svg(664, 262)
    svg.text(75, 22, "the grid's tokens", bold=True)
    svg.grid(36, 62, CELL, np.arange(rows * columns).reshape(GRID), fills=[["white"] * columns] * rows)
    svg.text(255, 22, "the table: one number per offset", bold=True)
    svg.text(255, 42, "columns apart, −2 to 2", size=11, fill=DARK)
    last = table.max()
    svg.grid(190, 62, CELL, table, fills=[[shade_of(number / last) for number in line] for line in table])
    for row in range(2 * rows - 1):
        svg.text(
            182, 62 + (row + 0.65) * CELL, f"{row + 1 - rows:+d}".replace("+0", "0").replace("-", "−"), anchor="end", size=11
        )
    svg.text(255, 62 + 3 * CELL + 18, "rows apart, −1 to 1, down", size=11, fill=DARK)
    svg.text(520, 22, "which entry each pair reads", bold=True)
    svg.text(520, 42, "key token", size=11, fill=DARK)
    left = 520 - 3 * CELL
    for token in range(rows * columns):
        svg.text(left + (token + 0.5) * CELL, 58, token, size=11)
        svg.text(left - 8, 62 + (token + 0.65) * CELL, token, anchor="end", size=11)
    svg.text(left - 24, 62 + 3 * CELL + 4, "query", anchor="end", size=11, fill=DARK)
    svg.grid(left, 62, CELL, index, fills=[[shade_of(number / last) for number in line] for line in index])
    svg.text(75, 62 + 5 * CELL, "5 asks about 0:", size=11)
    svg.text(75, 62 + 5 * CELL + 16, "+1 row, +2 columns", size=11)
    svg.text(75, 62 + 5 * CELL + 32, f"entry {index[5, 0]}", size=11, bold=True)
    return svg.finish()


def windows_svg() -> str:
    """Swin: windows, windows after the roll, and the mask of the last one."""
    svg = Svg(900, 316)
    rows, columns = WINDOWS_GRID
    tokens = torch.arange(rows * columns).reshape(WINDOWS_GRID)
    rolled = tokens.roll((-SHIFT[0], -SHIFT[1]), dims=(0, 1))
    cell, top = 28, 46
    mask = shift_mask(WINDOWS_GRID, WINDOWS, SHIFT)
    for left, title, numbers in (
        (16, "even blocks: four windows", tokens),
        (272, "odd blocks: rolled by half a window", rolled),
    ):
        svg.text(left + 4 * cell, 24, title, bold=True)
        fills = [["white"] * columns for _ in range(rows)]
        for row in range(rows):
            for column in range(columns):
                window = (row // 4) * 2 + column // 4
                if left == 16:
                    fills[row][column] = BANDS[window]
                else:  # what may attend to each other, numbered inside each window
                    place = (row % 4) * 4 + column % 4
                    partners = (~mask[window, place]).nonzero()[:, 0]
                    fills[row][column] = BANDS[(window + 2 * int(partners[0])) % len(BANDS)]
        svg.grid(left, top, cell, numbers.numpy(), fills=fills, size=10)
        for row in range(2):
            for column in range(2):
                svg.box(left + column * 4 * cell, top + row * 4 * cell, 4 * cell, 4 * cell, fill="none", bold=True)
    svg.text(16 + 4 * cell, top + 8 * cell + 22, "tokens of one colour attend to each other", size=11, fill=DARK)
    svg.text(272 + 4 * cell, top + 8 * cell + 22, "a window holds tokens from both ends", size=11, fill=DARK)
    svg.text(272 + 4 * cell, top + 8 * cell + 38, "of the picture: the mask keeps them apart", size=11, fill=DARK)
    window = len(mask) - 1
    numbers = split_windows(rolled[None, :, :, None], WINDOWS)[0, window, :, 0].tolist()
    small, left = 14, 560
    svg.text(left + 8 * small, 24, "the mask of the last window", bold=True)
    for query in range(16):
        svg.text(left - 4, top + (query + 0.8) * small, numbers[query], size=9, anchor="end")
        for key in range(16):
            fill = "#555" if mask[window, query, key] else "white"
            svg.box(left + key * small, top + query * small, small, small, fill=fill)
    svg.text(left + 8 * small, top + 16 * small + 22, "query down, key across; dark: −100 is added", size=11, fill=DARK)
    svg.text(left + 8 * small, top + 16 * small + 38, "before the softmax, which leaves nothing", size=11, fill=DARK)
    return svg.finish()


def taps_svg() -> str:
    """Which blocks the releases with 24 of them tap."""
    svg = Svg(900, 28 + 34 * len(TAPPED))
    for block in range(24):
        svg.text(271 + 25 * block, 18, block, size=10)
    for line, name in enumerate(TAPPED):
        row = MODEL_TYPES[name]
        taps = tuple(range(20, 24)) if row.taps == "last four" else row.taps[24]
        y = 26 + 34 * line
        svg.text(250, y + 17, row.title.partition(",")[0] + (", 24 blocks"), anchor="end")
        for block in range(24):
            fill = "#31577f" if block in taps else "white"
            svg.box(260 + 25 * block, y, 22, 22, fill=fill)
    return svg.finish()


def sampled_places(table_side: int, patches: int, offset: float) -> np.ndarray:
    """From where in a table of this side each of so many patches reads, in cells of the table (0.5: the first's middle)."""
    ramp = torch.arange(table_side, dtype=torch.float32) + 0.5
    table = ramp.expand(table_side, -1).reshape(1, -1, 1)  # every row 0.5, 1.5, ...: 1 N 1
    grid = (table_side, patches)  # the rows stay as they are
    return resize_position_table(table, grid, mode="bilinear", offset=offset).reshape(grid)[table_side // 2].numpy()


def draw_positions():
    """ViT: the learned table read for a wider picture, and what DINOv2's 0.1 changes. SwinV2: its logarithmic scale."""
    figure, axes = new_figure(9, 2.9, columns=3)
    first, second, third = axes[0]
    table_side, patches = 37, 49
    exact, shifted = (sampled_places(table_side, patches, offset) for offset in (0.0, 0.1))
    ideal = (np.arange(patches) + 0.5) * table_side / patches
    first.plot(np.arange(patches), exact, color="#31577f")
    label(first, "ViT: where each patch reads", f"patch (of {patches})", f"column of the table (of {table_side})")
    second.axhline(0, color="#31577f", label="exact scale")
    inner = slice(1, -1)  # the outermost patches read at the border, where there is nothing to blend with
    second.plot(np.arange(patches)[inner], (shifted - ideal)[inner], color="#c2571a", label="with the 0.1 offset")
    label(second, "DINOv2: the offset's drift", f"patch (of {patches})", "columns of the table beside it")
    second.legend(fontsize=8)
    for window, colour in ((8, "#31577f"), (16, "#c2571a"), (24, "#3a7d44")):
        offsets = np.arange(1 - window, window)
        columns = log_offsets((window, window), window=window, coordinate_window=window)[: 2 * window - 1, 1]
        third.plot(offsets, columns, ".-", color=colour, label=f"window of {window}", markersize=3, linewidth=0.8)
    label(third, "SwinV2: offsets, log-spaced", "tokens apart", "what the small network sees")
    third.legend(fontsize=8)
    return figure


def draw_position_table(dpt_model: DPTModel):
    """The learned positions of a model with a ViT: the table, the same for a wider picture, and how alike positions are."""
    encoder = getattr(dpt_model.imgencoder, "vit", dpt_model.imgencoder)
    if not isinstance(encoder, ViTEncoder):
        raise UserError("this figure shows a table of positions, which only a ViT, a DINOv2 or a hybrid has")
    table = encoder.position_table.detach()[:, 1:]  # 1 N C, without the class token
    side = math.isqrt(table.shape[1])
    wider = (side, 2 * side)
    settings = {"mode": encoder.position_mode, "offset": encoder.position_offset}
    resized = resize_position_table(table, wider, **settings)  # 1 N C
    row, column = side // 4, side // 4
    chosen = F.normalize(table - table.mean(dim=1), dim=-1)[0]  # N C
    alike = (chosen @ chosen[row * side + column]).reshape(side, side).numpy()
    figure, axes = new_figure(9, 2.7, columns=3, width_ratios=[1, 2, 1])
    both = torch.cat([table, resized], dim=1)[0].T[:, None]  # one set of colours for both: C 1 N+2N
    colours = feature_colours(both)[0]
    small, large = colours[: side * side].reshape(side, side, 3), colours[side * side :].reshape(*wider, 3)
    show_picture(axes[0, 0], small, "the table", f"{side} × {side} positions")
    show_picture(axes[0, 1], large, "for a picture twice as wide", f"{wider[0]} × {wider[1]} positions")
    grey = np.repeat((255 * (alike - alike.min()) / np.ptp(alike)).astype(np.uint8)[..., None], 3, axis=2)
    show_picture(axes[0, 2], grey, f"likeness to row {row}, column {column}", "cosine, white is alike")
    return figure


def attention_shares(factor: float) -> tuple[float, float]:
    """How much attention the first of four keys gets when it is made `factor` times longer: dot products, cosine."""
    generator = torch.Generator().manual_seed(3)
    query, keys = torch.randn(1, 1, 1, 32, generator=generator), torch.randn(1, 1, 4, 32, generator=generator)
    keys[..., 0, :] += 0.2 * query[..., 0, :]  # the first key looks a little like the query
    keys[..., 0, :] *= factor
    which = torch.eye(4)[None, None]  # values that say which key was read
    dot = attend(query, keys, which, fused=False)
    cosine = attend(F.normalize(query, dim=-1) * 3, F.normalize(keys, dim=-1), which, scale=1.0, fused=False)
    return float(dot[0, 0, 0, 0]), float(cosine[0, 0, 0, 0])


def draw_attention():
    """Dot product against cosine: what happens when one key becomes longer."""
    figure, axes = new_figure(4.6, 2.7)
    factors = np.linspace(0.25, 4, 40)
    dot, cosine = zip(*(attention_shares(float(factor)) for factor in factors), strict=True)
    axes[0, 0].plot(factors, dot, color="#31577f", label="dot product (ViT, BEiT, Swin)")
    axes[0, 0].plot(factors, cosine, color="#c2571a", label="cosine (SwinV2)")
    axes[0, 0].set_ylim(0, 1.02)
    label(axes[0, 0], "one key becomes longer", "times its first length", "its share of the attention")
    axes[0, 0].legend(fontsize=8)
    return figure
