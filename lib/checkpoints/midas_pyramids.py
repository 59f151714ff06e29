"""Key layouts of the MiDaS 3.1 files whose encoder is a pyramid: SwinV2, Swin and LeViT."""

import math
from collections.abc import Mapping

from torch import Tensor

from ..errors import CheckpointError
from .keys import KeyMap, count_blocks, shape_of
from .layout import TIMM_BLOCK, TIMM_QUERY_VALUE_BIAS, Layout, has_prefixes, scratch_rules, scratch_unused, under
from .midas import CLASSIFIER, MODEL, PATCHES, decoder_of, output_rules

LAYERS, STAGES = MODEL + "layers.*.", "imgencoder.stages.*.*."
BLOCKS = LAYERS + "blocks.*."


def read_swin(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    """Sizes of a Swin or SwinV2. Window and picture size show in the stored masks of the shifted windows."""
    features, _, patch_size, _ = shape_of(tensors, MODEL + "patch_embed.proj.weight", 4, source=source)
    num_windows, area, _ = shape_of(tensors, MODEL + "layers.0.blocks.1.attn_mask", 3, source=source)
    window, first_side = math.isqrt(area), math.isqrt(num_windows) * math.isqrt(area)
    num_stages = count_blocks(tensors, MODEL + "layers.")
    if window < 2 or num_stages != 4:
        raise CheckpointError(f"{source}: {num_stages} stages with windows of {window}; a Swin encoder here has four stages")
    sides = [first_side // 2**stage for stage in range(num_stages)]
    windows = [min(window, side) for side in sides]  # a window is never larger than the grid
    attention = MODEL + "layers.{}.blocks.0.attn."
    is_v2 = attention.format(0) + "logit_scale" in tensors
    heads = [
        shape_of(tensors, attention.format(stage) + "logit_scale", 3, source=source)[0]
        if is_v2
        else shape_of(tensors, attention.format(stage) + "relative_position_bias_table", 2, source=source)[1]
        for stage in range(num_stages)
    ]
    hidden = shape_of(tensors, MODEL + "layers.0.blocks.0.mlp.fc1.weight", 2, source=source)[0]
    widths = [features * 2**stage for stage in range(num_stages)]
    return {
        "encoder": "swin",
        "native_side": first_side * patch_size,
        "patch_embed": {"features": features, "patch_size": patch_size, "norm": True},
        "imgencoder": {
            "features": features,
            "depths": [count_blocks(tensors, f"{MODEL}layers.{stage}.blocks.") for stage in range(num_stages)],
            "heads": heads,
            "windows": windows,
            "windows_per_side": [side // size for side, size in zip(sides, windows, strict=True)],
            "coordinate_windows": windows if is_v2 else None,  # the model type may know better
            "hidden_ratio": hidden // features,
        },
        **decoder_of(tensors, widths, [None] * 4, [1] * 4, source=source),
    }


def read_levit(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    """Sizes of a LeViT with three stages."""
    blocks = MODEL + "blocks."
    stem = [shape_of(tensors, f"{MODEL}patch_embed.{layer}.c.weight", 4, source=source)[0] for layer in (0, 2, 4, 6)]
    heads_0, area = shape_of(tensors, blocks + "0.m.attention_biases", 2, source=source)
    side = math.isqrt(area)
    shrinking = sorted(
        int(key.removeprefix(blocks).split(".")[0]) for key in tensors if key.endswith(".kv.c.weight")
    )  # the numbers of the attentions between the stages
    if len(shrinking) != 2:
        raise CheckpointError(f"{source}: {len(shrinking) + 1} stages; a LeViT encoder here has three")
    widths, heads = [stem[-1]], [heads_0]
    for number in shrinking:
        widths.append(shape_of(tensors, f"{blocks}{number}.proj.1.c.weight", 2, source=source)[0])
        heads.append(shape_of(tensors, f"{blocks}{number + 2}.m.attention_biases", 2, source=source)[0])
    sections = decoder_of(tensors, widths, [None] * 3, [1] * 3, source=source)
    sections["fusion"]["num_stages"] = 3
    sections["head"]["stem_channels"] = [
        shape_of(tensors, f"scratch.stem_transpose.{layer}.c.weight", 4, source=source)[1] for layer in (0, 2)
    ]
    return {
        "encoder": "levit",
        "native_side": side * 16,
        "patch_embed": {"channels": stem, "image_size": side * 16},
        "imgencoder": {"widths": widths, "heads": heads, "depth": shrinking[0] // 2, "side": side},
        **sections,
    }


SWIN_BLOCK = TIMM_BLOCK | TIMM_QUERY_VALUE_BIAS | {
    "attn.relative_position_bias_table": "attention.bias.table",  # Swin
    "attn.logit_scale": "attention.logit_scale",  # and SwinV2
    "attn.cpb_mlp.0.": "attention.bias.expand.",
    "attn.cpb_mlp.2.": "attention.bias.contract.",
}
SWIN_RULES = (
    PATCHES
    | {MODEL + "patch_embed.norm.": "patch_embed.norm."}
    | under(BLOCKS, STAGES, SWIN_BLOCK)
    | under(LAYERS + "downsample.", "imgencoder.merges.*.", {"reduction.": "reduction.", "norm.": "norm."})
    | scratch_rules()
    | output_rules()
)
SWIN_UNUSED = [*CLASSIFIER, *scratch_unused(), BLOCKS + "attn_mask", BLOCKS + "attn.relative_position_index"]


def _is_swin(tensors: Mapping[str, Tensor]) -> bool:
    return has_prefixes(tensors, MODEL + "layers.0.blocks.", "scratch.")


SWIN_V2 = Layout(
    title="MiDaS DPT with a SwinV2",
    family="midas-swin2",
    matches=lambda tensors: _is_swin(tensors) and any(key.endswith(".attn.logit_scale") for key in tensors),
    read_sizes=read_swin,
    keys=KeyMap(SWIN_RULES, unused=SWIN_UNUSED, zero_key_bias=True),
)
SWIN = Layout(
    title="MiDaS DPT with a Swin",
    family="midas-swin",
    matches=_is_swin,
    read_sizes=read_swin,
    keys=KeyMap(SWIN_RULES, unused=SWIN_UNUSED),
)

LEVIT_BLOCK, LAYER = MODEL + "blocks.*.", "imgencoder.layers.*."
LINEAR_NORM = {"c.": "linear.", "bn.": "norm."}
LEVIT = Layout(
    title="MiDaS DPT with a LeViT",
    family="midas-levit",
    matches=lambda tensors: has_prefixes(tensors, "scratch.stem_transpose.", MODEL),
    read_sizes=read_levit,
    keys=KeyMap(
        {f"{MODEL}patch_embed.{2 * layer}.c.": f"patch_embed.layers.{layer}.conv." for layer in range(4)}
        | {f"{MODEL}patch_embed.{2 * layer}.bn.": f"patch_embed.layers.{layer}.norm." for layer in range(4)}
        | {LEVIT_BLOCK + "m.attention_biases": LAYER + "distance_bias"}
        | {LEVIT_BLOCK + "attention_biases": LAYER + "distance_bias"}
        | {LEVIT_BLOCK + "m.attention_bias_idxs": LAYER + "distance_index"}
        | {LEVIT_BLOCK + "attention_bias_idxs": LAYER + "distance_index"}
        | under(LEVIT_BLOCK + "m.qkv.", LAYER + "qkv.", LINEAR_NORM)
        | under(LEVIT_BLOCK + "m.proj.1.", LAYER + "project.", LINEAR_NORM)
        | under(LEVIT_BLOCK + "m.0.", LAYER + "expand.", LINEAR_NORM)
        | under(LEVIT_BLOCK + "m.2.", LAYER + "contract.", LINEAR_NORM)
        | under(LEVIT_BLOCK + "q.1.", LAYER + "query.", LINEAR_NORM)
        | under(LEVIT_BLOCK + "kv.", LAYER + "key_value.", LINEAR_NORM)
        | under(LEVIT_BLOCK + "proj.1.", LAYER + "project.", LINEAR_NORM)
        | {f"scratch.stem_transpose.{2 * layer}.c.": f"head.stem.convs.{layer}." for layer in range(2)}
        | {f"scratch.stem_transpose.{2 * layer}.bn.": f"head.stem.norms.{layer}." for layer in range(2)}
        | scratch_rules(num_stages=3)
        | output_rules(),
        unused=[
            *scratch_unused(num_stages=3),
            *(
                f"{MODEL}{head}.{leaf}"  # the two classifiers
                for head in ("head", "head_dist")
                for leaf in (
                    "l.weight",
                    "l.bias",
                    "bn.weight",
                    "bn.bias",
                    "bn.running_mean",
                    "bn.running_var",
                    "bn.num_batches_tracked",
                )
            ),
        ],
    ),
)
