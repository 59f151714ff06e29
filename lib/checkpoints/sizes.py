"""Model sizes from tensor shapes: what the layouts of one encoder have in common."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import CheckpointError
from .keys import shape_of

VIT_HEAD_FEATURES = 64  # of one attention head, in every published ViT and DINOv2


def dinov2_sizes(
    tensors: Mapping[str, Tensor],
    *,
    patch_weight: str,
    position_table: str,
    num_blocks: int,
    gelu_weight: str,
    swiglu_weight: str,
    source: str,
    heads: int | None = None,
    position_offset: float = 0.1,
) -> dict:
    """The config sections "encoder", "patch_embed" and "imgencoder" (without taps) of a DINOv2, and "native_side".

    The arguments name the keys to look at; source names the file in errors. heads: where a config tells; shapes do not.
    position_offset: see `resize_position_table`.
    """
    features, _, patch_size, _ = shape_of(tensors, patch_weight, 4, source=source)
    if min(features, patch_size) < 1:
        raise CheckpointError(f"{source}: {patch_weight} is empty")
    table_side = table_side_of(tensors, position_table, source=source)
    is_swiglu = swiglu_weight in tensors
    hidden = shape_of(tensors, swiglu_weight if is_swiglu else gelu_weight, 2, source=source)[0]
    if heads is None and features % VIT_HEAD_FEATURES:
        raise CheckpointError(
            f"{source}: {patch_weight} has {features} features, expected a multiple of {VIT_HEAD_FEATURES}"
        )
    return {
        "encoder": "vit",
        "native_side": table_side * patch_size,
        "patch_embed": {"features": features, "patch_size": patch_size},
        "imgencoder": {
            "features": features,
            "heads": features // VIT_HEAD_FEATURES if heads is None else heads,
            "hidden": hidden // 2 if is_swiglu else hidden,
            "num_blocks": num_blocks,
            "table_side": table_side,
            "feed_forward": "swiglu" if is_swiglu else "gelu",
            "position_offset": position_offset,
        },
    }


def table_side_of(tensors: Mapping[str, Tensor], position_table: str, *, source: str) -> int:
    """Patches along one side of the square grid that a position table (1 x (1 + side^2) x C) was trained on."""
    positions = shape_of(tensors, position_table, 3, source=source)[1]
    if positions < 2:
        raise CheckpointError(f"{source}: {position_table} is empty")
    return math.isqrt(positions - 1)


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
