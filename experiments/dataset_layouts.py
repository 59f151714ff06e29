"""How each data set lies on disk: its list of pictures with truth, and what is wrong with that list.

`experiments/dataset_layouts.py` is what `open_dataset` in experiments/datasets.py reads: one function per layout, each
returning a `Listing`. Nothing is decoded here except csv and JSON, so that a list of fifty thousand pictures is there
at once.
"""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from experiments.truth_files import read_diode, read_nyu, read_png, read_scaled
from lib.demo.pictures import is_picture_name, natural_key
from lib.errors import UserError

KITTI_METRES = 1 / 256  # of one unit of a depth PNG
DEPTH_SUFFIXES = (".png", ".npy", ".tif", ".tiff")  # of a plain folder


@dataclass(frozen=True)
class Entry:
    """One picture of a list: its name, its file, and how to get its truth.

    read_truth: () -> H x W float32 metres with NaN where there is none. points: for ordered pairs instead, N x 2 x 2
    whole numbers: of each pair the nearer and the farther point, each as (row, column).
    """

    name: str
    image_path: Path
    read_truth: Callable[[], np.ndarray] | None = None
    points: np.ndarray | None = None


@dataclass
class Listing:
    """Entries, and a sentence for each row or file that could not become one. remarks: what is left out on purpose."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, name: str, image_path: Path, truth_path: Path, read_truth: Callable, *, where: object) -> None:
        """An entry if both files are there, else a problem that names `where` and the missing file."""
        for path in (image_path, truth_path):
            if not os.path.isfile(path):
                self.problems.append(f"{where}: no such file: {path}")
                return
        self.entries.append(Entry(name, image_path, partial(read_truth, truth_path)))


def list_nyu(path: Path, *, split: str) -> Listing:
    """NYU Depth V2 as on Kaggle: data/nyu2_train.csv and data/nyu2_test.csv, rows `rgb,depth` without a header.

    path: the folder that contains data/, or data/ itself. Paths in the rows are relative to the former.
    """
    root = path.parent if not (path / "data").is_dir() and (path / f"nyu2_{split}.csv").exists() else path
    list_path = (path if root != path else path / "data") / f"nyu2_{split}.csv"
    listing = Listing()
    for where, fields in csv_rows(list_path):
        if len(fields) != 2 or not all(fields):
            listing.problems.append(f"{where}: expected two paths, rgb,depth, not {','.join(fields)!r}")
            continue
        image, depth = (value.replace("\\", "/") for value in fields)
        listing.add(image, root / image, root / depth, read_nyu, where=where)
    return listing


def csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(file and line number, stripped fields) of each row that is not empty; LF or CRLF, byte order mark or not."""
    lines = read_lines(path)
    try:
        for number, row in enumerate(csv.reader(lines), start=1):
            if any(value.strip() for value in row):
                yield f"{path}:{number}", [value.strip() for value in row]
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as csv ({error})") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Names of files need not be UTF-8: other bytes survive as the system's own escapes."""
    try:
        return path.read_bytes().decode("utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def list_kitti(path: Path, *, split: str, picture_root: Path | None = None, depth_root: Path | None = None) -> Listing:
    """KITTI by an Eigen list: lines `rgb depth focal`, depth as 16-bit PNG / 256. Lines whose depth is None are left
    out.

    path: the list, or a folder with one list whose name contains the split. picture_root, depth_root: where the paths
    of the lines begin; by default where the list lies.
    """
    if path.is_dir():
        lists = sorted(file for file in path.glob("*.txt") if split in file.name)
        if len(lists) != 1:
            found = ", ".join(file.name for file in lists) or "none"
            raise UserError(f"{path}: expected one list with {split!r} in its name, found {found}; pass the list")
        path = lists[0]
    listing, without_truth = Listing(), 0
    for number, line in enumerate(read_lines(path), start=1):
        fields, where = line.split(), f"{path}:{number}"
        if not fields:
            continue
        if len(fields) not in (2, 3) or (len(fields) == 3 and not _is_positive(fields[2])):
            listing.problems.append(f"{where}: expected `rgb depth focal`, not {line.strip()!r}")
        elif fields[1] == "None":
            without_truth += 1
        else:
            image_path = (picture_root or path.parent) / fields[0]
            truth_path = (depth_root or path.parent) / fields[1]
            listing.add(fields[0], image_path, truth_path, partial(read_png, metres_per_unit=KITTI_METRES), where=where)
    if without_truth:
        listing.remarks.append(f"{without_truth} lines without truth (None) are left out, as the protocol says")
    return listing


def list_folder(path: Path, *, split: str, scale: float | None = None) -> Listing:
    """A plain folder: images/ and depths/ with the same names, or STEM.jpg beside STEM_depth.png (.npy, .tif).

    A sub-folder called like the split is used instead, if there is one. scale: metres per unit; without it, the number
    in `scale.json` ({"scale": 0.001}), in that folder or the one above.
    """
    folder = path / split if (path / split).is_dir() else path
    if scale is None:
        scale = _scale_of_folder(folder, path)
    if not _is_positive(scale):
        raise UserError(f"{path}: the scale is {scale!r}; expected metres per unit, for example 0.001")
    listing = Listing()
    has_two_folders = (folder / "images").is_dir() and (folder / "depths").is_dir()
    image_root, truth_root = (folder / "images", folder / "depths") if has_two_folders else (folder, folder)
    ending = "" if has_two_folders else "_depth"
    is_truth = {file for file in _files_below(truth_root) if _is_truth_name(file, ending)}
    truths = {_stem(file, truth_root).removesuffix(ending): file for file in sorted(is_truth, key=natural_key)}
    pictures = [file for file in _files_below(image_root) if is_picture_name(file) and file not in is_truth]
    for file in pictures:
        stem = _stem(file, image_root)
        truth_path = truths.pop(stem, None)
        if truth_path is None:
            listing.problems.append(f"{file}: no truth for it: no {stem}{ending}.png (or .npy, .tif)")
            continue
        name = file.relative_to(image_root).as_posix()
        listing.add(name, file, truth_path, partial(read_scaled, metres_per_unit=float(scale)), where=folder)
    listing.problems += [f"{truth_path}: no picture for this truth" for truth_path in truths.values()]
    return listing


def _is_truth_name(file: Path, ending: str) -> bool:
    return file.suffix.lower() in DEPTH_SUFFIXES and file.stem.endswith(ending)


def _scale_of_folder(*folders: Path) -> object:
    for folder in folders:
        if (folder / "scale.json").exists():
            content = read_json(folder / "scale.json")
            return content.get("scale") if isinstance(content, dict) else content
    raise UserError(f"{folders[0]}: no scale.json: pass the scale (metres per unit of a depth file, for example 0.001)")


def list_rgbd(path: Path, *, split: str) -> Listing:
    """Folders with meta.json, which names the picture ("image"), a depth PNG ("gt") and its metres per unit ("scale").

    path: one such folder, or a folder of them. There are no splits.
    """
    listing = Listing()
    metas = [path / "meta.json"] if (path / "meta.json").exists() else list(path.glob("*/meta.json"))
    for meta_path in sorted(metas, key=natural_key):
        try:
            meta = read_json(meta_path)
        except UserError as error:
            listing.problems.append(str(error))
            continue
        texts = [meta.get(key) for key in ("image", "gt")] if isinstance(meta, dict) else []
        if not texts or not all(isinstance(text, str) for text in texts) or not _is_positive(meta.get("scale")):
            listing.problems.append(f"{meta_path}: expected image and gt (file names) and scale (metres per unit)")
        elif meta.get("kind", "depth_m") != "depth_m":
            listing.problems.append(f"{meta_path}: its kind is {meta['kind']!r}, not depth in metres (depth_m)")
        else:
            name = str(meta.get("name", meta_path.parent.name))
            image_path, truth_path = (meta_path.parent / text for text in texts)
            read_truth = partial(read_png, metres_per_unit=float(meta["scale"]))
            listing.add(name, image_path, truth_path, read_truth, where=meta_path)
    return listing


def list_diode(path: Path, *, split: str) -> Listing:
    """DIODE: STEM.png with STEM_depth.npy (metres) and STEM_depth_mask.npy (1 where valid), in any sub-folders.

    The train or val folder is used, by the split, if path contains it; pass its indoors or outdoor folder for one of
    these.
    """
    part = path / ("train" if split == "train" else "val")
    listing = Listing()
    for truth_path in _files_below(part if part.is_dir() else path):
        if not truth_path.name.endswith("_depth.npy"):
            continue
        stem = truth_path.name.removesuffix("_depth.npy")
        mask_path = truth_path.with_name(f"{stem}_depth_mask.npy")
        if not mask_path.is_file():
            listing.problems.append(f"{truth_path}: no such file: {mask_path}")
            continue
        image_path = truth_path.with_name(f"{stem}.png")
        name = image_path.relative_to(path).as_posix()
        listing.add(name, image_path, truth_path, partial(read_diode, mask_path=mask_path), where=truth_path)
    return listing


def list_da2k(path: Path, *, split: str) -> Listing:
    """DA-2K: annotations.json, {picture: [{"point1": [row, column], "point2": ..., "closer_point": "point1"}, ...]}.

    path: the folder with annotations.json, which the pictures' paths are relative to. There are no splits.
    """
    annotations = read_json(path / "annotations.json")
    if not isinstance(annotations, dict):
        raise UserError(f"{path / 'annotations.json'}: expected an object of picture paths")
    listing = Listing()
    for name, rows in annotations.items():
        points = []
        for number, row in enumerate(rows if isinstance(rows, list) else []):
            pair = _ordered_points(row)
            if pair is None:
                listing.problems.append(f"{name}: pair {number} is no pair of points with a closer one: {row!r}")
            else:
                points.append(pair)
        if not os.path.isfile(path / name):
            listing.problems.append(f"{path / 'annotations.json'}: no such file: {path / name}")
        elif points:
            listing.entries.append(Entry(name, path / name, points=np.asarray(points, np.int64)))  # N 2 2
        else:
            listing.problems.append(f"{name}: no pairs of points")
    return listing


def _ordered_points(row: object) -> list | None:
    """[nearer, farther], each [row, column]; None for what is no such annotation."""
    if not isinstance(row, dict) or row.get("closer_point") not in ("point1", "point2"):
        return None
    pair = [row.get("point1"), row.get("point2")]
    for point in pair:
        if not isinstance(point, list) or len(point) != 2 or not all(type(number) is int for number in point):
            return None
    return pair if row["closer_point"] == "point1" else pair[::-1]


def read_json(path: Path) -> object:
    """Any JSON file. Raises UserError with the path and the reason."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error})") from error


def _files_below(folder: Path) -> list[Path]:
    """All visible files in a folder and its sub-folders, in natural order."""
    files = [file for file in folder.rglob("*") if not file.name.startswith(".") and file.is_file()]
    return sorted(files, key=natural_key)


def _stem(file: Path, root: Path) -> str:
    return file.relative_to(root).with_suffix("").as_posix()


def _is_positive(value: object) -> bool:
    """Whether this is a number, or the text of one, above zero."""
    try:
        return not isinstance(value, bool) and 0 < float(value) < math.inf
    except (TypeError, ValueError):
        return False
