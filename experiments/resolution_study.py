"""One picture at many input sizes, aspect ratios and tilings: which shows most detail and still says the same?

    python experiments/resolution_study.py -i photo.jpg                    # a window: choose the size with a slider
    python experiments/resolution_study.py -i photos/ -o resolution        # tables and plots, no window
    python experiments/resolution_study.py -i photo.jpg -o resolution --sizes 392 518 1036 --stretches 0.5 2 --tiles 2 3

With -o, every picture gets

    STEM_resolution.png    the map of each setting
    STEM_detail.png        the part of the picture with most detail, in each map
    STEM_resolution.json   all numbers

and the folder resolution.csv, .md and .png with the means over all pictures. For each setting:

    edge width       of the steepest edges, in pixels of the picture: less is sharper
    aligned error    mean difference from the map at the release's own size, after the best scale and shift, as a share of its
                     range; correlation and ranking (share of pairs of points in the same order) likewise
    seconds          of one prediction, the median of --repeats

The best setting is the sharpest whose aligned error is at most --tolerance: a network that is shown more pixels than it was
trained with draws finer edges, and at some size stops to understand the scene as a whole.
`experiments/resolution_study.py` works with every family; LeViT can only do one size, which leaves the tiles.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import add_inspection_options, find_files, save_each, write_json, write_png
from lib.demo.options import positive_float, positive_int
from lib.demo.script import run_script

SUFFIXES = ("_resolution.json", "_resolution.png", "_detail.png")


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser)
    group = parser.add_argument_group("resolution")
    group.add_argument(
        "--sizes", type=positive_int, nargs="*", metavar="PIXELS",
        help="longer sides of the network's input (default: from half to twice the release's own)",
    )  # fmt: skip
    group.add_argument(
        "--stretches", type=positive_float, nargs="*", default=[0.6, 1.6], metavar="F",
        help="aspect ratios: the picture made wider by this factor, with as many pixels (%(default)s)",
    )  # fmt: skip
    group.add_argument("--tiles", type=positive_int, nargs="*", default=[2, 3], metavar="N", help="N x N tiles (%(default)s)")
    group.add_argument("--repeats", type=positive_int, default=1, metavar="N", help="timed predictions (%(default)s)")
    group.add_argument(
        "--tolerance", type=positive_float, default=0.05, metavar="SHARE", help="largest aligned error (%(default)s)"
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    files = find_files(args, SUFFIXES)
    from lib.demo.model import load_model

    model = load_model(args)
    if args.output_folder is None:
        from experiments.resolution_window import ResolutionWindow

        return ResolutionWindow(files, model, args).run()
    return study_all(args, files, model)


def study_all(args: argparse.Namespace, files: list, model) -> int:
    """Writes the files of every picture and the means over all; the exit code."""
    from experiments.resolution_parts import choose_settings, detail_sheet, maps_sheet, run_settings
    from experiments.resolution_results import best_setting, measure, save_means

    rows: list[dict] = []

    def save(file, image_bgr, target: Path) -> None:
        settings = choose_settings(model, image_bgr.shape[:2], args)
        runs = run_settings(model, image_bgr, settings, repeats=args.repeats)
        measured = measure(runs)
        best = best_setting(measured, args.tolerance)
        facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr), "tolerance": args.tolerance, "best": best}
        suffixed = [target.with_name(target.name + suffix) for suffix in SUFFIXES]
        write_json(suffixed[0], "resolution_study", facts | {"settings": measured})
        heading = f"{file.relative.name}, {image_bgr.shape[1]} x {image_bgr.shape[0]}; best: {best}"
        write_png(suffixed[1], maps_sheet(image_bgr, runs, measured, args.colormap, heading=heading))
        write_png(suffixed[2], detail_sheet(image_bgr, runs, args.colormap, heading=heading))
        rows.extend({"picture": file.relative.as_posix(), **row} for row in measured)

    skipped = save_each(args, files, model=model, suffixes=SUFFIXES, save=save)
    if rows:
        best = save_means(rows, args.tolerance, Path(args.output_folder), model.name)
        print(f"best setting for detail against consistency: {best}")
    return 1 if skipped else 0


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
