"""Depth maps as files. Every file is written under another name first, so that a result is complete or not there.

Besides the files of RESULT_FILES, STEM.json says what the numbers mean.
"""

import json
import os
import struct
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from ..errors import UserError
from ..predict import DepthMap
from .colour import Look, as_8bit, paint_depth
from .options import RESULT_FILES

PNG_HEADER_BYTES = 33  # the signature (8 bytes) and the IHDR chunk (25), which has to come first
JSON_SUFFIX = ".json"
LARGEST_CODE = 65535  # of 16 bits
PNG_TEXT = ("quantity", "nearest_is_largest", "scale", "offset", "formula")  # entries of STEM.json, in depth16 too


def save_depth(
    depth_map: DepthMap,
    image_bgr: np.ndarray,
    target: Path,
    *,
    kinds: Sequence[str],
    look: Look,
    facts: dict,
    ends: tuple[float, float] | None = None,
) -> list[Path]:
    """Write the files of these kinds (keys of RESULT_FILES) for one picture; returns their paths.

    target: the output path without suffix: its last part is STEM. image_bgr: the picture, H0 x W0 x 3.
    look, ends: how the depth is painted, see `paint_depth`. facts: more for STEM.json.

    depth16: value = png * scale + offset, with both in STEM.json and in the PNG's text. Values that are not finite have
    no code there; they become 0, and STEM.json counts them. Raises UserError where a file cannot be written.
    """
    depth = depth_map.depth
    finite = depth[np.isfinite(depth)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    sidecar = {
        **facts,
        "quantity": depth_map.quantity,
        "nearest_is_largest": depth_map.nearest_is_largest,
        **({"domain": depth_map.domain} if depth_map.domain else {}),
        "value_range": [bound if np.isfinite(bound) else None for bound in depth_map.value_range],
        "picture_size": {"height": depth.shape[0], "width": depth.shape[1]},
        "min": low,
        "max": high,
        "not_finite": depth.size - finite.size,
    }
    codes, colour_bgr = None, None
    if "depth16" in kinds:
        codes, scale, offset = to_16bit(depth, low, high)
        sidecar |= {"scale": scale, "offset": offset, "formula": "value = depth16 * scale + offset"}
    if "colour" in kinds or "side" in kinds:
        colour_bgr, _ = paint_depth(depth, look, nearest_is_largest=depth_map.nearest_is_largest, ends=ends)
        sidecar["look"] = asdict(look)

    make_folder(target.parent)
    paths = result_paths(target, kinds)
    for kind, path in paths.items():
        with atomic_file(path) as file:
            if kind == "json":
                text = json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n"
                file.write(text.encode(errors="backslashreplace"))  # names of files need not be Unicode
            elif kind == "npy":
                np.save(file, depth)
            elif kind == "depth16":
                file.write(add_png_text(encode_png(codes, path), {key: sidecar[key] for key in PNG_TEXT}))
            elif kind == "colour":
                file.write(encode_png(colour_bgr, path))
            elif kind == "side":
                file.write(encode_png(side_by_side(as_8bit(image_bgr), colour_bgr), path))
            elif kind == "pfm":
                write_pfm(file, depth)
    return list(paths.values())


def result_paths(target: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """The files of one result by their kind. "json" comes first: it marks the others as ours, should they stay few."""
    suffixes = {"json": JSON_SUFFIX} | {kind: RESULT_FILES[kind] for kind in kinds}
    return {kind: target.with_name(target.name + suffix) for kind, suffix in suffixes.items()}


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes its name only when the block ends well, and otherwise leaves nothing behind."""
    temporary = path.with_name(f".plain_dpt_{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def domains_line(domains: Mapping[str, int]) -> str:
    """How many pictures a model with bins for several kinds of pictures took as which, for the end of a run."""
    return "taken as " + ", ".join(f"{domain}: {count}" for domain, count in domains.items())


def make_folder(folder: Path) -> None:
    """Create a folder to write into, with its parents, unless it is there. Raises UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder}: is a file; expected a folder for the results, or a free name") from None
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be made ({error.strerror or error})") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: there is no permission to write into this folder")


def to_16bit(depth: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float, float]:
    """uint16 codes, scale and offset, so that code * scale + offset is the depth to within half a scale.

    >>> codes, scale, offset = to_16bit(np.float32([[1, 2, 5]]), 1.0, 5.0)
    >>> (codes * scale + offset).round(4).tolist()
    [[1.0, 2.0, 5.0]]
    """
    scale = (high - low) / LARGEST_CODE or 1.0
    steps = (depth.astype(np.float64) - low) / scale
    codes = np.where(np.isfinite(steps), steps, 0).round().clip(0, LARGEST_CODE).astype(np.uint16)
    return codes, scale, low


def encode_png(image: np.ndarray, path: Path) -> bytes:
    """The bytes of a PNG. path: for the error's sake."""
    try:
        done, encoded = cv2.imencode(".png", image)
    except cv2.error as error:
        raise UserError(f"{path}: cannot be encoded as PNG ({error.err})") from error
    if not done:
        raise UserError(f"{path}: a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be encoded as PNG")
    return encoded.tobytes()


def add_png_text(png: bytes, text: dict) -> bytes:
    """The PNG with one tEXt chunk per entry (keyword and value, Latin-1), which viewers and libraries show."""
    chunks = b""
    for keyword, value in text.items():
        body = b"tEXt" + keyword.encode("latin-1") + b"\0" + str(value).encode("latin-1")
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:PNG_HEADER_BYTES] + chunks + png[PNG_HEADER_BYTES:]


def write_pfm(file: BinaryIO, depth: np.ndarray) -> None:
    """Portable float map: one channel ("Pf"), little-endian (the scale's minus), rows from the bottom upwards."""
    height, width = depth.shape
    file.write(f"Pf\n{width} {height}\n-1.0\n".encode())
    file.write(np.ascontiguousarray(depth[::-1], dtype="<f4"))


def side_by_side(image_bgr: np.ndarray, colour_bgr: np.ndarray) -> np.ndarray:
    """Picture, a white gap and depth, in one uint8 picture."""
    height, width = image_bgr.shape[:2]
    gap = np.full((height, min(50, 1 + width // 20), 3), 255, np.uint8)
    return np.hstack([image_bgr, gap, colour_bgr])


def plan_targets(relatives: Sequence[Path], output_folder: Path) -> list[Path]:
    """For each picture's relative path its output path without suffix: sub-folders are kept, no two are the same.

    Pictures that would share a name, on any file system (a.png and a.jpg, A.png and a.png), get their type appended
    (a_png, a_jpg), and a number where that is not enough. Names that are unique stay as they are.
    """

    def sameness(path: Path) -> str:
        return unicodedata.normalize("NFC", str(path)).casefold()

    bare = [relative.with_name(relative.stem) for relative in relatives]
    counts = Counter(sameness(path) for path in bare)
    taken = set(counts)
    targets = []
    for path, relative in zip(bare, relatives, strict=True):
        if counts[sameness(path)] > 1:
            typed = path.with_name(f"{path.name}_{relative.suffix[1:] or 'file'}")
            path, number = typed, 1
            while sameness(path) in taken:
                number += 1
                path = typed.with_name(f"{typed.name}_{number}")
            taken.add(sameness(path))
        targets.append(output_folder / path)
    return targets


def free_target(target: Path, kinds: Sequence[str]) -> Path:
    """This output path, with a number appended where files of that name are there already."""
    number, free = 1, target
    while any(path.exists() for path in result_paths(free, kinds).values()):
        number += 1
        free = target.with_name(f"{target.name}_{number}")
    return free


def check_overwriting(targets: Iterable[Path], kinds: Sequence[str]) -> None:
    """Raises UserError where a result would replace a file that is none: -o may point among the user's own files."""
    for target in targets:
        paths = result_paths(target, kinds)
        existing = [path for path in paths.values() if path.exists()]
        if existing and not is_our_json(paths["json"]):
            raise UserError(f"{existing[0]}: exists and is no former result; choose another folder with -o")


def is_former_result(path: Path) -> bool:
    """Whether this is a picture that `save_depth` wrote: by its name, and by the STEM.json beside it."""
    for suffix in RESULT_FILES.values():
        if suffix.endswith(".png") and path.name.endswith(suffix):
            return is_our_json(path.with_name(path.name.removesuffix(suffix) + JSON_SUFFIX))
    return False


def is_our_json(path: Path) -> bool:
    """Whether this is the STEM.json of a result."""
    try:
        sidecar = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(sidecar, dict) and "nearest_is_largest" in sidecar
