"""RELEASES: one row per published file: its name, which of MODEL_TYPES it is, how large, its licence, where it lies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """One published checkpoint file.

    name: what `-m` takes. features, blocks, side: the encoder's size and the side of its training pictures, by which a file of
    this type is recognised as this row. parameters: in millions, stored tables and masks included. repository, path: where
    Hugging Face has it ("": not public); repository_kind: "model" or "space". url: instead of these three, the address of a
    file that lies elsewhere (a GitHub release).
    """

    name: str
    model_type: str
    file_name: str
    features: int
    blocks: int
    side: int
    parameters: float
    licence: str
    repository: str = ""
    path: str = ""
    repository_kind: str = "model"
    url: str = ""

    @property
    def megabytes(self) -> int:
        """Size of the download: four bytes for each parameter."""
        return round(4 * self.parameters)

    @property
    def is_non_commercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return "-NC" in self.licence


# size letter: (name, features, blocks, parameters in millions)
DINOV2_SIZES = {
    "s": ("small", 384, 12, 24.8),
    "b": ("base", 768, 12, 97.5),
    "l": ("large", 1024, 24, 335.3),
    "g": ("giant", 1536, 40, 1258.1),
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
        side=518,
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
        side=518,
        parameters=parameters,
        licence=V2_LICENCES[letter],
        # the giant was announced and never published; its shape loads all the same
        repository="" if letter == "g" else f"depth-anything/Depth-Anything-V2-{published}{size.capitalize()}",
        path=file_name,
    )


def _midas(name: str, model_type: str, features: int, blocks: int, parameters: float, version: str = "v3_1") -> Release:
    return Release(
        name=name.replace("_", "-"),
        model_type=model_type,
        file_name=f"{name}.pt",
        features=features,
        blocks=blocks,
        side=int(name.rsplit("_", 1)[1]),
        parameters=parameters,
        licence="MIT",
        url=f"https://github.com/isl-org/MiDaS/releases/download/{version}/{name}.pt",
    )


def _zoedepth(data: str, file_name: str, parameters: float) -> Release:
    return Release(
        name=f"zoedepth-{data}",
        model_type=f"zoedepth-{data}",
        file_name=file_name,
        features=1024,
        blocks=24,
        side=384,
        parameters=parameters,
        licence="MIT",
        url=f"https://github.com/isl-org/ZoeDepth/releases/download/v1.0/{file_name}",
    )


def _depth_anything_v1_metric(place: str) -> Release:
    file_name = f"depth_anything_metric_depth_{place}.pt"
    return Release(
        name=f"depth-anything-v1-metric-{place}",
        model_type=f"depth-anything-v1-metric-{place}",
        file_name=file_name,
        features=1024,
        blocks=24,
        side=518,
        parameters=335.8,
        licence="Apache-2.0",
        repository="LiheYoung/Depth-Anything",
        path=f"checkpoints_metric_depth/{file_name}",
        repository_kind="space",
    )


RELEASES = {
    row.name: row
    for row in (
        *(_depth_anything_v1(letter) for letter in "sbl"),
        *(_depth_anything_v2(letter) for letter in "sblg"),
        *(_depth_anything_v2(letter, metric) for metric in ("hypersim", "vkitti") for letter in "sbl"),
        _midas("dpt_large_384", "midas-vit", 1024, 24, 344.1, "v3"),
        _midas("dpt_hybrid_384", "midas-hybrid", 768, 12, 123.1, "v3"),
        _midas("dpt_beit_large_512", "midas-beit", 1024, 24, 395.4),
        _midas("dpt_beit_large_384", "midas-beit", 1024, 24, 360.3),
        _midas("dpt_beit_base_384", "midas-beit", 768, 12, 119.5),
        _midas("dpt_swin2_large_384", "midas-swin2-12to24", 192, 24, 220.0),
        _midas("dpt_swin2_base_384", "midas-swin2-12to24", 128, 24, 109.0),
        _midas("dpt_swin2_tiny_256", "midas-swin2", 96, 12, 43.0),
        _midas("dpt_swin_large_384", "midas-swin", 192, 24, 216.8),
        _midas("dpt_levit_224", "midas-levit", 384, 12, 51.1),
        _zoedepth("nyu", "ZoeD_M12_N.pt", 360.8),
        _zoedepth("kitti", "ZoeD_M12_K.pt", 360.8),
        _zoedepth("nyu-kitti", "ZoeD_M12_NK.pt", 362.1),
        _depth_anything_v1_metric("indoor"),
        _depth_anything_v1_metric("outdoor"),
    )
}


def find_release(type_name: str, *, features: int, blocks: int, side: int) -> Release | None:
    """The published row of this type, encoder size and picture size, or None (a size that nobody published)."""
    for row in RELEASES.values():
        if (row.model_type, row.features, row.blocks, row.side) == (type_name, features, blocks, side):
            return row
    return None
