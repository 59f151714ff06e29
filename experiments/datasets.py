"""Data sets of pictures with measured depth, as plain sequences that read one picture at a time.

    from experiments.datasets import open_dataset            # experiments/datasets.py

    dataset = open_dataset("nyu", "nyu_data", split="train")
    print(len(dataset), dataset.names[0], dataset.problems)
    sample = dataset[0]                                      # sample.image_bgr, sample.depth

Shapes: H W the picture, h w its truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import dataset_layouts as layouts
from experiments.truth_files import SampleError
from lib.demo.colour import as_8bit
from lib.demo.pictures import read_picture
from lib.errors import PictureError, UserError

__all__ = ["DATASET_KINDS", "DepthDataset", "PairSample", "Sample", "SampleError", "open_dataset"]

LAYOUTS = {
    "nyu": layouts.list_nyu,
    "folder": layouts.list_folder,
    "kitti": layouts.list_kitti,
    "diode": layouts.list_diode,
    "rgbd": layouts.list_rgbd,
    "da2k": layouts.list_da2k,
}
DATASET_KINDS = tuple(LAYOUTS)
SPLITS = ("train", "test")
ASPECT_TOLERANCE = 0.02  # truth of another shape than its picture's belongs to another picture


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture with measured depth.

    image_bgr: H x W x 3 uint8. depth: h x w float32 metres, NaN where nothing was measured. Its size may differ from
    the picture's: sample a prediction at the truth's size, and never resize truth by interpolation, which invents
    depths between an object and what is behind it.
    """

    name: str
    image_bgr: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True, eq=False)
class PairSample:
    """A picture with ordered points. points: N x 2 x 2, of each pair the nearer and the farther (row, column)."""

    name: str
    image_bgr: np.ndarray
    points: np.ndarray


class DepthDataset(Sequence):
    """What `open_dataset` returns: len(), [i] and iteration, each picture read when it is asked for.

    names: of all samples, without reading any. problems: one sentence for each row or file of the list that could not
    be used and is not counted. remarks: what was left out by intention. Can be pickled (for worker processes).
    """

    def __init__(self, kind: str, path: Path, listing: layouts.Listing):
        self.kind, self.path = kind, path
        self.problems, self.remarks = listing.problems, listing.remarks
        self._entries = listing.entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self._entries]

    @property
    def picture_paths(self) -> list[Path]:
        """Of all samples."""
        return [entry.image_path for entry in self._entries]

    def __getitem__(self, index: int) -> Sample | PairSample:
        """Raises SampleError for a picture or truth that cannot be used: unreadable, empty, of a wrong shape."""
        entry = self._entries[index]
        try:
            image_bgr = as_8bit(read_picture(entry.image_path))
        except PictureError as error:
            raise SampleError(str(error)) from error
        height, width = image_bgr.shape[:2]
        if entry.points is not None:
            if (entry.points < 0).any() or (entry.points >= [height, width]).any():
                raise SampleError(f"{entry.image_path}: a point of its pairs is outside its {width} x {height} pixels")
            return PairSample(entry.name, image_bgr, entry.points)
        depth = entry.read_truth()
        truth_path = entry.read_truth.args[0]
        if not np.isfinite(depth).any():
            raise SampleError(f"{truth_path}: no pixel with a valid depth")
        if abs(depth.shape[1] * height / (depth.shape[0] * width) - 1) > ASPECT_TOLERANCE:
            raise SampleError(
                f"{truth_path}: its {depth.shape[1]} x {depth.shape[0]} pixels do not have the shape of the picture's "
                f"{width} x {height}"
            )
        return Sample(entry.name, image_bgr, depth)


def open_dataset(
    kind: str,
    path: str | Path,
    *,
    split: str = "test",
    scale: float | None = None,
    picture_root: str | Path | None = None,
    depth_root: str | Path | None = None,
) -> DepthDataset:
    """The data set of this kind at this path; see experiments/dataset_layouts.py for what lies where.

    kind: one of DATASET_KINDS. split: "train" or "test", for the kinds that have splits. scale: metres per unit, for
    "folder". picture_root, depth_root: where the paths in the list begin, for "kitti".

    Rows and files that cannot be used are left out and named in `problems`. Raises UserError where nothing is left, or
    the list itself cannot be read.
    """
    path = Path(path).expanduser()
    if kind not in LAYOUTS:
        raise UserError(f"unknown kind of data set {kind!r}; expected one of {', '.join(DATASET_KINDS)}")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    options = {"scale": scale, "picture_root": picture_root, "depth_root": depth_root}
    options = {name: value for name, value in options.items() if value is not None}
    known = {"folder": {"scale"}, "kitti": {"picture_root", "depth_root"}}.get(kind, set())
    if set(options) - known:
        raise UserError(f"{', '.join(sorted(set(options) - known))}: not an option of data sets of the kind {kind!r}")
    options |= {name: Path(value).expanduser() for name, value in options.items() if name.endswith("_root")}
    listing = LAYOUTS[kind](path, split=split, **options)
    if not listing.entries:
        reason = f"; {len(listing.problems)} unusable, the first: {listing.problems[0]}" if listing.problems else ""
        raise UserError(f"{path}: no pictures with truth in the layout {kind!r}{reason}")
    return DepthDataset(kind, path, listing)
