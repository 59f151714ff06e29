"""What the scripts that open a model up share: options, going through the pictures, writing results.

The scripts with a section in experiments/README.md use it. Nothing here
imports torch, numpy or OpenCV at once, so that `--help` is instant.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.demo.options import add_display_options, add_input_option, add_model_options, add_output_option
from lib.demo.samples import SAMPLE_PICTURE
from lib.errors import PictureError, UserError

if TYPE_CHECKING:
    import numpy as np

    from lib.demo.model import LoadedModel
    from lib.demo.pictures import PictureFile
    from lib.dpt_model import DPTModel

WINDOW_FOLDER = Path("results")  # where windows save


def add_inspection_options(parser: argparse.ArgumentParser, *, several_models: bool = False) -> None:
    """-i, -o and the options of the model and the window, as in run_image.py."""
    add_input_option(parser, expected="pictures: files, folders (with their sub-folders) or glob patterns; default: a sample")
    add_output_option(parser)
    add_model_options(parser, several=several_models)
    add_display_options(parser)


def refuse_engine(args: argparse.Namespace) -> None:
    """Raises UserError for --engine, in scripts that look inside the network: before the export, which takes minutes."""
    if args.engine is not None:
        raise UserError(f"--engine {args.engine}: this script looks inside the model, and an engine does not allow it")


def find_files(args: argparse.Namespace, *results: Sequence[str]) -> "list[PictureFile]":
    """The pictures of -i without former results, which end in one of these groups of suffixes; see `is_our_result`.

    Raises UserError where there are none, and where a window is wanted and there is no screen: before weights are read.
    """
    from lib.demo.display import require_display
    from lib.demo.pictures import find_pictures

    if args.image_path is None:
        args.image_path = [str(SAMPLE_PICTURE)]
    found = find_pictures(args.image_path, excluded_folder=args.output_folder)
    are_results = [any(is_our_result(file.path, suffixes) for suffixes in results) for file in found]
    files = [file for file, is_result in zip(found, are_results, strict=True) if len(found) == 1 or not is_result]
    if not files:
        raise UserError(f"{', '.join(args.image_path)}: nothing but results of former runs there")
    if args.output_folder is None:
        require_display()
    return files


def is_our_result(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether a file has one of these suffixes behind a stem, and the JSON file that is written with them is there.

    suffixes: the JSON file's first.
    """
    endings = [suffix for suffix in suffixes if path.name.endswith(suffix)]
    return any(is_our_json(path.with_name(path.name.removesuffix(suffix) + suffixes[0])) for suffix in endings)


def is_our_json(path: Path) -> bool:
    """Whether one of these scripts wrote it."""
    try:
        return "made_by" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def save_each(
    args: argparse.Namespace,
    files: "Sequence[PictureFile]",
    *,
    model: "LoadedModel",
    suffixes: Sequence[str],
    save: "Callable[[PictureFile, np.ndarray, Path], None]",
) -> int:
    """Calls save(file, image_bgr, target) for every picture; returns how many had to be skipped, each with its reason.

    target: the path of the results without their suffixes. Raises UserError before anything is written where results would
    replace files that are none.
    """
    from tqdm import tqdm

    from lib.demo.pictures import read_picture
    from lib.demo.save import make_folder, plan_targets
    from lib.demo.script import out_of_memory_message

    targets = plan_targets([file.relative for file in files], Path(args.output_folder))
    make_folder(Path(args.output_folder))
    for target in targets:
        check_free(target, suffixes)
    skipped = 0
    for file, target in zip(tqdm(files, unit="picture"), targets, strict=True):
        try:
            image_bgr = read_picture(file.path)
            model.network_size(*image_bgr.shape[:2])  # refuses some shapes
            make_folder(target.parent)
            save(file, image_bgr, target)
        except PictureError as error:
            skipped += 1
            named = str(error) if str(file.path) in str(error) else f"{file.path}: {error}"
            tqdm.write(f"Skipped: {named}", file=sys.stderr)
        except UserError:
            raise
        except Exception as error:
            skipped += 1
            tqdm.write(f"Skipped: {file.path}: {out_of_memory_message(error)}", file=sys.stderr)
    print(f"{len(files) - skipped} done, {skipped} skipped; results are in {args.output_folder}")
    return skipped


def check_free(target: Path, suffixes: Sequence[str]) -> None:
    """Raises UserError where a result would replace a file that is none."""
    paths = [target.with_name(target.name + suffix) for suffix in suffixes]
    existing = [path for path in paths if path.exists()]
    if existing and not is_our_json(paths[0]):
        raise UserError(f"{existing[0]}: exists and is no former result; choose another folder with -o")


def free_target(target: Path, suffixes: Sequence[str]) -> Path:
    """This path without suffix, with a number appended where results of that name are there already."""
    number, free = 1, target
    while any(free.with_name(free.name + suffix).exists() for suffix in suffixes):
        number += 1
        free = target.with_name(f"{target.name}_{number}")
    return free


def write_json(path: Path, made_by: str, facts: dict) -> None:
    """Facts as JSON, marked as a result of this script."""
    from lib.demo.save import atomic_file

    with atomic_file(path) as file:
        text = json.dumps({"made_by": made_by, **facts}, indent=1, ensure_ascii=False) + "\n"
        file.write(text.encode(errors="backslashreplace"))


def write_png(path: Path, image: "np.ndarray") -> None:
    """A PNG under its name, whole or not at all."""
    from lib.demo.save import atomic_file, encode_png

    with atomic_file(path) as file:
        file.write(encode_png(image, path))


def block_number(text_or_number: int | None, names: Sequence[str], *, default: int = -1) -> int:
    """A block's number from 0; negative ones count from the end. Raises UserError for one that is not there."""
    number = default if text_or_number is None else text_or_number
    if not -len(names) <= number < len(names):
        raise UserError(f"--block {number}: this model's blocks are 0 ({names[0]}) to {len(names) - 1} ({names[-1]})")
    return number % len(names)


def names_of_blocks(dpt_model: "DPTModel") -> list[str]:
    """What the blocks are called, by their numbers."""
    from experiments.recorder import find_blocks

    return [block.name for block in find_blocks(dpt_model)]


def network_input(model: "LoadedModel", image_bgr: "np.ndarray", max_side_length: int | None = None):
    """The picture's tensor for the model, sized by the options."""
    side = max_side_length or model.max_side_length
    return model.dpt_imgproc.prepare_image_bgr(image_bgr, side, model.use_square_sizing)


def seen_picture(model: "LoadedModel", image_bgr: "np.ndarray") -> "np.ndarray":
    """The 8-bit picture that the patch grid covers: the picture itself, or with the margin that the release pads with."""
    import cv2

    from lib.demo.colour import as_8bit

    image_bgr = as_8bit(image_bgr)
    is_padded = model.dpt_imgproc.rule.fit == "pad" and model.max_side_length is None and not model.use_square_sizing
    if not is_padded:
        return image_bgr
    down, across = (
        size - side for size, side in zip(model.network_size(*image_bgr.shape[:2]), image_bgr.shape[:2], strict=True)
    )
    mean_bgr = [round(255 * value) for value in model.dpt_imgproc.rule.mean[::-1]]
    margins = (down // 2, down - down // 2, across // 2, across - across // 2)
    return cv2.copyMakeBorder(image_bgr, *margins, cv2.BORDER_CONSTANT, value=mean_bgr)


def rounded(values: Iterable[float], digits: int = 6) -> list[float]:
    """Numbers for a JSON file: so many significant digits."""
    return [float(f"{float(value):.{digits}g}") for value in values]
