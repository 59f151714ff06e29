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
ENGINES = ("onnxruntime", "openvino")
ENGINE_DTYPES = ("float32", "bfloat16")
DOMAINS = ("indoor", "outdoor")  # what a model with a router chooses between

# What --save of run_video.py takes, and what it writes for a video called STEM.
VIDEO_RESULTS = {"mp4": "_depth.mp4", "npz": "_depth.npz", "depth16": "_depth16"}
NORMALISATIONS = ("clip", "ema", "frame", "range")  # see lib/demo/video_normalise.py


def positive_float(text: str) -> float:
    """A finite number above zero, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above zero, not {text!r}")
    return number


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


def add_webcam_option(parser: argparse.ArgumentParser) -> None:
    """--use_webcam: a camera's number, or None without it."""
    parser.add_argument(
        "--use_webcam",
        type=camera_number,
        nargs="?",
        const=0,
        metavar="INDEX",
        help="pictures of a camera instead: 0 (without INDEX) for the first one",
    )


def camera_number(text: str) -> int:
    """A whole number, zero or above, for argparse."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected the number of a camera, 0 for the first one, not {text!r}")
    return int(text)


def add_tiled_option(parser: argparse.ArgumentParser) -> None:
    """--tiled: None without it, 0 without a number."""
    parser.add_argument(
        "--tiled",
        type=positive_int,
        nargs="?",
        const=0,
        metavar="N",
        help="more detail for large pictures: N x N overlapping tiles beside the whole picture, N * N + 1 runs "
        "(without N: as many as it takes to show the network every pixel, within reason)",
    )


def add_model_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Which model, where it runs, and at what size. several: -m takes a list."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m",
        "--model_path",
        nargs="+" if several else None,
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
    add_engine_options(parser)
    add_zoedepth_options(parser)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Who runs the network on the CPU, instead of PyTorch; see lib/demo/engines.py."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        choices=ENGINES,
        help="faster on CPUs: the network is exported once and kept ($PLAIN_DPT_CACHE, or the user's cache folder). "
        "ONNX files (-m model.onnx) always run so",
    )
    group.add_argument(
        "--engine_dtype",
        choices=ENGINE_DTYPES,
        default=ENGINE_DTYPES[0],
        help="bfloat16: faster and less exact, with openvino on CPUs that have it (%(default)s)",
    )


def add_zoedepth_options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen for ZoeDepth models alone, see lib/demo/model.py."""
    group = parser.add_argument_group("ZoeDepth models")
    group.add_argument(
        "--no_flip",
        action="store_true",
        help="do not average with the prediction of the mirrored picture: half the time, a little less exact",
    )
    group.add_argument("--no_pad", action="store_true", help="do not put a border of mirrored picture around it")
    group.add_argument(
        "--domain", choices=DOMAINS, help="NK models: for which pictures, instead of the model's own choice for each one"
    )
    group.add_argument(
        "--metric_range",
        type=positive_float,
        metavar="METRES",
        help="K models: how far their range goes (default: 10, as the release's; they were trained with 80)",
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


def add_output_option(parser: argparse._ActionsContainer) -> None:
    """-o: a folder, or None for a window. parser: or one of its groups."""
    parser.add_argument("-o", "--output_folder", metavar="FOLDER", help="write results here, and open no window")


def add_save_options(parser: argparse.ArgumentParser) -> None:
    """Where results go and which files they are."""
    group = parser.add_argument_group("results")
    add_output_option(group)
    group.add_argument(
        "--save",
        nargs="+",
        choices=RESULT_FILES,
        default=list(DEFAULT_SAVE),
        help="any of: npy (float32, the model's own quantity), depth16 (16-bit PNG with scale and offset), colour, "
        f"side (picture beside depth), pfm (float32); default: {' '.join(DEFAULT_SAVE)}",
    )
