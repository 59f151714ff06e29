"""See how long the tokens are behind every block, which stick out, and what their features have in common.

    python experiments/block_norm_visualization.py -i photo.jpg                  # a window
    python experiments/block_norm_visualization.py -i holidays/ -o norms         # files, no window

In the window a trackbar chooses the block, and `v` what is seen: norms, all blocks, histogram, curves over blocks, a single
channel, principal components. With -o, every picture gets

    STEM_norms.png         norms behind every block as tiles, outliers in rings
    STEM_histogram.png     their distribution in every block
    STEM_curves.png        median, spread, largest and class token over the blocks; number of outliers
    STEM_channels.png      single channels of the block's tokens: those of --channels, or the busiest
    STEM_components.png    the block's tokens as colours: principal components of all pictures together
    STEM_norms.npz         the norms of every block, h x w
    STEM_norms.json        the curves, and every outlier with its block and its place in the picture

and several pictures a joint_components_sheet.png.

`experiments/block_norm_visualization.py` works with every family. Shapes: h w a token grid.
"""

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # the checkout, where `lib` is, instead of this folder, where `datasets` is no package
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from experiments.inspection import (
    add_inspection_options,
    block_number,
    check_free,
    find_files,
    names_of_blocks,
    network_input,
    refuse_engine,
    rounded,
    save_each,
    seen_picture,
    write_json,
    write_png,
)
from lib.demo.options import positive_int
from lib.demo.script import run_script
from lib.errors import UserError

SUFFIXES = (
    "_norms.json", "_norms.png", "_histogram.png", "_curves.png", "_channels.png", "_components.png", "_norms.npz",
)  # fmt: skip
JOINT_SUFFIXES = ("_components_sheet.json", "_components_sheet.png")
JOINT_TILES = 24  # pictures in the joint sheet
MADE_BY = "block_norm_visualization"


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_inspection_options(parser)
    group = parser.add_argument_group("norms")
    group.add_argument(
        "--block", type=int, metavar="N", help="for channels and components: from 0, or from the end (default: the last)"
    )
    group.add_argument("--channels", type=int, nargs="+", metavar="N", help="which channels (default: the busiest)")
    group.add_argument(
        "--outlier",
        type=float,
        default=3.0,
        metavar="FACTOR",
        help="norms above so many times the median are outliers (%(default)s)",
    )
    group.add_argument(
        "--joint_pictures",
        type=positive_int,
        default=16,
        metavar="N",
        help="in the window: how many pictures share their components (%(default)s); with -o: all",
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    if not args.outlier > 1:
        raise UserError(f"--outlier {args.outlier:g}: expected a number above 1, for example 3")
    refuse_engine(args)
    files = find_files(args, SUFFIXES, JOINT_SUFFIXES)
    from experiments.block_norms import find_pca
    from experiments.inspection_drawing import new_figure
    from lib.demo.model import load_model

    find_pca(), new_figure(1, 1)  # what is missing is better missed now than after an hour
    model = load_model(args)
    names = names_of_blocks(model.dpt_model)
    block = block_number(args.block, names)
    if args.output_folder is None:
        from experiments.block_norm_window import BlockNormWindow

        return BlockNormWindow(files, model, args, block, save=save_report).run()
    return save_folder(args, files, model, names, block)


def save_folder(args: argparse.Namespace, files: list, model, names: list[str], block: int) -> int:
    """Every picture's files, then the components of all together."""
    from experiments.block_norms import compact, record_tokens

    joint = Path(args.output_folder) / "joint"
    check_free(joint, JOINT_SUFFIXES)
    seen = {}  # target: (picture, tokens of the block on their grid)

    def save(file, image_bgr, target: Path) -> None:
        records = record_tokens(model.dpt_model, network_input(model, image_bgr))
        facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr)}
        picture = seen_picture(model, image_bgr)
        save_report(records, names, block, picture, target, args=args, facts=facts)
        seen[target] = shrunk(picture), compact(records[block].patches()[0].numpy())

    skipped = save_each(args, files, model=model, suffixes=SUFFIXES, save=save)
    if seen:
        save_components(seen, names[block], joint, args.outlier)
    return 1 if skipped else 0


def shrunk(image_bgr):
    """A picture no larger than it is drawn on sheets."""
    from experiments.block_norm_sheets import tile_size
    from lib.demo.drawing import resize

    return resize(image_bgr, *tile_size(image_bgr))


def save_report(records, names, block, image_bgr, target: Path, *, args: argparse.Namespace, facts: dict) -> None:
    """The files of SUFFIXES but the components. image_bgr: as `seen_picture` gives it."""
    import numpy as np

    from experiments import block_norm_sheets as sheets
    from experiments.block_norms import busiest_channels, find_outliers, norm_curves, patch_norms
    from lib.demo.save import atomic_file

    width = records[block].features.shape[-1]
    channels = args.channels or busiest_channels(records[block], sheets.NUM_CHANNELS)
    unknown = [channel for channel in channels if not 0 <= channel < width]
    if unknown:
        raise UserError(f"--channels {unknown[0]}: {names[block]} has the channels 0 to {width - 1}")
    norms = [patch_norms(record) for record in records]
    outliers = [
        {
            "block": number,
            "row": outlier.row,
            "column": outlier.column,
            "pixel": pixel_of(outlier, grid.shape, image_bgr.shape[:2]),
            "norm": rounded([outlier.norm])[0],
            "times_median": rounded([outlier.ratio])[0],
        }
        for number, grid in enumerate(norms)
        for outlier in find_outliers(grid, args.outlier)
    ]
    facts = facts | {
        "blocks": list(names),
        "outlier_factor": args.outlier,
        "curves": {name: rounded(v) if v[0] is not None else None for name, v in norm_curves(records, args.outlier).items()},
        "outliers": outliers,
        "channels": {"block": block, "numbers": list(channels)},
    }
    paths = {suffix: target.with_name(target.name + suffix) for suffix in SUFFIXES}
    write_json(paths["_norms.json"], MADE_BY, facts)
    write_png(paths["_norms.png"], sheets.norms_sheet(names, records, image_bgr, args.colormap, args.outlier))
    write_png(paths["_histogram.png"], sheets.histograms_plot(names, records, args.outlier))
    write_png(paths["_curves.png"], sheets.curves_plot(names, records, args.outlier))
    title = f"{names[block]}: " + ("channels" if args.channels else "the channels that differ most between patches")
    sheet = sheets.channels_sheet(records[block], channels, image_bgr, args.colormap, heading=title)
    write_png(paths["_channels.png"], sheet)
    with atomic_file(paths["_norms.npz"]) as file:
        np.savez_compressed(file, **{f"block_{number}": grid for number, grid in enumerate(norms)})


def pixel_of(outlier, grid_hw: tuple[int, int], image_hw: tuple[int, int]) -> list[int]:
    """x and y of a patch's middle in the picture."""
    return [
        int((outlier.column + 0.5) * image_hw[1] / grid_hw[1]),
        int((outlier.row + 0.5) * image_hw[0] / grid_hw[0]),
    ]


def save_components(seen: dict, name: str, joint: Path, factor: float) -> None:
    """STEM_components.png of every picture, and a sheet of several. seen: {target: (picture, tokens h x w x C)}."""
    from experiments import block_norm_sheets as sheets
    from experiments.block_norms import fit_components

    components = fit_components([tokens.reshape(-1, tokens.shape[-1]) for _, tokens in seen.values()], factor)
    title = sheets.components_title(components, name, len(seen))
    for target, (picture, tokens) in seen.items():
        sheet = sheets.components_sheet([picture], [tokens], [target.name], components, title)
        write_png(target.with_name(target.name + "_components.png"), sheet)
    if len(seen) > 1:
        some = list(seen.items())[:JOINT_TILES]
        pictures, grids = zip(*(pair for _, pair in some), strict=True)
        sheet = sheets.components_sheet(pictures, grids, [target.name for target, _ in some], components, title)
        facts = {"block": name, "pictures": [target.name for target in seen], "explained": rounded(components.explained)}
        write_json(joint.with_name(joint.name + JOINT_SUFFIXES[0]), MADE_BY, facts)
        write_png(joint.with_name(joint.name + JOINT_SUFFIXES[1]), sheet)


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
