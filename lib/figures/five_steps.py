"""The figure of the five steps with the shape of everything between them, and the one of the two kinds of tensors.

For Depth-Anything V2 Small and a picture of 640 x 480 pixels. The shapes come from a run on PyTorch's meta device, which
computes shapes and nothing else.
"""

import torch

from lib.dpt_model import build_dpt
from lib.figures.drawing import DARK, FILL, INK, Svg
from lib.image_processor import DPTImageProcessor, PictureRule

SMALL = {  # Depth-Anything V2 Small, as `make_dpt_from_state_dict` describes it
    "encoder": "vit",
    "patch_embed": {"features": 384, "patch_size": 14},
    "imgencoder": {
        "features": 384, "heads": 6, "hidden": 1536, "num_blocks": 12, "taps": [2, 5, 8, 11], "table_side": 37,
    },
    "reassemble": {
        "stage_features": [384] * 4, "stage_channels": [48, 96, 192, 384], "scales": [4, 2, 1, 0.5],
        "readouts": ["ignore"] * 4, "fusion_features": 64,
    },
    "fusion": {"features": 64},
    "head": {"features": 64, "channels": [32, 32]},
    "output": {"quantity": "inverse depth", "nearest_is_largest": True, "value_range": [0, None]},
}  # fmt: skip


def run_of_shapes(height: int, width: int) -> list[tuple[str, list[str]]]:
    """(what, shapes) before and after each of the five steps, for a picture of height x width."""
    with torch.device("meta"):
        model = build_dpt(SMALL).eval()
        size = DPTImageProcessor(PictureRule(side=518, multiple=14)).network_size(height, width)
        image = torch.empty(1, 3, *size)

    def text(*tensors: torch.Tensor) -> list[str]:
        return [" × ".join(str(side) for side in tensor.shape) for tensor in tensors]

    with torch.no_grad():
        tokens, grid_hw = model.patch_embed(image)
        stages = model.imgencoder(tokens, grid_hw)
        maps = model.reassemble(stages, grid_hw)
        fused = model.fusion(maps)
        depth = model.head(fused, image.shape[-2:])
    return [
        ("picture", text(image)),
        ("tokens", text(tokens)),
        ("four stages", text(*stages)),
        ("four maps", text(*maps)),
        ("one map", text(fused)),
        ("depth", text(depth)),
    ]


STEPS = [
    ("patch embedding", "patches to tokens"),
    ("image encoder", "12 blocks, 4 tapped"),
    ("reassemble", "tokens to pictures"),
    ("fusion", "coarse to fine"),
    ("head", "features to depth"),
]
BOX_WIDTH, GAP, BOX_HEIGHT, TOP = 148, 40, 58, 20


def five_steps_svg() -> str:
    """The figure as SVG text: five boxes, arrows between them, and the shapes under the arrows."""
    between = run_of_shapes(480, 640)
    first_x = 112
    svg = Svg(first_x * 2 + 5 * BOX_WIDTH + 4 * GAP, 172)
    middle = TOP + BOX_HEIGHT / 2
    for number, (name, what) in enumerate(STEPS):
        x = first_x + number * (BOX_WIDTH + GAP)
        svg.box(x, TOP, BOX_WIDTH, BOX_HEIGHT, fill=FILL, round=6)
        svg.text(x + BOX_WIDTH / 2, middle - 3, f"{number + 1}. {name}", size=14, bold=True)
        svg.text(x + BOX_WIDTH / 2, middle + 16, what, fill="#444")
    for number, (name, shapes) in enumerate(between):
        start = first_x - GAP + number * (BOX_WIDTH + GAP)
        svg.arrow(start + 4, middle, GAP - 14)
        for line, words in enumerate([name, *shapes]):
            colour = DARK if line == 0 else INK
            svg.text(start + GAP / 2, TOP + BOX_HEIGHT + 22 + 16 * line, words, fill=colour, bold=line == 0)
    return svg.finish()


PATCH_FILLS = ["#dbe7f5", "#ffe0b8", "#cfe8cf", "#f3cfd8", "#e3d6f2", "#fff2b0"]
CLASS_FILL = "#d9d9d9"


def two_kinds_svg() -> str:
    """Image-like against rows of tokens: the same six vectors on a 2 x 3 grid, and in a list behind a class token."""
    svg = Svg(790, 236)
    cell, left, top, features = 54, 100, 58, 4
    svg.text(left + 1.5 * cell, 24, "image-like: B × C × h × w", size=14, bold=True)
    for depth in reversed(range(features)):  # the C features lie behind each other
        for number in range(6):
            x, y = left + number % 3 * cell + 7 * depth, top + number // 3 * cell + 7 * (features - 1 - depth)
            svg.box(x, y, cell, cell, fill=PATCH_FILLS[number])
            if depth == 0:
                svg.text(x + cell / 2, y + cell / 2 + 5, number, size=14)
    svg.text(left + 1.5 * cell, 215, "neighbours in the tensor are neighbours in the picture", fill="#444")
    svg.arrow(320, 96, 130)
    svg.text(385, 84, "flatten, transpose", fill=DARK)
    svg.arrow(454, 150, -130)
    svg.text(385, 172, "transpose, unflatten: needs (h, w)", fill=DARK)
    x, width, height = 550, 26, 22
    svg.text(x + 2 * width, 24, "rows of tokens: B × (1 + N) × C", size=14, bold=True)
    for row in range(7):
        for column in range(features):
            fill = CLASS_FILL if row == 0 else PATCH_FILLS[row - 1]
            svg.box(x + column * width, 38 + row * height, width, height, fill=fill)
        name = "class token" if row == 0 else f"token of patch {row - 1}"
        svg.text(x + features * width + 8, 38 + (row + 0.7) * height, name, anchor="start")
    svg.text(x + 2 * width, 215, "a list: order means nothing to attention", fill="#444")
    return svg.finish()
