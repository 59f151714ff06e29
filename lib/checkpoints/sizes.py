"""Model sizes from tensor shapes: what the layouts of one encoder have in common."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import CheckpointError
from .keys import shape_of

DINOV2_HEAD_FEATURES = 64  # in every published size


def dinov2_sizes(
    tensors: Mapping[str, Tensor],
    *,
    patch_weight: str,
    position_table: str,
    num_blocks: int,
    gelu_weight: str,
    swiglu_weight: str,
    source: str,
) -> dict:
    """The config sections "encoder", "patch_embed" and "imgencoder" (without taps) of a DINOv2.

    The arguments name the keys to look at; source names the file in errors.
    """
    features, _, patch_size, _ = shape_of(tensors, patch_weight, 4, source=source)
    table_side = math.isqrt(shape_of(tensors, position_table, 3, source=source)[1] - 1)
    is_swiglu = swiglu_weight in tensors
    hidden = shape_of(tensors, swiglu_weight if is_swiglu else gelu_weight, 2, source=source)[0]
    if features % DINOV2_HEAD_FEATURES:
        raise CheckpointError(
            f"{source}: {patch_weight} has {features} features, expected a multiple of {DINOV2_HEAD_FEATURES}"
        )
    return {
        "encoder": "vit",
        "patch_embed": {"features": features, "patch_size": patch_size},
        "imgencoder": {
            "features": features,
            "heads": features // DINOV2_HEAD_FEATURES,
            "hidden": hidden // 2 if is_swiglu else hidden,
            "num_blocks": num_blocks,
            "table_side": table_side,
            "feed_forward": "swiglu" if is_swiglu else "gelu",
        },
    }


def decoder_sizes(
    *,
    stage_features: Sequence[int],
    stage_channels: Sequence[int],
    readout: str | None,
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
            "readout": readout,
            "fusion_features": fusion_features,
        },
        "fusion": {"features": fusion_features},
        "head": {"features": fusion_features, "channels": list(head_channels)},
    }
