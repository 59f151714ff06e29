"""Command-line options that the scripts share, each defined once.

Nothing here imports torch, numpy or OpenCV, so that `--help` is instant.
"""

import argparse

# Names that --colormap takes: OpenCV's, and two of our own (see lib/demo/colour.py).
COLOUR_MAPS = ("inferno", "spectral", "turbo", "viridis", "magma", "plasma", "cividis", "jet", "bone", "gray")

# What --save takes, and the file that it writes for a picture called STEM.
RESULT_FILES = {
    "npy": "_depth.npy",
    "depth16": "_depth16.png",
    "colour": "_colour.png",
    "side": "_side.png",
    "pfm": ".pfm",
}
DEFAULT_SAVE = ("npy", "depth16", "colour")


def positive_int(text: str) -> int:
    """A whole number above zero, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above zero, not {text!r}")
    return number


def add_input_option(parser: argparse.ArgumentParser, *, expected: str) -> None:
    """-i: one or several paths, or None. expected: what the script takes, for the help."""
    parser.add_argument("-i", "--image_path", nargs="+", metavar="PATH", help=expected)


def add_crop_option(parser: argparse.ArgumentParser) -> None:
    """--crop: choose a region with the mouse."""
    parser.add_argument(
        "--crop",
        action="store_true",
        help="first choose a region with the mouse, and use nothing else (needs a window)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, where it runs, and at what size."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m",
        "--model_path",
        metavar="MODEL",
        help="a weight file or folder, part of a file name in model_weights/, or a published name",
    )
    group.add_argument(
        "--model_type",
        metavar="TYPE",
        help="what the weights are, where neither they nor their name tell: for example depth-anything-v2",
    )
    group.add_argument("-d", "--device", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    group.add_argument(
        "-f32", "--use_float32", action="store_true", help="compute in float32 also where bfloat16 would be faster"
    )
    group.add_argument(
        "-b",
        "--base_size_px",
        type=positive_int,
        metavar="PIXELS",
        help="bound the longer side of the network's input (default: the size that the release uses)",
    )
    group.add_argument(
        "--square", action="store_true", help="make the network's input square, whatever the picture's shape"
    )
    group.add_argument(
        "-nc", "--no_cache", action="store_true", help="compute position encodings anew for every picture"
    )
    group.add_argument(
        "-z", "--no_optimization", action="store_true", help="plain softmax attention instead of PyTorch's fused one"
    )


def add_display_options(parser: argparse.ArgumentParser) -> None:
    """The window's size and its first colour map."""
    group = parser.add_argument_group("display")
    group.add_argument(
        "-s",
        "--display_size",
        type=positive_int,
        default=1200,
        metavar="PIXELS",
        help="width of the window (%(default)s)",
    )
    group.add_argument(
        "--colormap", choices=COLOUR_MAPS, default=COLOUR_MAPS[0], help="colours, near is bright or warm (%(default)s)"
    )


def add_save_options(parser: argparse.ArgumentParser) -> None:
    """Where results go and which files they are."""
    group = parser.add_argument_group("results")
    group.add_argument("-o", "--output_folder", metavar="FOLDER", help="write results here, and open no window")
    group.add_argument(
        "--save",
        nargs="+",
        choices=RESULT_FILES,
        default=list(DEFAULT_SAVE),
        help="any of: npy (float32, the model's own quantity), depth16 (16-bit PNG with scale and offset), colour, "
        f"side (picture beside depth), pfm (float32); default: {' '.join(DEFAULT_SAVE)}",
    )
