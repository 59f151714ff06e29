"""Draws the pictures of experiments/README.md, by the commands that stand there: run it again with new weights or new code.

    python experiments/figures/make_figures.py                      # all, with the model that the scripts take by default
    python experiments/figures/make_figures.py -m MODEL --only attention.jpg

The scenes are our own, rendered by experiments/procedural_scenes.py. Another script's picture is one more entry in FIGURES.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))
from experiments.depth_cutout import over_checkerboard
from experiments.inspection_drawing import tile_sheet
from lib.demo.script import run_script
from lib.errors import UserError

FOLDER = Path(__file__).resolve().parent
LARGEST_BYTES, LARGEST_WIDTH = 75_000, 1000  # of each; all of them together stay below a megabyte

SCENES = {  # file: kind and seed of the rendered scene
    "scenes/street.jpg": ("street", 2),
    "scenes/hall.jpg": ("hall", 4),
    "scenes/table.jpg": ("tabletop", 0),
    "scenes/park.jpg": ("ground", 4),
}
SCENE_COMMAND = "python experiments/procedural_scenes.py --sample {path} --sample_size 640 480 --kinds {kind} --seed {seed}"

ATTENTION = "python experiments/attention_visualization.py -i scenes/street.jpg -o attention --point 200 310 --block 5 -b 336"
NORMS = "python experiments/block_norm_visualization.py -i scenes -o norms -b 336"
MASK = "python experiments/depth_masking.py -i scenes/street.jpg -o masks --far 55 --feather 3"
MASK_PLANE = "python experiments/depth_masking.py -i scenes/street.jpg -o masks_plane --plane 100 --far 15 --feather 3"
FUSION = "python experiments/fusion_scaling.py -i scenes -o fusion"
ABLATION = "python experiments/stage_ablation.py -i scenes -o ablation --parts blocks heads"
RESOLUTION = "python experiments/resolution_study.py -i scenes -o resolution"
ROUNDED_BITS = (4, 3, 2)
COMPARED = ["whole.safetensors", *(f"{bits}_bits.safetensors" for bits in ROUNDED_BITS)]
COMPARE = f"python experiments/compare_models.py -m {' '.join(COMPARED)} -i scenes -o compare"


@dataclass(frozen=True)
class Figure:
    """One picture of the page: the commands that make it, and how it comes out of their results (in `folder`)."""

    commands: tuple[str, ...]
    draw: Callable[[Path], np.ndarray]


def result(name: str) -> Callable[[Path], np.ndarray]:
    """A file that a command wrote, as it is."""
    return lambda folder: read(folder / name)


def masks(folder: Path) -> np.ndarray:
    """The picture, the mask, and both cut-outs before a checkerboard."""
    cutouts = [over_checkerboard(read(folder / name / "street_cutout.png")) for name in ("masks", "masks_plane")]
    mask = cv2.cvtColor(read(folder / "masks/street_mask.png"), cv2.COLOR_GRAY2BGR)
    tiles = [read(folder / "scenes/street.jpg"), mask, *cutouts]
    titles = ["the picture", "mask of the nearer part", "cut out", "with the plane taken away first"]
    return tile_sheet(tiles, titles, columns=4)


FIGURES = {
    "attention.jpg": Figure((ATTENTION,), result("attention/street_attention.png")),
    "attention_heads.jpg": Figure((ATTENTION,), result("attention/street_heads_row.png")),
    "attention_blocks.jpg": Figure((ATTENTION,), result("attention/street_blocks.png")),
    "norms.jpg": Figure((NORMS,), result("norms/street_norms.png")),
    "norm_histogram.jpg": Figure((NORMS,), result("norms/street_histogram.png")),
    "norm_curves.jpg": Figure((NORMS,), result("norms/street_curves.png")),
    "channels.jpg": Figure((NORMS,), result("norms/street_channels.png")),
    "components.jpg": Figure((NORMS,), result("norms/joint_components_sheet.png")),
    "masks.jpg": Figure((MASK, MASK_PLANE), masks),
    "fusion.jpg": Figure((FUSION,), result("fusion/street_fusion.png")),
    "fusion_bands.jpg": Figure((FUSION,), result("fusion/fusion_bands.png")),
    "ablation_blocks.jpg": Figure((ABLATION,), result("ablation/ablation_blocks.png")),
    "ablation_heads.jpg": Figure((ABLATION,), result("ablation/ablation_heads.png")),
    "ablation.jpg": Figure((ABLATION,), result("ablation/street_ablation.png")),
    "resolution_maps.jpg": Figure((RESOLUTION,), result("resolution/street_resolution.png")),
    "resolution_detail.jpg": Figure((RESOLUTION,), result("resolution/table_detail.png")),
    "resolution.jpg": Figure((RESOLUTION,), result("resolution/resolution.png")),
    "compare.jpg": Figure((COMPARE,), result("compare/street_compare.png")),
    "compare_table.jpg": Figure((COMPARE,), result("compare/compare.png")),
}


def read(path: Path) -> np.ndarray:
    """A picture that a command wrote, with its alpha channel."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path}: the command did not write it")
    return image


def run_command(command: str, folder: Path, model: str | None) -> None:
    """Runs a command of the page in a folder, with another model if one is given."""
    _, script, *arguments = shlex.split(command)
    more = [] if model is None or "procedural_scenes" in script or "-m" in arguments else ["-m", model]
    done = subprocess.run([sys.executable, str(REPOSITORY / script), *arguments, *more], cwd=folder, check=False)
    if done.returncode:
        raise UserError(f"this command failed: {command}")


def write_rounded_models(folder: Path, model: str | None) -> None:
    """COMPARED: the model, and the same with the rows of its matrices and its filters rounded to a few bits."""
    import torch

    from lib.demo.weights import find_weights
    from lib.make_dpt import make_dpt_from_state_dict, save_dpt

    for name, bits in zip(COMPARED, (None, *ROUNDED_BITS), strict=True):
        config, dpt_model, _ = make_dpt_from_state_dict(find_weights(model))
        with torch.no_grad():
            for weight in dpt_model.parameters():
                if bits is not None and weight.dim() > 1:
                    largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True).clamp(min=1e-12)
                    step = largest / (2 ** (bits - 1) - 1)
                    weight.copy_((weight / step).round() * step)
        save_dpt(folder / name, config, dpt_model)


def write_figure(image: np.ndarray, path: Path) -> None:
    """A JPEG of at most LARGEST_BYTES."""
    if image.shape[1] > LARGEST_WIDTH:
        scale = LARGEST_WIDTH / image.shape[1]
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for quality in range(80, 20, -5):
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if encoded.size <= LARGEST_BYTES:
            path.write_bytes(encoded.tobytes())
            print(f"Wrote {path} ({encoded.size // 1000} kB).")
            return
    raise UserError(f"{path}: does not fit into {LARGEST_BYTES} bytes")


def scene_commands() -> list[str]:
    """How the scenes are rendered."""
    return [SCENE_COMMAND.format(path=path, kind=kind, seed=seed) for path, (kind, seed) in SCENES.items()]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-m", "--model", help="weights, as for the scripts (default: theirs)")
    parser.add_argument("--only", nargs="+", choices=FIGURES, metavar="NAME", help=f"some of {', '.join(FIGURES)}")
    return parser.parse_args()


def main(args: argparse.Namespace) -> int:
    chosen = {name: figure for name, figure in FIGURES.items() if args.only is None or name in args.only}
    model = str(Path(args.model).resolve()) if args.model and Path(args.model).exists() else args.model
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = dict.fromkeys(command for figure in chosen.values() for command in figure.commands)
        if COMPARE in commands:
            write_rounded_models(folder, model)
        for command in (*scene_commands(), *commands):
            run_command(command, folder, model)
        for name, figure in chosen.items():
            write_figure(figure.draw(folder), FOLDER / name)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
