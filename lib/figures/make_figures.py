"""Draws the figures of the pages, from real runs of our own code: run it again whenever the code changes.

    python lib/figures/make_figures.py

five_steps.svg: the five steps of DPT with the shape of everything between them, for Depth-Anything V2 Small and a picture of
640 x 480 pixels. The shapes come from a run on PyTorch's meta device, which computes shapes and nothing else.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout, where `lib` is
from lib.dpt_model import build_dpt
from lib.image_processor import DPTImageProcessor, PictureRule

FOLDER = Path(__file__).resolve().parent
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
STYLE = "font-family='Helvetica, Arial, sans-serif' text-anchor='middle'"


def five_steps_svg() -> str:
    """The figure as SVG text: five boxes, arrows between them, and the shapes under the arrows."""
    between = run_of_shapes(480, 640)
    first_x = 112
    width, height = first_x * 2 + 5 * BOX_WIDTH + 4 * GAP, 172
    parts = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'>"]
    parts.append(f"<rect width='{width}' height='{height}' fill='white'/>")
    middle = TOP + BOX_HEIGHT / 2
    for number, (name, what) in enumerate(STEPS):
        x = first_x + number * (BOX_WIDTH + GAP)
        box = f"x='{x}' y='{TOP}' width='{BOX_WIDTH}' height='{BOX_HEIGHT}' rx='6'"
        parts.append(f"<rect {box} fill='#dbe7f5' stroke='#31577f'/>")
        centre = x + BOX_WIDTH / 2
        title = f"{STYLE} font-size='14' font-weight='bold'"
        parts.append(f"<text x='{centre}' y='{middle - 3}' {title}>{number + 1}. {name}</text>")
        parts.append(f"<text x='{centre}' y='{middle + 16}' {STYLE} font-size='12' fill='#444'>{what}</text>")
    for number, (name, shapes) in enumerate(between):
        start = first_x - GAP + number * (BOX_WIDTH + GAP)
        arrow = f"M{start + 4} {middle} h{GAP - 14} m-6 -5 l8 5 l-8 5"
        parts.append(f"<path d='{arrow}' fill='none' stroke='#31577f' stroke-width='2'/>")
        centre = start + GAP / 2
        for line, words in enumerate([name, *shapes]):
            weight, colour = ("bold", "#31577f") if line == 0 else ("normal", "#222")
            y = TOP + BOX_HEIGHT + 22 + 16 * line
            parts.append(
                f"<text x='{centre}' y='{y}' {STYLE} font-size='12' font-weight='{weight}' fill='{colour}'>{words}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    (FOLDER / "five_steps.svg").write_text(five_steps_svg(), encoding="utf-8")
    print(f"wrote {FOLDER / 'five_steps.svg'}")


if __name__ == "__main__":
    main()
