"""Every published checkpoint, and what its weights cannot tell about themselves.

Two tables. MODEL_TYPES: one row per kind of model, with the facts that no tensor shape reveals. RELEASES: one row per
published file: what it is called, which type it is, how large, under which licence, and where it lies.
"""

import re
from dataclasses import dataclass
from pathlib import PurePath

from .image_processor import PictureRule


@dataclass(frozen=True)
class ModelType:
    """What a checkpoint means, beyond its shapes.

    taps: {number of blocks: numbers of the tapped blocks}, or "last four". quantity, nearest_is_largest: see OutputKind.
    max_depth: the range in metres of a metric model, else None. position_offset: see `resize_position_table`.
    file_pattern: a regular expression that published file names of this type match, and no other type's (of two that match,
    the longer match counts).
    """

    name: str
    title: str
    taps: dict[int, tuple[int, ...]] | str
    picture: PictureRule
    file_pattern: str
    max_depth: float | None = None
    position_offset: float = 0.1

    @property
    def is_metric(self) -> bool:
        return self.max_depth is not None


V2_TAPS = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}
DEPTH_ANYTHING_PICTURE = PictureRule(side=518, multiple=14)

MODEL_TYPES = {
    row.name: row
    for row in (
        ModelType(
            name="depth-anything-v1",
            title="Depth-Anything V1, relative",
            taps="last four",  # get_intermediate_layers(x, 4): by mistake, says V2's page, and the weights expect it
            picture=PictureRule(side=518, multiple=14, restore="bilinear"),
            file_pattern=r"depth_anything_(v1|vit[sblg]|small|base|large)(?!.*metric)",
        ),
        ModelType(
            name="depth-anything-v2",
            title="Depth-Anything V2, relative",
            taps=V2_TAPS,
            picture=DEPTH_ANYTHING_PICTURE,
            file_pattern=r"depth_anything_v2(?!.*metric)",
        ),
        ModelType(
            name="depth-anything-v2-metric-hypersim",
            title="Depth-Anything V2, metric, indoor (Hypersim)",
            taps=V2_TAPS,
            picture=DEPTH_ANYTHING_PICTURE,
            file_pattern=r"depth_anything_v2_metric_(hypersim|indoor)",
            max_depth=20.0,
        ),
        ModelType(
            name="depth-anything-v2-metric-vkitti",
            title="Depth-Anything V2, metric, outdoor (Virtual KITTI 2)",
            taps=V2_TAPS,
            picture=DEPTH_ANYTHING_PICTURE,
            file_pattern=r"depth_anything_v2_metric_(vkitti|outdoor)",
            max_depth=80.0,
        ),
    )
}


@dataclass(frozen=True)
class Release:
    """One published checkpoint file.

    name: what `-m` takes. features, blocks: the encoder's size, by which a file of this type is recognised as this row.
    parameters: in millions. repository, path: where Hugging Face has it; repository_kind: "model" or "space".
    """

    name: str
    model_type: str
    file_name: str
    features: int
    blocks: int
    parameters: float
    licence: str
    repository: str
    path: str
    repository_kind: str = "model"

    @property
    def megabytes(self) -> int:
        """Size of the download: four bytes for each parameter."""
        return round(4 * self.parameters)

    @property
    def is_non_commercial(self) -> bool:
        return "-NC" in self.licence


# size letter: (name, features, blocks, parameters in millions)
DINOV2_SIZES = {
    "s": ("small", 384, 12, 24.8),
    "b": ("base", 768, 12, 97.5),
    "l": ("large", 1024, 24, 335.3),
    "g": ("giant", 1536, 40, 1279.7),
}
# V2's page: Small is Apache-2.0, Base, Large and Giant are CC-BY-NC-4.0. The model cards of the metric Base and Large say
# Apache-2.0, but they were fine-tuned from non-commercial weights: the stricter statement stands here.
V2_LICENCES = {"s": "Apache-2.0", "b": "CC-BY-NC-4.0", "l": "CC-BY-NC-4.0", "g": "CC-BY-NC-4.0"}


def _depth_anything_v1(letter: str) -> Release:
    size, features, blocks, parameters = DINOV2_SIZES[letter]
    file_name = f"depth_anything_vit{letter}14.pth"
    return Release(
        name=f"depth-anything-v1-{size}",
        model_type="depth-anything-v1",
        file_name=file_name,
        features=features,
        blocks=blocks,
        parameters=parameters,
        licence="Apache-2.0",
        repository="LiheYoung/Depth-Anything",
        path=f"checkpoints/{file_name}",
        repository_kind="space",
    )


def _depth_anything_v2(letter: str, metric: str = "") -> Release:
    size, features, blocks, parameters = DINOV2_SIZES[letter]
    type_name = f"depth-anything-v2-metric-{metric}" if metric else "depth-anything-v2"
    file_name = f"{type_name.replace('-', '_')}_vit{letter}.pth"
    published = {"hypersim": "Metric-Hypersim-", "vkitti": "Metric-VKITTI-", "": ""}[metric]
    return Release(
        name=f"{type_name}-{size}",
        model_type=type_name,
        file_name=file_name,
        features=features,
        blocks=blocks,
        parameters=parameters,
        licence=V2_LICENCES[letter],
        repository=f"depth-anything/Depth-Anything-V2-{published}{size.capitalize()}",
        path=file_name,
    )


RELEASES = {
    row.name: row
    for row in (
        *(_depth_anything_v1(letter) for letter in "sbl"),
        *(_depth_anything_v2(letter) for letter in "sblg"),
        *(_depth_anything_v2(letter, metric) for metric in ("hypersim", "vkitti") for letter in "sbl"),
    )
}


def type_from_file_name(file_name: str) -> str | None:
    """The model type that a published file name tells, or None. Folders' names count too, their parents' do not.

    >>> type_from_file_name("depth_anything_v2_metric_vkitti_vits.pth")
    'depth-anything-v2-metric-vkitti'
    >>> type_from_file_name("Depth-Anything-V2-Small-hf")
    'depth-anything-v2'
    >>> type_from_file_name("my_model.pth") is None
    True
    """
    plain = re.sub(r"[^a-z0-9]+", "_", PurePath(file_name).name.lower())
    matches = {name: re.search(row.file_pattern, plain) for name, row in MODEL_TYPES.items()}
    found = {name: len(match.group()) for name, match in matches.items() if match}
    return max(found, key=found.get) if found else None


def find_release(type_name: str, *, features: int, blocks: int) -> Release | None:
    """The published row of this type and encoder size, or None (a size that nobody published)."""
    for row in RELEASES.values():
        if (row.model_type, row.features, row.blocks) == (type_name, features, blocks):
            return row
    return None
