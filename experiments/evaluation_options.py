"""Options and data of the programs that evaluate, each defined once (`experiments/evaluation_options.py`).

Nothing here imports numpy or torch at once, so that `--help` is instant.
"""

import argparse
import sys

from experiments.protocols import ALIGNMENTS, CROPS, DEFAULT_PROTOCOLS, SILOG_NAMES, Protocol, choose_protocol
from lib.demo.options import positive_int
from lib.errors import UserError


def add_dataset_options(parser: argparse.ArgumentParser, *, with_split: bool = True) -> None:
    """Which pictures."""
    group = parser.add_argument_group("data set")
    group.add_argument("--dataset", choices=DEFAULT_PROTOCOLS, required=True, help="the layout of the files")
    group.add_argument("--data", required=True, metavar="PATH", help="its folder (for kitti also: its list file)")
    if with_split:
        group.add_argument("--split", choices=("test", "train"), default="test", help="if there are both (%(default)s)")
    group.add_argument("--scale", type=float, help="folder: metres per unit of its depth files (default: scale.json)")
    group.add_argument("--picture_root", metavar="FOLDER", help="kitti: where the list's pictures are (beside it)")
    group.add_argument("--depth_root", metavar="FOLDER", help="kitti: where the list's depth files are (beside it)")
    group.add_argument("--limit", type=positive_int, metavar="N", help="only the first N pictures")


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """How predictions are compared with truth; what is left out follows from the data set."""
    group = parser.add_argument_group("protocol (default: what is usual for the data set)")
    group.add_argument("--alignment", choices=ALIGNMENTS, help="default: none for metres, else inverse_depth")
    group.add_argument("--crop", choices=CROPS, help="the evaluated part of the picture")
    group.add_argument("--kb_crop", action=argparse.BooleanOptionalAction, help="first cut to KITTI's benchmark crop")
    group.add_argument("--min_depth", type=float, metavar="METRES", help="truth must be larger, predictions become so")
    group.add_argument("--max_depth", type=float, metavar="METRES", help="truth must be smaller, predictions become so")
    group.add_argument("--flip", action="store_true", help="average with the prediction of the mirrored picture")
    group.add_argument("--silog", choices=SILOG_NAMES, help=f"which definition of SILog ({SILOG_NAMES[0]})")


def protocol_of(args: argparse.Namespace) -> Protocol:
    """The protocol that the options ask for; its alignment may still be open (None)."""
    is_changed = args.alignment or args.crop or args.kb_crop or args.min_depth or args.max_depth
    if args.dataset == "da2k" and is_changed:
        raise UserError("da2k asks which of two points is nearer: there is nothing to align, to crop or to cap")
    return choose_protocol(
        args.dataset,
        alignment=args.alignment,
        crop=args.crop,
        kb_crop=args.kb_crop,
        min_depth=args.min_depth,
        max_depth=args.max_depth,
        flip=args.flip,
        silog=args.silog,
    )


def open_data(args: argparse.Namespace, *, split: str, path: str | None = None):
    """The data set of the options. path: instead of the options'."""
    from experiments.datasets import open_dataset

    roots = {"picture_root": args.picture_root, "depth_root": args.depth_root}
    return open_dataset(args.dataset, path or args.data, split=split, scale=args.scale, **roots)


def report_problems(dataset) -> None:
    """Print how much there is, and what is wrong with the data set's list."""
    for problem in dataset.problems:
        print(f"Skipped: {problem}", file=sys.stderr)
    print("; ".join([f"{dataset.path}: {len(dataset)} pictures", *dataset.remarks]))


def dataset_facts(dataset, split: str) -> dict:
    """What a result says about its data. Of the path only the last part: the rest is somebody's own machine."""
    return {"kind": dataset.kind, "folder": dataset.path.resolve().name, "split": split}
