"""Parameters and operations of each of the five steps, computed: models on PyTorch's meta device, which has shapes alone.

The shapes are those of the releases' files, as tests/reference/manifests/NAME.json lists them.
"""

import contextlib
import io
import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from lib.checkpoints.files import Checkpoint
from lib.dpt_model import build_dpt
from lib.make_dpt import describe, recognise_layout
from lib.releases import RELEASES

MANIFESTS = Path(__file__).resolve().parents[2] / "tests" / "reference" / "manifests"
COUNTED = {  # release: its manifest
    "depth-anything-v2-small": "depth_anything_v2_vits",
    "depth-anything-v2-large": "depth_anything_v2_vitl",
    "dpt-large-384": "dpt_large_384",
    "dpt-hybrid-384": "dpt_hybrid_384",
    "dpt-beit-large-512": "dpt_beit_large_512",
    "dpt-swin2-tiny-256": "dpt_swin2_tiny_256",
    "dpt-swin2-large-384": "dpt_swin2_large_384",
    "dpt-levit-224": "dpt_levit_224",
}
STEPS = ("patch_embed", "imgencoder", "reassemble", "fusion", "head")


def empty_checkpoint(release: str) -> Checkpoint:
    """What reading a release's file gives, with its keys and shapes, and without memory for its numbers."""
    keys = json.loads((MANIFESTS / f"{COUNTED[release]}.json").read_text(encoding="utf-8"))["keys"]
    tensors = {key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, (*shape, kind) in keys.items()}
    return Checkpoint(path=Path(RELEASES[release].file_name), tensors=tensors)


def count_parts(release: str) -> dict[str, tuple[int, int]]:
    """{step: (parameters, operations)} for one picture of the training's size, in float32.

    Operations are multiplications and additions, each counted, of matrix products and convolutions; the rest is small.
    """
    checkpoint = empty_checkpoint(release)
    config, _ = describe(checkpoint, recognise_layout(checkpoint), None)
    with torch.device("meta"):
        model = build_dpt(config).eval()
    model.set_cache(False)
    model.set_fused_attention(False)  # the counter sees the products inside
    side = RELEASES[release].side
    with torch.no_grad(), torch.device("meta"):
        image = torch.empty(1, 3, side, side)
        counts = {}

        def run(step: str, *inputs):
            counter = FlopCounterMode(display=False)
            with contextlib.redirect_stdout(io.StringIO()), counter:
                result = getattr(model, step)(*inputs)
            parameters = sum(weight.numel() for weight in getattr(model, step).parameters())
            counts[step] = (parameters, counter.get_total_flops())
            return result

        tokens, grid_hw = run("patch_embed", image)
        stages = run("imgencoder", tokens, grid_hw)
        maps = run("reassemble", stages, grid_hw)
        run("head", run("fusion", maps), image.shape[-2:])
    return counts


def parts_row(release: str) -> str:
    """One line of `parts_table`."""
    counts = count_parts(release)
    cells = [f"{counts[step][0] / 1e6:.1f} / {counts[step][1] / 1e9:.1f}" for step in STEPS]
    return f"| `{release}` | {RELEASES[release].side} | " + " | ".join(cells) + " |"


def parts_table() -> str:
    """The counts as a table of Markdown: millions of parameters / billions of operations."""
    titles = "| Release | Side | Patch embedding | Encoder | Reassemble | Fusion | Head |"
    return "\n".join([titles, "|" + "---|" * (titles.count("|") - 1), *map(parts_row, COUNTED)])
