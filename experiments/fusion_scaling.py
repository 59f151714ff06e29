"""Scale what each fusion stage adds to the depth map, and see the map change at once.

    python experiments/fusion_scaling.py -i photo.jpg                        # a window with a slider for each stage
    python experiments/fusion_scaling.py -i photos/ -o fusion                # every stage, several scales: files, no window
    python experiments/fusion_scaling.py -i photo.jpg -o fusion --scales 0 1 --only 1 0 1 1   # one setting of your own, too

A scale of 1 is the model as it is, 0 leaves a stage's map out of the sum, negative numbers subtract it. Everything before the
fusion is computed once per picture. With -o, every picture gets

    STEM_fusion.png        a row for each stage, a column for each scale
    STEM_fusion.json       the settings, and the contribution of each stage by spatial frequency
    STEM_scaled.npy, STEM_scaled.png     the map of --only, if given

and the folder fusion_bands.csv, .md and .png, the mean of the contributions over all pictures: by how much the map changes,
wavelength by wavelength, when a stage is switched off, as a share of what the map has of that wavelength.
`experiments/fusion_scaling.py` works with every family; of a ZoeDepth it shows the relative depth.

Shapes: H W the network's input, H0 W0 the picture.
"""

import argparse
import math
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import (
    add_inspection_options,
    find_files,
    network_input,
    refuse_engine,
    save_each,
    write_json,
    write_png,
)
from lib.demo.script import run_script
from lib.errors import UserError

SUFFIXES = ("_fusion.json", "_fusion.png", "_scaled.npy", "_scaled.png")
SCALES = (-1.0, 0.0, 0.5, 1.0, 2.0)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser)
    group = parser.add_argument_group("fusion")
    group.add_argument(
        "--scales", type=float, nargs="+", default=list(SCALES), metavar="S", help="columns of the grid (%(default)s)"
    )
    group.add_argument(
        "--only",
        type=float,
        nargs="+",
        metavar="S",
        help="also save the map of this setting: a scale per stage, finest first",
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    refuse_engine(args)
    for option, scales in (("--scales", args.scales), ("--only", args.only or [])):
        if not all(map(math.isfinite, scales)):
            given = " ".join(f"{scale:g}" for scale in scales)
            raise UserError(f"{option} {given}: expected finite numbers, for example -1 0 1")
    files = find_files(args, SUFFIXES)
    from lib.demo.model import load_model

    model = load_model(args)
    num_stages = len(model.dpt_model.fusion.blocks)
    if args.only is not None and len(args.only) != num_stages:
        raise UserError(f"--only has {len(args.only)} scales, but this model has {num_stages} stages: one each, finest first")
    if args.output_folder is None:
        from experiments.fusion_window import FusionWindow

        return FusionWindow(files, model, args).run()
    return sweep_all(args, files, model)


def sweep_all(args: argparse.Namespace, files: list, model) -> int:
    """Writes the files of every picture and the mean over all; the exit code."""
    from experiments.evaluation_files import without_nan
    from experiments.fusion_parts import encode, mean_contributions, save_contributions, sweep

    rows, num_stages = [], len(model.dpt_model.fusion.blocks)

    def save(file, image_bgr, target: Path) -> None:
        encoded = encode(model, network_input(model, image_bgr), image_bgr.shape[:2])
        sheet, contributions = sweep(model, encoded, args.scales, args.colormap, heading=file.relative.name)
        rows.extend({"picture": file.relative.as_posix(), **row} for row in contributions)
        facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr), "scales": args.scales, "only": args.only}
        suffixed = {suffix: target.with_name(target.name + suffix) for suffix in SUFFIXES}
        write_json(suffixed["_fusion.json"], "fusion_scaling", facts | {"contributions": without_nan(contributions)})
        write_png(suffixed["_fusion.png"], sheet)
        if args.only is not None:
            save_setting(model, encoded, args.only, args.colormap, suffixed)

    skipped = save_each(args, files, model=model, suffixes=SUFFIXES, save=save)
    if rows:
        save_contributions(mean_contributions(rows), num_stages, Path(args.output_folder), model.name)
    return 1 if skipped else 0


def save_setting(model, encoded, scales: list[float], colour_map: str, suffixed: dict[str, Path]) -> None:
    """The map of these scales as numbers and colours."""
    import numpy as np

    from experiments.fusion_parts import decode, restore
    from lib.demo.colour import Look, paint_depth
    from lib.demo.save import atomic_file

    depth = restore(model, encoded, decode(model, encoded, scales))
    with atomic_file(suffixed["_scaled.npy"]) as file:
        np.save(file, depth)
    look = Look(colour_map=colour_map)
    write_png(suffixed["_scaled.png"], paint_depth(depth, look, nearest_is_largest=encoded.nearest_is_largest)[0])


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
