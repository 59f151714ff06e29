"""Pictures and videos in 3D: in the browser, or (with --export, --screenshot, --turntable) as files."""

import argparse
import sys
from collections.abc import Sequence

from lib.demo.options import (
    COLOUR_MAPS,
    add_crop_option,
    add_input_option,
    add_model_options,
    add_tiled_option,
    add_webcam_option,
    positive_int,
)
from lib.demo.script import run_script
from lib.errors import UserError


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="In the browser: run_3dviewer.py -i photo.jpg; a file: run_3dviewer.py -i photo.jpg --export photo.glb",
    )
    add_input_option(parser, expected="pictures (files, folders with their sub-folders, glob patterns), or one video")
    add_webcam_option(parser)
    add_crop_option(parser)
    parser.add_argument(
        "-k",
        "--mask_path",
        metavar="PATH",
        help="show only what is white (or opaque) in this picture; a folder: in its picture of the same name",
    )
    add_scene_options(parser)
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="localhost", help="where to listen (%(default)s: this machine alone)")
    group.add_argument("--port", type=int, default=8080, help="(%(default)s, or the next one that is free)")
    group.add_argument("-l", "--launch", action="store_true", help="open the page in the default browser")
    group = parser.add_argument_group("files instead of a server")
    group.add_argument(
        "--export",
        nargs="+",
        metavar="OUT",
        help="write .glb (mesh with the picture), .ply (points), .obj (mesh with colours), .png (metres in 16 bits) or "
        ".npy (metres); with several pictures, rooms.glb becomes a folder rooms/ with a .glb each",
    )
    group.add_argument("--screenshot", metavar="OUT.png", help="write a picture of the scene from a little aside")
    group.add_argument("--turntable", metavar="OUT.mp4", help="write a video that swings around the scene")
    add_tiled_option(parser)
    add_model_options(parser)
    return parser.parse_args(arguments)


def add_scene_options(parser: argparse.ArgumentParser) -> None:
    """How the scene begins; on the page, everything can be changed."""
    group = parser.add_argument_group("scene")
    group.add_argument(
        "--near",
        type=float,
        metavar="METRES",
        help="relative models: distance of the nearest value; metric ones: leave out what is nearer",
    )
    group.add_argument(
        "--far",
        type=float,
        metavar="METRES",
        help="relative models: distance of the farthest value; metric ones: leave out what is farther",
    )
    group.add_argument("--scale", type=float, metavar="FACTOR", help="of the values, before they become metres (1)")
    group.add_argument("--shift", type=float, metavar="VALUE", help="added to the values after the scale (0)")
    group.add_argument(
        "--fov",
        type=float,
        metavar="DEGREES",
        help="angle that the picture covers from left to right (default: from EXIF, else 60 degrees across the longer side)",
    )
    group.add_argument("--shape", choices=("mesh", "points"), help="(default: mesh for pictures, points for videos)")
    group.add_argument(
        "--colour_by", choices=("picture", "depth", "normals"), default="picture", help="what to paint with (%(default)s)"
    )
    group.add_argument("--colormap", choices=COLOUR_MAPS, default=COLOUR_MAPS[0], help="colours of depth (%(default)s)")
    group.add_argument(
        "--edge",
        type=float,
        metavar="SHARE",
        help="tear where depth jumps by more than this from pixel to pixel (0.06; from 1 on: nowhere)",
    )
    group.add_argument(
        "--step", type=positive_int, metavar="N", help="keep every N-th row and column (default: by the picture's size)"
    )
    group.add_argument(
        "--smoothing", type=float, default=0.0, metavar="STRENGTH", help="even out small differences, 0 to 1 (%(default)s)"
    )
    group.add_argument("--background", choices=("dark", "light", "grey", "black"), default="dark", help="(%(default)s)")


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if pictures had to be skipped. Raises UserError with one sentence for everything else."""
    from lib.demo.viewer_app import check_options, export_all, serve_page

    check_options(args)
    if args.export or args.screenshot or args.turntable:
        return export_all(args)
    try:
        import viser  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the page needs the package viser ({error}): pip install -r requirements.txt, or write files with --export"
        ) from error
    return serve_page(args)


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
