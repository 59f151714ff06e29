"""Model sizes from tensor shapes: asking for shapes, and the config sections that several layouts have in common.

A layout names the keys to look at; the arithmetic is here, once. The sections are the arguments of the modules that
`build_dpt` puts together; "native_side" is the side of the training pictures in pixels.
"""

import math
import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import CheckpointError

VIT_HEAD_FEATURES = 64  # of one attention head, in every published ViT and DINOv2
CONV_STAGE_PATCH = 16  # pixels for each token behind the hybrid's convolutions, and behind LeViT's


class Shapes:
    """The shapes of a checkpoint's tensors, by key. What should be there and is not is an error that names file and key."""

    def __init__(self, tensors: Mapping[str, Tensor], source: str, prefix: str = ""):
        self._tensors = tensors
        self._source = source
        self._prefix = prefix  # in front of every key that is asked for

    def under(self, prefix: str) -> "Shapes":
        """The part whose keys begin like this; it is asked for without that beginning."""
        return Shapes(self._tensors, self._source, self._prefix + prefix)

    def __contains__(self, key: str) -> bool:
        return self._prefix + key in self._tensors

    def of(self, key: str, num_dims: int) -> tuple[int, ...]:
        """The shape of a tensor that the model cannot do without; none of its sides is zero."""
        key = self._prefix + key
        if key not in self._tensors:
            raise self.error(f"missing {key}")
        shape = tuple(self._tensors[key].shape)
        if len(shape) != num_dims or 0 in shape:
            raise self.error(f"{key} has shape {list(shape)}, expected {num_dims} dimensions, none of them empty")
        return shape

    def has(self, prefix: str) -> bool:
        """Whether any key begins like this."""
        return any(key.startswith(self._prefix + prefix) for key in self._tensors)

    def numbers(self, prefix: str) -> set[int]:
        """The numbers that stand for * in the keys that begin like this."""
        pattern = re.compile(re.escape(self._prefix + prefix).replace(r"\*", r"(\d{1,3})"))  # no network has a thousand
        return {int(match.group(1)) for match in map(pattern.match, self._tensors) if match}

    def count(self, prefix: str) -> int:
        """How many numbered parts follow a prefix: one more than the largest number."""
        return max(self.numbers(f"{prefix}*."), default=-1) + 1

    def error(self, what: str) -> CheckpointError:
        """The error to raise, with the file's name in front."""
        return CheckpointError(f"{self._source}: {what}")


def dinov2_sizes(
    shapes: Shapes,
    *,
    patch_weight: str,
    position_table: str,
    num_blocks: int,
    gelu_weight: str,
    swiglu_weight: str,
    heads: int | None = None,
    position_offset: float = 0.1,
) -> dict:
    """The encoder's sections of a DINOv2, without taps.

    heads: where a config tells; shapes do not. position_offset: see `resize_position_table`.
    """
    features, _, _, patch_size = shapes.of(patch_weight, 4)
    is_swiglu = swiglu_weight in shapes
    hidden = shapes.of(swiglu_weight if is_swiglu else gelu_weight, 2)[0]
    encoder = {
        "features": features,
        "heads": _heads(shapes, patch_weight, features) if heads is None else heads,
        "hidden": hidden // 2 if is_swiglu else hidden,
        "num_blocks": num_blocks,
        "table_side": _table_side(shapes, position_table),
        "feed_forward": "swiglu" if is_swiglu else "gelu",
        "position_offset": position_offset,
    }
    return one_row_of_blocks("vit", encoder, patch_size)


def vit_arguments(
    shapes: Shapes,
    *,
    class_token: str,
    position_table: str,
    hidden_weight: str,
    num_blocks: int,
    heads: int | None = None,
    **told: object,
) -> dict:
    """The arguments of ViTEncoder for the ViT of MiDaS, without taps. heads, told: what a config knows better."""
    features = shapes.of(class_token, 3)[-1]
    return {
        "features": features,
        "heads": _heads(shapes, class_token, features) if heads is None else heads,
        "hidden": shapes.of(hidden_weight, 2)[0],
        "num_blocks": num_blocks,
        "table_side": _table_side(shapes, position_table),
        "layer_scale": False,
        "final_norm": False,
        "position_mode": "bilinear",
        "position_offset": 0.0,
        **told,
    }


def beit_sizes(
    shapes: Shapes, *, patch_weight: str, bias_table: str, hidden_weight: str, num_blocks: int, **told: object
) -> dict:
    """The encoder's sections of a BEiT, without taps. told: what a config knows better."""
    features, _, _, patch_size = shapes.of(patch_weight, 4)
    offsets, heads = shapes.of(bias_table, 2)
    encoder = {
        "features": features,
        "heads": heads,
        "hidden": shapes.of(hidden_weight, 2)[0],
        "num_blocks": num_blocks,
        "table_side": (math.isqrt(max(offsets - 3, 1)) + 1) // 2,  # (2 side - 1)^2 offsets, 3 with the class token
        **told,
    }
    return one_row_of_blocks("beit", encoder, patch_size)


def one_row_of_blocks(kind: str, encoder: dict, patch_size: int) -> dict:
    """The encoder's sections where patches are embedded and one row of blocks follows: ViT, DINOv2, BEiT."""
    return {
        "encoder": kind,
        "native_side": encoder["table_side"] * patch_size,
        "patch_embed": {"features": encoder["features"], "patch_size": patch_size},
        "imgencoder": encoder,
    }


def hybrid_sizes(shapes: Shapes, vit: dict, *, stem_weight: str, blocks_of_stage: str) -> dict:
    """The encoder's sections of a hybrid whose transformer has the arguments `vit`. {} in a key: the stage's number."""
    channels = shapes.of(stem_weight, 4)[0]
    depths = [shapes.count(blocks_of_stage.format(stage)) for stage in range(3)]
    return {
        "encoder": "hybrid",
        "native_side": vit["table_side"] * CONV_STAGE_PATCH,
        "patch_embed": {"channels": channels},
        "imgencoder": {"stem_channels": channels, "depths": depths, "vit": vit},
    }


def swin_sizes(
    shapes: Shapes,
    *,
    patch_weight: str,
    hidden_weight: str,
    blocks_of_stage: str,
    heads: Sequence[int],
    window: int,
    first_side: int,
    is_v2: bool,
    pretrained_windows: Sequence[int] | None = None,
    **told: object,
) -> dict:
    """The encoder's sections of a Swin or SwinV2 with four stages. {} in a key: the stage's number.

    window: the training's largest. first_side: tokens along the first stage's side. pretrained_windows: of a SwinV2 whose
    config tells, the windows that it was first trained with, 0 for the same; without, coordinate_windows are left out
    for `describe` to fill in. told: what else a config knows better.
    """
    features, _, _, patch_size = shapes.of(patch_weight, 4)
    sides = [first_side // 2**stage for stage in range(4)]
    windows = [min(window, side) for side in sides]  # a window is never larger than the grid
    is_cut = min(windows) > 0 and not any(side % size for side, size in zip(sides, windows, strict=True))
    if first_side % 8 or not is_cut:  # each stage halves the grid of the one before
        raise shapes.error(f"grids of {sides} tokens a side cannot be cut into windows of {window}")
    if pretrained_windows is not None:
        told["coordinate_windows"] = [old or now for old, now in zip(pretrained_windows, windows, strict=True)]
    elif not is_v2:
        told["coordinate_windows"] = None
    return {
        "encoder": "swin",
        "native_side": first_side * patch_size,
        "patch_embed": {"features": features, "patch_size": patch_size, "norm": True},
        "imgencoder": {
            "features": features,
            "depths": [shapes.count(blocks_of_stage.format(stage)) for stage in range(4)],
            "heads": list(heads),
            "windows": windows,
            "windows_per_side": [side // size for side, size in zip(sides, windows, strict=True)],
            "hidden_ratio": shapes.of(hidden_weight, 2)[0] // features,
            **told,
        },
    }


def check_settings(settings: dict, shapes: Shapes, **supported: object) -> None:
    """CheckpointError where a Hugging Face config asks for a network that is not built here, though its shapes may fit."""
    for name, value in supported.items():
        if settings.get(name, value) != value:
            raise shapes.error(f"its config.json has {name} = {settings[name]!r}; only {value!r} is supported")


def backbone_taps(backbone: dict) -> dict:
    """{"taps": block numbers from 0} as a Hugging Face backbone_config tells them (there, 0 is the embedding), or {}."""
    if "out_indices" in backbone:
        return {"taps": [index - 1 for index in backbone["out_indices"]]}
    if "out_features" in backbone:
        return {"taps": [int(name.removeprefix("stage")) - 1 for name in backbone["out_features"]]}
    return {}


def decoder_sizes(
    *,
    stage_features: Sequence[int],
    stage_channels: Sequence[int],
    readouts: Sequence[str | None],
    fusion_features: int,
    head_channels: Sequence[int],
    scales: Sequence[float] = (4, 2, 1, 0.5),
) -> dict:
    """The config sections "reassemble", "fusion" and "head" (without activation and scale)."""
    return {
        "reassemble": {
            "stage_features": list(stage_features),
            "stage_channels": list(stage_channels),
            "scales": list(scales),
            "readouts": list(readouts),
            "fusion_features": fusion_features,
        },
        "fusion": {"features": fusion_features},
        "head": {"features": fusion_features, "channels": list(head_channels)},
    }


def _heads(shapes: Shapes, key: str, features: int) -> int:
    """How many attention heads so many features are split over, in every published ViT. key: where they show."""
    if features % VIT_HEAD_FEATURES:
        raise shapes.error(f"{key} has {features} features, expected a multiple of {VIT_HEAD_FEATURES}")
    return features // VIT_HEAD_FEATURES


def _table_side(shapes: Shapes, position_table: str) -> int:
    """Patches along one side of the square grid that a position table (1 x (1 + side^2) x C) was trained on."""
    positions = shapes.of(position_table, 3)[1]
    if positions < 2:
        raise shapes.error(f"{position_table} is empty")
    return math.isqrt(positions - 1)
