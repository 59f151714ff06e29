"""Pictures for run_image.py, and what it makes of them."""

import struct
from pathlib import Path

import cv2
import numpy as np

import run_image
from lib.demo.script import run_script

from .conftest import make_picture

SIZE = 112  # of the network's input, for speed


def command_line(*arguments: object) -> int:
    """The exit code of run_image.py with these arguments, in this process."""
    return run_script(run_image.main, run_image.parse_args([str(argument) for argument in arguments]))


def run(weights: Path, image_paths: object, output: Path, *more: object) -> int:
    """The exit code of run_image.py for one path or a list of them, on the CPU and with small network inputs."""
    paths = image_paths if isinstance(image_paths, list) else [image_paths]
    return command_line("-i", *paths, "-o", output, "-m", weights, "-d", "cpu", "-b", SIZE, *more)


def write_picture(path: Path, image: np.ndarray | None = None) -> Path:
    """A picture in the format of its suffix, at any path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(path.suffix, make_picture(60, 80) if image is None else image)
    encoded.tofile(path)
    return path


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an APP1 segment that holds nothing but an EXIF orientation."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def names(folder: Path) -> set[str]:
    """Every file below a folder, as relative paths."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
