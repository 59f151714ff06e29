"""Depth of pictures: into files (with -o), or in a window (without)."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lib.demo.options import (
    add_crop_option,
    add_display_options,
    add_input_option,
    add_model_options,
    add_save_options,
    add_tiled_option,
    positive_int,
)
from lib.demo.samples import SAMPLE_PICTURE
from lib.demo.script import out_of_memory_message, run_script
from lib.errors import UserError


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="A window: run_image.py -i photo.jpg; files: run_image.py -i holidays/ -o depths/ --save npy colour",
    )
    add_input_option(parser, expected="pictures: files, folders (with their sub-folders) or glob patterns; default: a sample")
    add_crop_option(parser)
    add_save_options(parser)
    parser.add_argument(
        "--batch_size",
        type=positive_int,
        default=1,
        metavar="N",
        help="with -o: how many pictures of one network size run at once (%(default)s)",
    )
    add_tiled_option(parser)
    add_model_options(parser)
    add_display_options(parser)
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    if args.image_path is None:
        args.image_path = [str(SAMPLE_PICTURE)]
    if args.crop and args.output_folder is not None:
        raise UserError("--crop asks for a region in a window, and -o opens none: leave one of them out")
    # OpenCV and PyTorch are imported from here on, so that --help and simple mistakes are answered at once.
    from lib.demo.pictures import find_pictures

    files = find_pictures(args.image_path, excluded_folder=args.output_folder)
    return save_all(args, files) if args.output_folder is not None else show(args, files)


def save_all(args: argparse.Namespace, files: list) -> int:
    """Write the depth of every picture below args.output_folder; the exit code says whether any was skipped."""
    from tqdm import tqdm

    from lib.demo.colour import Look
    from lib.demo.model import load_model
    from lib.demo.pictures import read_in_batches
    from lib.demo.save import check_overwriting, domains_line, make_folder, plan_targets, save_depth

    output_folder = Path(args.output_folder)
    targets = dict(zip(files, plan_targets([file.relative for file in files], output_folder), strict=True))
    make_folder(output_folder)
    check_overwriting(targets.values(), args.save)

    model = load_model(args)
    look = Look(colour_map=args.colormap)
    skipped, domains = 0, Counter()
    with tqdm(total=len(files), unit="picture") as progress:

        def skip(reason: str) -> None:
            nonlocal skipped
            skipped += 1
            progress.write(f"Skipped: {reason}", file=sys.stderr)
            progress.update()

        for batch in read_in_batches(files, network_size=model.network_size, batch_size=args.batch_size, report=skip):
            try:
                depth_maps = model.predict([image_bgr for _, image_bgr in batch])
            except Exception as error:
                message = out_of_memory_message(error)
                for file, _ in batch:
                    skip(f"{file.path}: {message}")
                continue
            for (file, image_bgr), depth_map in zip(batch, depth_maps, strict=True):
                facts = {"picture": file.relative.as_posix(), **model.facts(image_bgr)}
                save_depth(depth_map, image_bgr, targets[file], kinds=args.save, look=look, facts=facts)
                domains[depth_map.domain] += 1
                progress.update()
    print(f"{len(files) - skipped} done, {skipped} skipped; results are in {output_folder}")
    if set(domains) - {None}:
        print(domains_line(domains))
    return 1 if skipped else 0


def show(args: argparse.Namespace, files: list) -> int:
    """Show the pictures in a window; the exit code says whether any could not be read."""
    from lib.demo.display import require_display

    require_display()  # before the weights are read
    from lib.demo.model import load_model
    from lib.demo.window import DepthWindow

    window = DepthWindow(
        files,
        load_model(args),
        display_size=args.display_size,
        colour_map=args.colormap,
        crop=args.crop,
        save_kinds=args.save,
    )
    return window.run()


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
