"""Depth of a video as files: a video in colours, all numbers in one .npz, or a folder of 16-bit pictures.

Beside them, STEM.json says what the numbers mean. All of them hold the frames done when a run is interrupted.
"""

import csv
import json
import math
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..predict import DepthMap
from .frames import VIDEO_SUFFIXES, FrameSource
from .model import LoadedModel
from .options import VIDEO_RESULTS
from .save import (
    JSON_SUFFIX,
    LARGEST_CODE,
    add_png_text,
    atomic_file,
    encode_png,
    is_our_json,
    make_folder,
    side_by_side,
    to_16bit,
)
from .video_pipeline import DepthFrame
from .video_writer import VideoWriter

FRAME_TABLE = "frames.csv"  # in the folder of depth16
FRAME_NAME = re.compile(r"\d{6,}\.png")


def plan_paths(output: str, name: str, kinds: Sequence[str], *, inputs: Sequence[str] = ()) -> dict[str, Path]:
    """Where each kind of result goes, and "json". output: a folder, or the name of an .mp4. name: of the video.

    Raises UserError for other kinds of videos, and where one of the inputs, or something that is no former result, would
    be overwritten.
    """
    path = Path(os.path.expanduser(output))
    if path.suffix.lower() == ".mp4" and not path.is_dir():
        stem = path.with_suffix("")
        paths = {kind: stem.with_name(stem.name + VIDEO_RESULTS[kind]) for kind in kinds}
        if "mp4" in kinds:
            paths["mp4"] = path
    elif path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
        raise UserError(f"-o {output}: the video is written as .mp4; pass such a name, or a folder")
    else:
        stem = path / safe_name(name)
        paths = {kind: path / f"{stem.name}{VIDEO_RESULTS[kind]}" for kind in kinds}
    paths["json"] = stem.with_name(stem.name + JSON_SUFFIX)
    existing = [path for path in paths.values() if path.exists()]
    for given in inputs:
        if any(os.path.exists(given) and path.samefile(given) for path in existing):
            raise UserError(f"-o {output}: this is the input, which would be overwritten; choose another name")
    if existing and not is_our_json(paths["json"]):
        raise UserError(f"{existing[0]}: exists and is no former result; choose another name with -o")
    return paths


def safe_name(name: str) -> str:
    """A name that may be a file's: "camera 0" stays, "a/b" does not."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name) or "video"


class VideoOutput:
    """Writes every frame that it is given, until it is closed: at the end, or with the frames done so far.

    model: where the depth comes from. side: the mp4 shows each picture beside its depth. facts: more for STEM.json.
    """

    def __init__(self, paths: dict[str, Path], source: FrameSource, model: LoadedModel, *, side: bool, facts: dict):
        self.paths, self.source, self.model, self.side, self.facts = paths, source, model, side, facts
        self.frames, self.complete = 0, False
        self.domains = Counter()  # of models that choose one for each frame: how many frames each had
        make_folder(paths["json"].parent)
        self.mp4 = VideoWriter(paths["mp4"], frame_rate=source.frame_rate) if "mp4" in paths else None
        self.npz = NpzWriter(paths["npz"]) if "npz" in paths else None
        self.depth16 = Depth16Writer(paths["depth16"]) if "depth16" in paths else None
        self.meaning = {}

    def write(self, result: DepthFrame) -> None:
        """One more frame. Raises UserError where it cannot be written."""
        depth_map, frame = result.depth_map, result.frame
        if self.frames == 0:
            self.meaning = {**self.model.facts(depth_map.depth), **meaning_of(depth_map)}
            self.write_json()  # at once: it marks the other files as ours
        if depth_map.domain is not None:
            self.domains[depth_map.domain] += 1
        if self.mp4 is not None:
            picture = side_by_side(frame.image_bgr, result.colour_bgr) if self.side else result.colour_bgr
            self.mp4.write(picture, seconds=frame.seconds)
        if self.npz is not None:
            self.npz.write(depth_map, frame.index, frame.seconds)
        if self.depth16 is not None:
            self.depth16.write(depth_map, frame.index, frame.seconds)
        self.frames += 1

    def close(self) -> None:
        """Finishes all files; each of them, even if another one cannot be."""
        try:
            if self.mp4 is not None:
                self.mp4.close()
        finally:
            try:
                if self.npz is not None:
                    self.npz.close({**self.meaning, "frame_rate": self.source.frame_rate})
            finally:
                if self.depth16 is not None:
                    self.depth16.close()
                if self.frames:
                    self.write_json()

    def write_json(self) -> None:
        """STEM.json, with how far the run has come."""
        sidecar = {
            **self.facts,
            **self.meaning,
            "frame_rate": self.source.frame_rate,
            "frames": self.frames,
            "skipped": self.source.skipped,
            "complete": self.complete,
            **({"domains": dict(self.domains)} if self.domains else {}),
        }
        if self.depth16 is not None:
            sidecar["formula"] = "value = depth16 * scale + offset"
        with atomic_file(self.paths["json"]) as file:
            file.write((json.dumps(sidecar, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))

    def __enter__(self) -> "VideoOutput":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def meaning_of(depth_map: DepthMap) -> dict:
    """What a depth map's numbers mean, as STEM.json says it."""
    return {
        "quantity": depth_map.quantity,
        "nearest_is_largest": depth_map.nearest_is_largest,
        "value_range": [bound if math.isfinite(bound) else None for bound in depth_map.value_range],
        "picture_size": dict(zip(("height", "width"), depth_map.depth.shape, strict=True)),
    }


class NpzWriter:
    """An .npz that grows frame by frame, on the disk instead of in memory: T frames, H0 x W0.

    depth: T x H0 x W0 float32, the model's own values. index, seconds: T, which frame each is, and when it is shown.
    frame_rate, quantity, nearest_is_largest, value_range: what they mean.
    """

    def __init__(self, path: Path):
        self.path, self.frames = path, []
        self.part = path.with_name(f"{path.stem}.{os.getpid()}.part")
        self.file = None

    def write(self, depth_map: DepthMap, index: int, seconds: float) -> None:
        try:
            if self.file is None:
                self.file, self.shape = open(self.part, "wb"), depth_map.depth.shape  # noqa: SIM115 closed by close()
            self.file.write(np.ascontiguousarray(depth_map.depth, dtype="<f4"))
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        self.frames.append((index, seconds))

    def close(self, meaning: dict) -> None:
        if self.file is None:
            return
        try:
            self.file.truncate(len(self.frames) * math.prod(self.shape) * 4)  # without a frame that did not fit any more
            self.file.close()
            with atomic_file(self.path) as target, zipfile.ZipFile(target, "w") as archive:
                with archive.open("depth.npy", "w", force_zip64=True) as member, open(self.part, "rb") as values:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.frames), *self.shape)}
                    np.lib.format.write_array_header_2_0(member, header)
                    shutil.copyfileobj(values, member, 1 << 20)
                index, seconds = zip(*self.frames, strict=True)
                low, high = meaning["value_range"]
                arrays = {
                    "index": np.array(index),
                    "seconds": np.array(seconds),
                    "frame_rate": np.array(meaning["frame_rate"]),
                    "quantity": np.array(meaning["quantity"]),
                    "nearest_is_largest": np.array(meaning["nearest_is_largest"]),
                    "value_range": np.array([low, np.inf if high is None else high]),
                }
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w") as member:
                        np.save(member, array)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        finally:
            with suppress(OSError):
                self.file.close()
            with suppress(OSError):
                self.part.unlink(missing_ok=True)


class Depth16Writer:
    """A folder of 16-bit PNGs, one for each frame, and a table of their scales and offsets.

    Metres have one scale for all frames and the offset 0, so that the pictures are comparable as they are. Other quantities
    have no bound that is known beforehand, and each picture its own scale and offset (in its text and in the table).
    """

    def __init__(self, folder: Path):
        make_folder(folder)
        self.folder = folder
        for leftover in folder.iterdir():  # of a former run, maybe of a longer clip
            if FRAME_NAME.fullmatch(leftover.name):
                leftover.unlink()
        self.table = open(folder / FRAME_TABLE, "w", newline="", encoding="ascii")  # noqa: SIM115 closed by close()
        self.rows = csv.writer(self.table)
        self.rows.writerow(["file", "index", "seconds", "scale", "offset"])

    def write(self, depth_map: DepthMap, index: int, seconds: float) -> None:
        depth, (low, high) = depth_map.depth, depth_map.value_range
        if not math.isfinite(high):
            finite = depth[np.isfinite(depth)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        codes, scale, offset = to_16bit(depth, low, high)
        path = self.folder / f"{index:06d}.png"
        text = {
            "quantity": depth_map.quantity,
            "nearest_is_largest": depth_map.nearest_is_largest,
            "scale": scale,
            "offset": offset,
            "formula": f"value = png * scale + offset, {LARGEST_CODE} at most",
        }
        with atomic_file(path) as file:
            file.write(add_png_text(encode_png(codes, path), text))
        self.rows.writerow([path.name, index, f"{seconds:.6f}", scale, offset])
        self.table.flush()

    def close(self) -> None:
        self.table.close()
