"""MODEL_TYPES: one row per kind of model, with the facts that no tensor shape reveals."""

import re
from dataclasses import dataclass, replace
from pathlib import PurePath

from .image_processor import PictureRule


@dataclass(frozen=True)
class ModelType:
    """What a checkpoint means, beyond its shapes.

    family: which key layouts it comes in; where a family has one type, the shapes alone tell the type.
    taps: {number of blocks: numbers of the tapped blocks}, "last four", or () where the encoder leaves no choice.
    picture: how pictures are prepared; side_from_weights: their size is the training's, which the weights do tell.
    is_metric: metres, else inverse depth. max_depth: the range in metres, if the network's last step knows one.
    file_pattern: a regular expression that published file names of this type match, and no other type's (of two that match,
    the longer match counts).
    bins: of a metric head, which kind it has, which its weights do tell: "unbounded", "bounded", or "routed" (unbounded, with a
    router).
    window, pretrained_window_ratio: SwinV2 files with this window were first trained with a smaller one (see
    ContinuousPositionBias).
    """

    name: str
    title: str
    family: str
    taps: dict[int, tuple[int, ...]] | tuple[int, ...] | str
    picture: PictureRule
    file_pattern: str
    side_from_weights: bool = False
    is_metric: bool = False
    max_depth: float | None = None
    bins: str | None = None
    window: int | None = None
    pretrained_window_ratio: float = 1.0


V2_TAPS = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}
DEPTH_ANYTHING_PICTURE = PictureRule(side=518, multiple=14)


def _depth_anything_v2_metric_type(data: str, place: str, data_title: str, *, max_depth: float) -> ModelType:
    """A row for Depth-Anything V2 fine-tuned to metres. Published folders say the place, files the data."""
    return ModelType(
        name=f"depth-anything-v2-metric-{data}",
        title=f"Depth-Anything V2, metric, {place} ({data_title})",
        family="depth-anything",
        is_metric=True,
        taps=V2_TAPS,
        picture=DEPTH_ANYTHING_PICTURE,
        file_pattern=rf"depth_anything_v2_metric_({data}|{place})",
        max_depth=max_depth,
    )


MIDAS_TAPS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23)}


def _midas_type(encoder: str, title: str, file_pattern: str, *, fit: str = "minimal", taps=(), **rest) -> ModelType:
    """A row for MiDaS 3.0 or 3.1: pictures as large as in training, sides in multiples of 32, values from -1 to 1."""
    half = (0.5, 0.5, 0.5)
    return ModelType(
        name=f"midas-{encoder}",
        title=title,
        family=f"midas-{encoder.removesuffix('-12to24')}",
        taps=taps,
        picture=PictureRule(side=384, multiple=32, fit=fit, mean=half, std=half, restore="bicubic"),
        file_pattern=file_pattern,
        side_from_weights=True,
        **rest,
    )


ZOEDEPTH_PICTURE = PictureRule(
    side=384,
    width=512,
    multiple=32,
    fit="minimal",
    resample="bilinear_corners",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    restore="bicubic",
    reflect_padding=True,
    flip_average=True,
)


def _zoedepth_type(data: str, title: str, bins: str, file_pattern: str, picture: PictureRule = ZOEDEPTH_PICTURE) -> ModelType:
    """A row for a ZoeDepth: metres from bins."""
    return ModelType(
        name=f"zoedepth-{data}",
        title=title,
        family="zoedepth",
        taps=MIDAS_TAPS,
        picture=picture,
        file_pattern=file_pattern,
        is_metric=True,
        bins=bins,
    )


def _depth_anything_v1_metric_type(place: str, data: str) -> ModelType:
    """A row for Depth-Anything V1 with ZoeDepth's head. Indoors and outdoors differ in their weights alone.

    The release evaluates and runs it without padding, without the mirrored picture, and stretches every picture.
    """
    return ModelType(
        name=f"depth-anything-v1-metric-{place}",
        title=f"Depth-Anything V1, metric, {place} ({data})",
        family="depth-anything-v1-metric",
        taps="last four",
        picture=PictureRule(
            side=392, width=518, multiple=14, fit="stretch", resample="bilinear_corners", restore="bicubic"
        ),
        file_pattern=rf"depth_anything_(v1_)?metric_(depth_)?{place}",
        is_metric=True,
        bins="unbounded",
    )


MODEL_TYPES = {
    row.name: row
    for row in (
        ModelType(
            name="depth-anything-v1",
            title="Depth-Anything V1, relative",
            family="depth-anything",
            taps="last four",  # get_intermediate_layers(x, 4): by mistake, says V2's page, and the weights expect it
            picture=PictureRule(side=518, multiple=14, restore="bilinear"),
            file_pattern=r"depth_anything_(v1|vit[sblg]|small|base|large)(?!.*metric)",
        ),
        ModelType(
            name="depth-anything-v2",
            title="Depth-Anything V2, relative",
            family="depth-anything",
            taps=V2_TAPS,
            picture=DEPTH_ANYTHING_PICTURE,
            file_pattern=r"depth_anything_v2(?!.*metric)",
        ),
        _depth_anything_v2_metric_type("hypersim", "indoor", "Hypersim", max_depth=20.0),
        _depth_anything_v2_metric_type("vkitti", "outdoor", "Virtual KITTI 2", max_depth=80.0),
        _midas_type("vit", "MiDaS 3.0, DPT with a ViT", r"dpt_(vit_)?(tiny|small|base|large)_\d+", taps=MIDAS_TAPS),
        _midas_type("hybrid", "MiDaS 3.0, DPT with a hybrid of ResNet and ViT", r"dpt_hybrid", taps={12: (8, 11)}),
        _midas_type("beit", "MiDaS 3.1, DPT with a BEiT", r"dpt_beit", taps=MIDAS_TAPS),
        _midas_type("swin2", "MiDaS 3.1, DPT with a SwinV2", r"dpt_swin2_tiny", fit="stretch"),
        _midas_type(
            "swin2-12to24",
            "MiDaS 3.1, DPT with a SwinV2 (window 24, first trained with 12)",
            r"dpt_swin2_(base|large)",
            fit="stretch",
            window=24,
            pretrained_window_ratio=0.5,
        ),
        _midas_type("swin", "MiDaS 3.1, DPT with a Swin", r"dpt_swin_", fit="stretch"),
        _midas_type("levit", "MiDaS 3.1, DPT with a LeViT", r"dpt_levit", fit="fixed", taps=(3, 11, 21)),
        _zoedepth_type(
            "nyu",
            "ZoeDepth N (indoors, trained to 10 m on NYU)",
            "unbounded",
            r"zoed_m12_n(?!k)|zoedepth_n(yu)?(?![a-z]|_kitti)",
        ),
        _zoedepth_type(
            "kitti",
            "ZoeDepth K (streets, trained to 80 m on KITTI)",
            "bounded",
            r"zoed_m12_k|zoedepth_k(itti)?(?![a-z])",
            replace(ZOEDEPTH_PICTURE, width=768),
        ),
        _zoedepth_type(
            "nyu-kitti", "ZoeDepth NK (indoors and streets)", "routed", r"zoed_m12_nk|zoedepth_n(k|yu_kitti)(?![a-z])"
        ),
        _depth_anything_v1_metric_type("indoor", "trained to 10 m on NYU"),
        _depth_anything_v1_metric_type("outdoor", "trained to 80 m on KITTI"),
        ModelType(
            name="dinov2-dpt",
            title="DINOv2 with a DPT head, metric (Hugging Face conversion)",
            family="dinov2-dpt",
            taps=V2_TAPS,
            picture=PictureRule(side=518, multiple=14, fit="pad", restore="bicubic"),
            file_pattern=r"dpt_dinov2",
            is_metric=True,
        ),
        ModelType(
            name="plain-dpt",  # experiments/train_depth.py --new; such files carry their config
            title="Plain DPT, relative",
            family="plain-dpt",
            taps=V2_TAPS,
            picture=PictureRule(side=224, multiple=14),
            file_pattern=r"plain_dpt|builtin_tiny",
        ),
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
