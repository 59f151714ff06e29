"""What is measured and how: alignment, crops and caps by name, with the defaults of each kind of data set.

`experiments/protocols.py` is shared by the programs that evaluate. Nothing here imports numpy or torch, so that
`--help` is instant. Shapes: H W of the truth.
"""

from dataclasses import asdict, dataclass, replace

from lib.errors import UserError

ALIGNMENTS = {
    "none": "none: the prediction is in metres",
    "inverse_depth": "least squares of scale and shift to 1 / truth for each picture, then back to depth (MiDaS)",
    "depth": "least squares of scale and shift to truth for each picture (Marigold)",
}
CROPS = ("none", "eigen", "garg")
SILOG_NAMES = ("zoe", "depth_anything_v2")  # see SILOG_DEFINITIONS in experiments/metrics.py

# top, bottom, left, right. NYU's crop is given in pixels of 480 x 640; KITTI's in shares of the height and the width.
NYU_EIGEN_CROP, NYU_SIZE = (45, 471, 41, 601), (480, 640)
KITTI_CROPS = {
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
}
KB_CROP = (352, 1216)  # KITTI's depth benchmark: the bottom centre of the picture


@dataclass(frozen=True)
class Protocol:
    """How predictions are compared with truth.

    dataset: the kind of data set, which the meaning of the Eigen crop depends on. alignment: one of ALIGNMENTS; None
    where nothing is aligned because only the order of points counts. crop: one of CROPS. kb_crop: whether picture and
    truth are first cut to KB_CROP. min_depth, max_depth: metres; only truth between them counts, and predictions are
    clamped to them. flip: whether predictions are averaged with those of the mirrored picture. silog: one of
    SILOG_NAMES.
    """

    dataset: str
    alignment: str | None = None
    crop: str = "none"
    kb_crop: bool = False
    min_depth: float = 1e-3
    max_depth: float = 80.0
    flip: bool = False
    silog: str = "zoe"

    def __post_init__(self):
        if not 0 < self.min_depth < self.max_depth < float("inf"):
            caps = f"{self.min_depth:g} and {self.max_depth:g} m"
            raise UserError(f"the caps are {caps}: expected 0 < --min_depth < --max_depth")
        if self.crop != "none" and self.dataset != "kitti" and (self.crop, self.dataset) != ("eigen", "nyu"):
            raise UserError(f"no {self.crop} crop is defined for the data sets {self.dataset}: pass --crop none")

    def describe(self) -> dict[str, str]:
        """The protocol in words, for a person who wants to know what a number means."""
        mirrored = "mean of the picture's prediction and the mirrored picture's, in the model's own quantity"
        common = {
            "flip averaging": mirrored if self.flip else "none",
            "predictions": "at the picture's size by the release's rule; at that of the truth, if it differs, bilinear",
        }
        if self.alignment is None:
            return {"measured": "which of two points is nearer; equal values are wrong", **common}
        cut = f"bottom centre {KB_CROP[0]} x {KB_CROP[1]} of picture and truth (KB), then " if self.kb_crop else ""
        return {
            "alignment": ALIGNMENTS[self.alignment],
            "crop": cut + self._describe_crop(),
            "caps": f"{self.min_depth:g} m < truth < {self.max_depth:g} m; predictions are clamped to this range",
            **common,
            "mean": "metrics of each picture, then their mean over the pictures",
        }

    def _describe_crop(self) -> str:
        if self.crop == "none":
            return "none"
        if self.dataset == "nyu":
            top, bottom, left, right = NYU_EIGEN_CROP
            return f"Eigen: rows {top}:{bottom}, columns {left}:{right} of {NYU_SIZE[0]} x {NYU_SIZE[1]}"
        top, bottom, left, right = KITTI_CROPS[self.crop]
        return f"{self.crop.capitalize()}: {top} to {bottom} of the height, {left} to {right} of the width"

    def as_dict(self) -> dict:
        """Every setting, for a file, and the words of `describe`."""
        return {**asdict(self), "in_words": self.describe()}


# Crops and caps that each data set is usually reported with; folders of one's own: everything up to 80 m.
DEFAULT_PROTOCOLS = {
    "nyu": Protocol("nyu", crop="eigen", max_depth=10.0),
    "kitti": Protocol("kitti", crop="garg", kb_crop=True),
    "diode": Protocol("diode", min_depth=0.6, max_depth=350.0),
    "rgbd": Protocol("rgbd"),
    "folder": Protocol("folder"),
    "da2k": Protocol("da2k"),
}


def choose_protocol(dataset: str, **changes) -> Protocol:
    """The usual protocol for a kind of data set, with these changes; a change of None changes nothing."""
    return replace(DEFAULT_PROTOCOLS[dataset], **{name: value for name, value in changes.items() if value is not None})


def crop_box(protocol: Protocol, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the evaluated part of an H x W truth, as for slices.

    >>> crop_box(Protocol("nyu", crop="eigen"), 480, 640)
    (45, 471, 41, 601)
    """
    if protocol.crop == "none":
        return 0, height, 0, width
    if protocol.dataset == "nyu":
        top, bottom, left, right = NYU_EIGEN_CROP
        rows, columns = NYU_SIZE
        return top * height // rows, bottom * height // rows, left * width // columns, right * width // columns
    top, bottom, left, right = KITTI_CROPS[protocol.crop]
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def kb_crop_box(height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of KITTI's benchmark crop. Raises UserError for a picture that is smaller."""
    if height < KB_CROP[0] or width < KB_CROP[1]:
        raise UserError(f"{width} x {height} pixels are too few for KITTI's crop, {KB_CROP[::-1]}: pass --no-kb_crop")
    top, left = height - KB_CROP[0], (width - KB_CROP[1]) // 2
    return top, height, left, left + KB_CROP[1]
