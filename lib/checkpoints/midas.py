"""Key layouts of the MiDaS 3.0 and 3.1 files whose encoder is one row of blocks: ViT, hybrid and BEiT.

All have "pretrained.model.*" (the encoder), "pretrained.act_postprocess*" (reassemble) and "scratch.*" (the rest).
"""

from collections.abc import Mapping

from torch import Tensor

from .keys import KeyMap, count_blocks, shape_of
from .layout import TIMM_BLOCK, TIMM_QUERY_VALUE_BIAS, Layout, has_prefixes, scratch_rules, scratch_unused, under
from .sizes import VIT_HEAD_FEATURES, decoder_sizes, table_side_of

MODEL = "pretrained.model."
BLOCKS = MODEL + "blocks.*."

CLASSIFIER = [  # of the encoder's own pre-training
    MODEL + leaf + kind for leaf in ("norm.", "fc_norm.", "head.") for kind in ("weight", "bias")
]


def output_rules() -> dict[str, str]:
    """The last convolutions."""
    return {f"scratch.output_conv.{theirs}.": f"head.conv_{ours}." for theirs, ours in ((0, 1), (2, 2), (4, 3))}


def reassemble_rules() -> dict[str, str]:
    """Readout, projection and resizing of the four stages."""
    rules = {}
    for stage in range(4):
        theirs, ours = f"pretrained.act_postprocess{stage + 1}.", f"reassemble.stages.{stage}."
        rules |= under(theirs, ours, {"0.project.0.": "readout.mix.", "3.": "project.", "4.": "resize."})
    return rules


def decoder_of(tensors: Mapping[str, Tensor], stage_features: list, readouts: list, scales: list, *, source: str) -> dict:
    """The decoder's sections, from the convolutions that every MiDaS file has."""
    layers = [
        shape_of(tensors, f"scratch.layer{stage + 1}_rn.weight", 4, source=source) for stage in range(len(stage_features))
    ]
    return decoder_sizes(
        stage_features=stage_features,
        stage_channels=[layer[1] for layer in layers],
        readouts=readouts,
        scales=scales,
        fusion_features=layers[0][0],
        head_channels=[
            shape_of(tensors, f"scratch.output_conv.{number}.weight", 4, source=source)[0] for number in (0, 2)
        ],
    )


def readouts_of(tensors: Mapping[str, Tensor], stages: range) -> list[str]:
    """How each stage reads the class token: releases project it; variants without those weights ignore it."""
    keys = [f"pretrained.act_postprocess{stage + 1}.0.project.0.weight" for stage in stages]
    return ["project" if key in tensors else "ignore" for key in keys]


def vit_settings(tensors: Mapping[str, Tensor], *, source: str) -> dict:
    """The arguments of ViTEncoder, without taps."""
    features = shape_of(tensors, MODEL + "cls_token", 3, source=source)[-1]
    return {
        "features": features,
        "heads": max(features // VIT_HEAD_FEATURES, 1),
        "hidden": shape_of(tensors, MODEL + "blocks.0.mlp.fc1.weight", 2, source=source)[0],
        "num_blocks": count_blocks(tensors, MODEL + "blocks."),
        "table_side": table_side_of(tensors, MODEL + "pos_embed", source=source),
        "layer_scale": False,
        "final_norm": False,
        "position_mode": "bilinear",
        "position_offset": 0.0,
    }


def read_vit(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    vit = vit_settings(tensors, source=source)
    patch_size = shape_of(tensors, MODEL + "patch_embed.proj.weight", 4, source=source)[-1]
    return {
        "encoder": "vit",
        "native_side": vit["table_side"] * patch_size,
        "patch_embed": {"features": vit["features"], "patch_size": patch_size},
        "imgencoder": vit,
        **decoder_of(
            tensors, [vit["features"]] * 4, readouts_of(tensors, range(4)), [4, 2, 1, 0.5], source=source
        ),
    }


def read_hybrid(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    vit = vit_settings(tensors, source=source)
    backbone = MODEL + "patch_embed.backbone."
    channels = shape_of(tensors, backbone + "stem.conv.weight", 4, source=source)[0]
    depths = [count_blocks(tensors, f"{backbone}stages.{stage}.blocks.") for stage in range(3)]
    maps = [shape_of(tensors, f"scratch.layer{stage}_rn.weight", 4, source=source)[1] for stage in (1, 2)]
    return {
        "encoder": "hybrid",
        "native_side": vit["table_side"] * 16,
        "patch_embed": {"channels": channels, "patch_size": 16},
        "imgencoder": {"stem_channels": channels, "depths": depths, "vit": vit},
        **decoder_of(
            tensors,
            [*maps, vit["features"], vit["features"]],
            [None, None, *readouts_of(tensors, range(2, 4))],
            [1, 1, 1, 0.5],
            source=source,
        ),
    }


def read_beit(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    features = shape_of(tensors, MODEL + "cls_token", 3, source=source)[-1]
    patch_size = shape_of(tensors, MODEL + "patch_embed.proj.weight", 4, source=source)[-1]
    offsets, heads = shape_of(tensors, MODEL + "blocks.0.attn.relative_position_bias_table", 2, source=source)
    table_side = (round((offsets - 3) ** 0.5) + 1) // 2  # (2 side - 1)^2 offsets between patches, 3 with the class token
    return {
        "encoder": "beit",
        "native_side": table_side * patch_size,
        "patch_embed": {"features": features, "patch_size": patch_size},
        "imgencoder": {
            "features": features,
            "heads": heads,
            "hidden": shape_of(tensors, MODEL + "blocks.0.mlp.fc1.weight", 2, source=source)[0],
            "num_blocks": count_blocks(tensors, MODEL + "blocks."),
            "table_side": table_side,
        },
        **decoder_of(tensors, [features] * 4, readouts_of(tensors, range(4)), [4, 2, 1, 0.5], source=source),
    }


PATCHES = {MODEL + "patch_embed.proj.": "patch_embed.projection."}
DECODER = scratch_rules() | reassemble_rules() | output_rules()
TOKENS = {MODEL + "cls_token": "class_token", MODEL + "pos_embed": "position_table"}
UNUSED = [*CLASSIFIER, *scratch_unused()]

VIT = Layout(
    title="MiDaS DPT with a ViT",
    family="midas-vit",
    matches=lambda tensors: has_prefixes(tensors, MODEL + "blocks.", MODEL + "pos_embed", "scratch."),
    read_sizes=read_vit,
    keys=KeyMap(
        PATCHES | under("", "imgencoder.", TOKENS) | under(BLOCKS, "imgencoder.blocks.*.", TIMM_BLOCK) | DECODER,
        unused=UNUSED,
    ),
)

BACKBONE, STAGE = MODEL + "patch_embed.backbone.", "imgencoder.stages.*.*."
HYBRID = Layout(
    title="MiDaS DPT with a hybrid of ResNet and ViT",
    family="midas-hybrid",
    matches=lambda tensors: has_prefixes(tensors, BACKBONE, "scratch."),
    read_sizes=read_hybrid,
    keys=KeyMap(
        {
            BACKBONE + "stem.conv.": "patch_embed.conv.",
            BACKBONE + "stem.norm.": "patch_embed.norm.",
            BACKBONE + "stages.*.blocks.*.downsample.conv.": STAGE + "shortcut.0.",
            BACKBONE + "stages.*.blocks.*.downsample.norm.": STAGE + "shortcut.1.",
            BACKBONE + "stages.*.blocks.*.conv*.": STAGE + "conv_*.",
            BACKBONE + "stages.*.blocks.*.norm*.": STAGE + "norm_*.",
            MODEL + "patch_embed.proj.": "imgencoder.projection.",
        }
        | under("", "imgencoder.vit.", TOKENS)
        | under(BLOCKS, "imgencoder.vit.blocks.*.", TIMM_BLOCK)
        | DECODER,
        unused=UNUSED,
    ),
)

BEIT = Layout(
    title="MiDaS DPT with a BEiT",
    family="midas-beit",
    matches=lambda tensors: (
        has_prefixes(tensors, MODEL + "blocks.", "scratch.") and any("relative_position_bias_table" in key for key in tensors)
    ),
    read_sizes=read_beit,
    keys=KeyMap(
        PATCHES
        | {MODEL + "cls_token": "imgencoder.class_token"}
        | {BLOCKS + "attn.relative_position_bias_table": "imgencoder.biases.*.table"}
        | under(
            BLOCKS,
            "imgencoder.blocks.*.",
            TIMM_BLOCK | TIMM_QUERY_VALUE_BIAS | {"gamma_1": "scale_1.gamma", "gamma_2": "scale_2.gamma"},
        )
        | DECODER,
        unused=[*UNUSED, BLOCKS + "attn.relative_position_index"],  # computed here, for any grid
        zero_key_bias=True,
    ),
)
