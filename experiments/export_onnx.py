"""Write a model as an ONNX file that says what it predicts, and check the file against PyTorch.

    python experiments/export_onnx.py -m depth-anything-v2-small -o exported                      # one file for every size
    python experiments/export_onnx.py -m dpt-swin2-tiny-256 -o exported --precision float32 int8 --runtime onnxruntime openvino
    python experiments/export_onnx.py -m dpt-beit-base-384 -o exported --pictures                 # uint8 picture in, depth out

The largest error of any pixel is printed, in standard deviations of PyTorch's map. A float32 file that goes beyond
LARGEST_ERROR makes the exit code 1.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# The checkout, where `lib` is, instead of this folder, whose datasets.py would hide the Hugging Face package of that name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lib.demo.options import ENGINES, positive_int
from lib.demo.script import run_script
from lib.errors import UserError

PRECISIONS = ("float32", "float16", "int8")
LARGEST_ERROR = 1e-4  # of a float32 file, in standard deviations of PyTorch's map
LARGEST_ERROR_OF_BINS = 1e-2  # likewise for ZoeDepth, whose bins amplify rounding, in PyTorch as well
CHECKED_PICTURES = ((480, 640), (640, 480), (500, 500))  # height and width
BATCHES = (1, 2, 3)  # checked where the size is fixed


@dataclass(frozen=True)
class Check:
    """One run of a file: with which engine, on what, and the largest error in standard deviations of PyTorch's map.

    limit: what the error may be; None where it is only reported.
    """

    engine: str
    size: str
    error: float
    limit: float | None

    @property
    def passed(self) -> bool:
        return self.limit is None or self.error <= self.limit

    def __str__(self) -> str:
        verdict = "" if self.limit is None else "ok" if self.passed else f"TOO LARGE, expected at most {self.limit:g}"
        return f"  {self.engine:12} {self.size:16} error {self.error:.1e} standard deviations  {verdict}"


def size_argument(text: str) -> tuple[int, int]:
    """ "HEIGHTxWIDTH", for argparse."""
    height, _, width = text.lower().partition("x")
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in (height, width)):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH in pixels, for example 518x686, not {text!r}")
    return int(height), int(width)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, by default from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="Example: export_onnx.py -m depth-anything-v2-small -o exported --precision float32 int8 --pictures; "
        "then: run_image.py -m exported/FILE.onnx -i photo.jpg",
    )
    parser.add_argument("-m", "--model_path", metavar="MODEL", help="as for run_image.py")
    parser.add_argument("--model_type", metavar="TYPE", help="as for run_image.py")
    parser.add_argument("-o", "--output_folder", metavar="FOLDER", default="results", help="where the files go (%(default)s)")
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=["float32"], help="one file for each (%(default)s)"
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=size_argument,
        metavar="HxW",
        help="one file for each of these sizes of the network's input, for engines that need to know it "
        "(default: one file for all sizes)",
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="build in the preparation: a uint8 BGR picture in, a map of the picture's size out",
    )
    parser.add_argument(
        "-b",
        "--base_size_px",
        type=positive_int,
        metavar="PIXELS",
        help="with --pictures: bound the network input's longer side",
    )
    parser.add_argument("--square", action="store_true", help="with --pictures: a square network input")
    parser.add_argument("--no_pad", action="store_true", help="with --pictures, ZoeDepth models: no mirrored border")
    parser.add_argument("--no_flip", action="store_true", help="with --pictures, ZoeDepth models: no second, mirrored run")
    parser.add_argument(
        "--runtime", nargs="+", choices=ENGINES, default=["onnxruntime"], help="check the files with these (%(default)s)"
    )
    parser.add_argument(
        "--check_sizes",
        nargs="+",
        type=size_argument,
        metavar="HxW",
        help="sizes to check with, of the network's input (with --pictures: of pictures); default: as of three pictures",
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 if a float32 file does not compute what PyTorch does."""
    if (args.base_size_px or args.square) and not args.pictures:
        raise UserError("-b and --square are for --pictures; without, the file takes any size (or pass --sizes)")
    if args.sizes and (args.base_size_px or args.square):
        raise UserError("--sizes says the size already: leave -b and --square out")
    from dataclasses import replace

    from lib.demo.weights import find_weights
    from lib.image_processor import DPTImageProcessor
    from lib.make_dpt import make_dpt_from_state_dict, summary

    path = find_weights(args.model_path)
    config, dpt_model, dpt_imgproc = make_dpt_from_state_dict(path, model_type=args.model_type)
    from lib.demo.onnx_export import facts_of, require

    require("onnx", "onnxscript", *args.runtime)
    dpt_imgproc = DPTImageProcessor(dpt_imgproc.rule.without(padding=args.no_pad, flip=args.no_flip))
    facts = facts_of(
        dpt_model,
        config,
        dpt_imgproc.rule,
        weights=path.name,
        summary=summary(config),
        takes_pictures=args.pictures,
        max_side_length=args.base_size_px,
        use_square_sizing=args.square,
    )
    if args.sizes and facts.multiple is None and any(size != facts.fixed_hw for size in args.sizes):
        raise UserError(f"this model can only do {facts.fixed_hw[1]} x {facts.fixed_hw[0]} pixels: leave --sizes out")
    passed = True
    for fixed_hw in args.sizes or [facts.fixed_hw]:
        for precision in args.precision:
            variant = replace(facts, fixed_hw=fixed_hw, precision=precision)
            passed &= export_and_check(dpt_model, dpt_imgproc, variant, args)
    return 0 if passed else 1


def export_and_check(dpt_model, dpt_imgproc, facts, args: argparse.Namespace) -> bool:
    """Write one file and print how far every engine is from PyTorch; whether all is well."""
    from lib.demo.onnx_variants import export_variant

    endings = [facts.precision] * (facts.precision != "float32") + ["pictures"] * facts.takes_pictures
    if args.sizes:
        endings.insert(0, "{}x{}".format(*facts.fixed_hw))
    target = Path(args.output_folder) / ("_".join([facts.name, *endings]) + ".onnx")
    export_variant(dpt_model, target, facts)
    sizes = "{} x {} pixels".format(*facts.fixed_hw) if facts.fixed_hw else f"sides in multiples of {facts.multiple}"
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {facts.precision}, {sizes}, any batch; {facts.summary}")
    checks = [
        check
        for engine in args.runtime
        for check in run_checks(target, engine, dpt_model, dpt_imgproc, facts, args.check_sizes)
    ]
    print("\n".join(map(str, checks)))
    return all(check.passed for check in checks)


def run_checks(path: Path, engine: str, dpt_model, dpt_imgproc, facts, sizes: list | None) -> list[Check]:
    """Compare the file with PyTorch: at three sizes, or for three batches where the size is fixed."""
    import numpy as np
    import torch

    from lib.demo.engines import EngineModel, processor_of
    from lib.predict import predict_depth
    from lib.zoedepth import ZoeDepth

    model = EngineModel(path, engine=engine)
    limit = LARGEST_ERROR_OF_BINS if isinstance(dpt_model, ZoeDepth) else LARGEST_ERROR
    limit = limit if facts.precision == "float32" else None
    checks = []

    def compare(size: str, ours, expected) -> None:
        error = float(np.abs(np.asarray(ours) - np.asarray(expected)).max() / np.asarray(expected).std())
        checks.append(Check(engine, size, error, limit))

    if facts.takes_pictures:
        sizing = {"max_side_length": facts.max_side_length, "use_square_sizing": facts.use_square_sizing}
        exact_imgproc = dpt_imgproc
        if facts.fixed_hw:
            exact_imgproc, sizing = processor_of(fixed_network(facts), facts.rule), {}
        for height, width in sizes or CHECKED_PICTURES:
            image_bgr = test_picture(height, width)
            expected = predict_depth(dpt_model, exact_imgproc, image_bgr, **sizing, use_flip=False).depth
            ours = predict_depth(model, processor_of(facts, facts.rule), image_bgr).depth
            compare(f"{height} x {width}", ours, expected)
        return checks
    if facts.fixed_hw:
        inputs = [(batch, *facts.fixed_hw) for batch in BATCHES]
    else:
        inputs = [(1, *size) for size in sizes or [dpt_imgproc.network_size(*picture) for picture in CHECKED_PICTURES]]
    for batch, height, width in inputs:
        image_bgr = test_picture(height, width)
        rgb = (image_bgr[..., ::-1] / 255 - facts.rule.mean) / facts.rule.std
        image = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))  # H W 3 -> 1 3 H W
        images = torch.cat([image.roll(number * 7, dims=-1) for number in range(batch)])
        try:
            expected = dpt_model.inference(images)
        except ValueError as error:
            raise UserError(f"--check_sizes {height}x{width}: {error}") from error
        compare(f"{batch} x {height} x {width}", model.inference(images), expected)
    return checks


def fixed_network(facts):
    """The facts of the network inside a file that takes pictures."""
    from dataclasses import replace

    return replace(facts, takes_pictures=False)


def test_picture(height: int, width: int):
    """A picture with gradients, edges and texture, always the same: height x width x 3, BGR, uint8."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    image = cv2.resize(rng.uniform(0, 255, (6, 8, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        corner, size = rng.uniform(0, 0.8, 2), rng.uniform(0.05, 0.4, 2)
        top, left = (corner * (height, width)).astype(int)
        rows, columns = (size * (height, width)).astype(int) + 1
        image[top : top + rows, left : left + columns] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(run_script(main, parse_args()))
