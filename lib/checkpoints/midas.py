"""Key layouts of the MiDaS 3.0 and 3.1 files whose encoder is one row of blocks: ViT, hybrid and BEiT.

All have "pretrained.model.*" (the encoder), "pretrained.act_postprocess*" (reassemble) and "scratch.*" (the rest).
"""

from .keys import KeyMap
from .layout import TIMM_BLOCK, TIMM_QUERY_VALUE_BIAS, Layout, has_prefixes, scratch_rules, scratch_unused, under
from .sizes import Shapes, beit_sizes, decoder_sizes, hybrid_sizes, one_row_of_blocks, vit_arguments

MODEL = "pretrained.model."
BLOCKS = MODEL + "blocks.*."
BACKBONE = MODEL + "patch_embed.backbone."  # the hybrid's convolutions
PATCH_WEIGHT = MODEL + "patch_embed.proj.weight"
HIDDEN_WEIGHT = MODEL + "blocks.0.mlp.fc1.weight"
BIAS_TABLE = "attn.relative_position_bias_table"

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


def layer_shape(shapes: Shapes, stage: int) -> tuple[int, ...]:
    """Shape of the convolution between a stage and the fusion, which every MiDaS file has."""
    return shapes.of(f"scratch.layer{stage + 1}_rn.weight", 4)


def decoder_of(shapes: Shapes, stage_features: list, readouts: list, scales: list) -> dict:
    """The decoder's sections."""
    layers = [layer_shape(shapes, stage) for stage in range(len(stage_features))]
    return decoder_sizes(
        stage_features=stage_features,
        stage_channels=[layer[1] for layer in layers],
        readouts=readouts,
        scales=scales,
        fusion_features=layers[0][0],
        head_channels=[shapes.of(f"scratch.output_conv.{number}.weight", 4)[0] for number in (0, 2)],
    )


def readouts_of(shapes: Shapes, stages: range) -> list[str]:
    """How each stage reads the class token: releases project it; variants without those weights ignore it."""
    return ["project" if shapes.has(f"pretrained.act_postprocess{stage + 1}.0.project.") else "ignore" for stage in stages]


def decoder_of_blocks(shapes: Shapes, features: int) -> dict:
    """The decoder's sections behind one row of blocks."""
    return decoder_of(shapes, [features] * 4, readouts_of(shapes, range(4)), [4, 2, 1, 0.5])


def read_vit_arguments(shapes: Shapes) -> dict:
    """The arguments of ViTEncoder, without taps."""
    return vit_arguments(
        shapes,
        class_token=MODEL + "cls_token",
        position_table=MODEL + "pos_embed",
        hidden_weight=HIDDEN_WEIGHT,
        num_blocks=shapes.count(MODEL + "blocks."),
    )


def read_vit(shapes: Shapes, config: dict) -> dict:
    """The model config of a ViT, as far as shapes tell it."""
    vit = read_vit_arguments(shapes)
    sizes = one_row_of_blocks("vit", vit, patch_size=shapes.of(PATCH_WEIGHT, 4)[-1])
    return sizes | decoder_of_blocks(shapes, vit["features"])


def read_hybrid(shapes: Shapes, config: dict) -> dict:
    """The model config of a hybrid, as far as shapes tell it."""
    vit = read_vit_arguments(shapes)
    sizes = hybrid_sizes(
        shapes, vit, stem_weight=BACKBONE + "stem.conv.weight", blocks_of_stage=BACKBONE + "stages.{}.blocks."
    )
    maps = [shapes.of(f"{BACKBONE}stages.{stage}.blocks.0.conv3.weight", 4)[0] for stage in range(2)]
    features = [*maps, vit["features"], vit["features"]]
    readouts = [None, None, *readouts_of(shapes, range(2, 4))]
    return sizes | decoder_of(shapes, features, readouts, [1, 1, 1, 0.5])


def read_beit(shapes: Shapes, config: dict) -> dict:
    """The model config of a BEiT, as far as shapes tell it."""
    sizes = beit_sizes(
        shapes,
        patch_weight=PATCH_WEIGHT,
        bias_table=MODEL + "blocks.0." + BIAS_TABLE,
        hidden_weight=HIDDEN_WEIGHT,
        num_blocks=shapes.count(MODEL + "blocks."),
    )
    return sizes | decoder_of_blocks(shapes, sizes["patch_embed"]["features"])


PATCHES = {MODEL + "patch_embed.proj.": "patch_embed.projection."}
DECODER = scratch_rules() | reassemble_rules() | output_rules()
TOKENS = {MODEL + "cls_token": "class_token", MODEL + "pos_embed": "position_table"}
UNUSED = [*CLASSIFIER, *scratch_unused()]

VIT = Layout(
    title="MiDaS DPT with a ViT",
    family="midas-vit",
    matches=lambda tensors: has_prefixes(tensors, MODEL + "blocks.", "scratch."),
    read_sizes=read_vit,
    keys=KeyMap(
        PATCHES | under("", "imgencoder.", TOKENS) | under(BLOCKS, "imgencoder.blocks.*.", TIMM_BLOCK) | DECODER,
        unused=UNUSED,
    ),
)

STAGE = "imgencoder.stages.*.*."
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

BEIT_RULES = (
    PATCHES
    | {MODEL + "cls_token": "imgencoder.class_token"}
    | {BLOCKS + BIAS_TABLE: "imgencoder.biases.*.table"}
    | under(
        BLOCKS,
        "imgencoder.blocks.*.",
        TIMM_BLOCK | TIMM_QUERY_VALUE_BIAS | {"gamma_1": "scale_1.gamma", "gamma_2": "scale_2.gamma"},
    )
    | DECODER
)
BEIT_UNUSED = [*UNUSED, BLOCKS + "attn.relative_position_index"]  # computed here, for any grid
BEIT = Layout(
    title="MiDaS DPT with a BEiT",
    family="midas-beit",
    matches=lambda tensors: (
        has_prefixes(tensors, MODEL + "blocks.", "scratch.") and any(BIAS_TABLE in key for key in tensors)
    ),
    read_sizes=read_beit,
    keys=KeyMap(BEIT_RULES, unused=BEIT_UNUSED, zero_key_bias=True),
)
