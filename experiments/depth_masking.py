"""Cut things out of pictures by their depth: a mask, and the picture with the mask as its alpha channel.

    python experiments/depth_masking.py -i photo.jpg                                          # a window with trackbars
    python experiments/depth_masking.py -i photo.jpg -o masks --far 60 --feather 4            # the nearer 40% of the range
    python experiments/depth_masking.py -i photo.jpg -o masks --plane 100 --far 30            # what stands on the floor
    python experiments/depth_masking.py -i photo.jpg -o masks --limits 1 2.5 -m METRIC_MODEL  # between 1 and 2.5 metres

The range is given in percent of the picture's own values, 0 the farthest and 100 the nearest (as the window of run_image.py
counts), or in the model's unit. --plane takes a plane away first, which a robust fit finds in inverse depth, so that the
range counts from the floor (or a wall). With -o, every picture gets

    STEM_mask.png      8 bits, 255: kept
    STEM_cutout.png    the picture with the mask as alpha channel (RGBA)
    STEM_mask.json     the range, its unit, the plane, the share of pixels kept

`experiments/depth_masking.py` works with every family.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import add_inspection_options, find_files, rounded, save_each, write_json, write_png
from lib.demo.script import run_script
from lib.errors import UserError

SUFFIXES = ("_mask.json", "_mask.png", "_cutout.png")
MADE_BY = "depth_masking"
FAR, NEAR = 50, 100


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser)
    group = parser.add_argument_group("mask")
    group.add_argument("--far", type=float, default=FAR, metavar="PERCENT", help="where the range begins (%(default)s)")
    group.add_argument("--near", type=float, default=NEAR, metavar="PERCENT", help="where it ends (%(default)s)")
    group.add_argument("--limits", type=float, nargs=2, metavar=("LOW", "HIGH"), help="instead: two values in the model's unit")
    group.add_argument(
        "--plane", type=float, default=0, metavar="PERCENT", help="first take so much of the fitted plane away (%(default)s)"
    )
    group.add_argument("--invert", action="store_true", help="keep what is outside of the range")
    group.add_argument(
        "--feather", type=float, default=0, metavar="PIXELS", help="width of the mask's soft border (%(default)s)"
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    check_numbers(args)
    files = find_files(args, SUFFIXES)
    from lib.demo.model import load_model

    model = load_model(args)
    if args.output_folder is None:
        from experiments.depth_masking_window import MaskingWindow

        return MaskingWindow(files, model, args, save=save_mask).run()

    def save(file, image_bgr, target: Path) -> None:
        facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr)}
        save_mask(model.predict([image_bgr])[0], image_bgr, cut_of(args), target, facts=facts)

    return 1 if save_each(args, files, model=model, suffixes=SUFFIXES, save=save) else 0


def check_numbers(args: argparse.Namespace) -> None:
    """Raises UserError for numbers that make no sense."""
    if not 0 <= args.far < args.near <= 100:
        raise UserError(f"--far {args.far:g} --near {args.near:g}: expected 0 <= far < near <= 100 (the nearest is 100)")
    if not 0 <= args.plane <= 100:
        raise UserError(f"--plane {args.plane:g}: expected a number from 0 to 100")
    if not 0 <= args.feather < float("inf"):
        raise UserError(f"--feather {args.feather:g}: expected a number of pixels, zero or more")
    if args.limits is not None and not args.limits[0] < args.limits[1]:
        raise UserError(f"--limits {args.limits[0]:g} {args.limits[1]:g}: expected the smaller value first")
    if args.limits is not None and (args.far, args.near) != (FAR, NEAR):
        raise UserError("--limits and --far or --near: the range is either in the model's unit or in percent; pass one of them")


def cut_of(args: argparse.Namespace):
    """What the options ask for."""
    from experiments.depth_cutout import Cut

    return Cut(
        far_percent=args.far,
        near_percent=args.near,
        limits=tuple(args.limits) if args.limits else None,
        plane_percent=args.plane,
        invert=args.invert,
        feather=args.feather,
    )


def save_mask(depth_map, image_bgr, cut, target: Path, *, facts: dict) -> None:
    """The files of SUFFIXES for one picture."""
    from dataclasses import asdict

    import numpy as np
    from tqdm import tqdm

    from experiments.depth_cutout import cut_out, limits_of, make_mask, values_to_cut

    values, plane = values_to_cut(depth_map, cut.plane_percent)
    mask = make_mask(values, cut)
    if not mask.any():
        low, high = limits_of(values, cut)
        tqdm.write(f"{facts['picture']}: nothing is kept; no {values.unit} between {low:g} and {high:g}", file=sys.stderr)
    facts = facts | {
        "quantity": depth_map.quantity,
        "unit": values.unit,
        "range": rounded(limits_of(values, cut)),
        "inverted": cut.invert,
        "feather": cut.feather,
        "plane": asdict(plane) if plane else None,
        "kept": rounded([mask.mean()])[0],
    }
    paths = {suffix: target.with_name(target.name + suffix) for suffix in SUFFIXES}
    write_json(paths["_mask.json"], MADE_BY, facts)
    write_png(paths["_mask.png"], np.rint(mask * 255).astype(np.uint8))
    write_png(paths["_cutout.png"], cut_out(image_bgr, mask))


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
