"""Key layouts of DPT models in Hugging Face folders ("DPTForDepthEstimation"): ViT, hybrid, BEiT, SwinV2 and DINOv2.

Same networks, other names: queries, keys and values are separate layers, and a config.json beside the weights says what
MiDaS keeps in its code. The encoder is "dpt.*" (ViT, hybrid) or "backbone.*" (the others); "neck.*" and "head.*" follow.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..image_processor import PictureRule
from .depth_anything_hf import DINOV2_OPTIONAL, DINOV2_RULES, DINOV2_UNUSED, read_dinov2
from .keys import KeyMap
from .layout import HF_BLOCK, HF_NECK_UNUSED, Layout, has_prefixes, hf_neck_rules, qkv_parts, under
from .sizes import (
    Shapes,
    backbone_taps,
    beit_sizes,
    check_settings,
    decoder_sizes,
    hybrid_sizes,
    one_row_of_blocks,
    swin_sizes,
    vit_arguments,
)

HALF = (0.5, 0.5, 0.5)
DPT_PICTURE = PictureRule(
    side=384, multiple=16, fit="stretch", resample="antialiased_cubic", mean=HALF, std=HALF, restore="bicubic"
)

# What `transformers` takes where a config.json does not say
NORM_EPS, HEADS, TAPS = 1e-12, 12, (2, 5, 8, 11)
SWIN_NORM_EPS, SWIN_IMAGE, SWIN_WINDOW = 1e-5, 224, 7

HEAD = {
    "head.projection.": "head.project.",
    "head.head.0.": "head.conv_1.",
    "head.head.2.": "head.conv_2.",
    "head.head.4.": "head.conv_3.",
}
DECODER = hf_neck_rules() | HEAD
EMBEDDINGS = {"cls_token": "class_token", "position_embeddings": "position_table"}
PATCH_WEIGHT = "backbone.embeddings.patch_embeddings.projection.weight"
BIT = "dpt.embeddings.backbone.bit."
TABLE_OF_BLOCK = "attention.attention.relative_position_bias.relative_position_bias_table"


def decoder_of(
    shapes: Shapes,
    config: dict,
    stage_features: list,
    readouts: list | None = None,
    *,
    head_convs: Sequence[str] = ("head.head.0.", "head.head.2."),
    head_project: str = "head.projection.",
) -> dict:
    """The decoder's sections, from shapes and the switches of config.json.

    readouts: by default what these tell. head_convs, head_project: what the head's convolutions are called.
    """
    check_settings(config, shapes, hidden_act="gelu", head_in_index=-1)
    convs = [shapes.of(f"neck.convs.{stage}.weight", 4) for stage in range(4)]
    if readouts is None:
        projects = shapes.has("neck.reassemble_stage.readout_projects.")
        adds = config.get("readout_type") == "add"
        readouts = ["project" if projects else "add" if adds else "ignore"] * 4
    sections = decoder_sizes(
        stage_features=stage_features,
        stage_channels=[conv[1] for conv in convs],
        readouts=readouts,
        scales=config.get("reassemble_factors", (4, 2, 1, 0.5)) if any(readouts) else [1] * 4,
        fusion_features=convs[0][0],
        head_channels=[shapes.of(f"{conv}weight", 4)[0] for conv in head_convs],
    )
    unit = "neck.fusion_stage.layers.1.residual_layer2."
    sections["fusion"] |= {
        "bias": unit + "convolution1.bias" in shapes,
        "batch_norm": unit + "batch_norm1.weight" in shapes,
        "always_double": True,
    }
    sections["head"] |= {"projects": f"{head_project}weight" in shapes, "always_double": True}
    return sections


def read_vit_arguments(shapes: Shapes, config: dict, first_tap: int) -> dict:
    """The arguments of ViTEncoder for "dpt.*" keys. first_tap: how many of the config's taps lie before the blocks."""
    told = {"norm_eps": config.get("layer_norm_eps", NORM_EPS)}
    if config:
        told["heads"] = config.get("num_attention_heads", HEADS)
        told["taps"] = list(config.get("backbone_out_indices", TAPS))[first_tap:]
    return vit_arguments(
        shapes,
        class_token="dpt.embeddings.cls_token",
        position_table="dpt.embeddings.position_embeddings",
        hidden_weight="dpt.encoder.layer.0.intermediate.dense.weight",
        num_blocks=shapes.count("dpt.encoder.layer."),
        **told,
    )


def read_vit(shapes: Shapes, config: dict) -> dict:
    """The model config of a ViT."""
    vit = read_vit_arguments(shapes, config, 0)
    patch_size = shapes.of("dpt.embeddings.patch_embeddings.projection.weight", 4)[-1]
    return one_row_of_blocks("vit", vit, patch_size) | decoder_of(shapes, config, [vit["features"]] * 4)


def read_hybrid(shapes: Shapes, config: dict) -> dict:
    """The model config of a hybrid, whose first two taps are convolution stages."""
    vit = read_vit_arguments(shapes, config, 2)
    bit = config.get("backbone_config") or {}
    padding = str(bit.get("global_padding", "same")).lower()  # in capitals, where `transformers` wrote it
    check_settings(bit | {"global_padding": padding}, shapes, global_padding="same", hidden_act="relu", num_groups=32)
    sizes = hybrid_sizes(
        shapes, vit, stem_weight=BIT + "embedder.convolution.weight", blocks_of_stage=BIT + "encoder.stages.{}.layers."
    )
    maps = [shapes.of(f"{BIT}encoder.stages.{stage}.layers.0.conv3.weight", 4)[0] for stage in range(2)]
    features = [*maps, vit["features"], vit["features"]]
    return sizes | decoder_of(shapes, config, features, [None, None, "project", "project"])


def read_beit_encoder(shapes: Shapes, config: dict) -> dict:
    """The encoder's sections of a BEiT."""
    backbone = config.get("backbone_config") or {}
    check_settings(backbone, shapes, hidden_act="gelu")
    return beit_sizes(
        shapes,
        patch_weight=PATCH_WEIGHT,
        bias_table="backbone.encoder.layer.0." + TABLE_OF_BLOCK,
        hidden_weight="backbone.encoder.layer.0.intermediate.dense.weight",
        num_blocks=shapes.count("backbone.encoder.layer."),
        norm_eps=backbone.get("layer_norm_eps", NORM_EPS),
        **backbone_taps(backbone),
    )


def read_beit(shapes: Shapes, config: dict) -> dict:
    """The model config of a BEiT."""
    sizes = read_beit_encoder(shapes, config)
    return sizes | decoder_of(shapes, config, [sizes["patch_embed"]["features"]] * 4)


def read_swin(shapes: Shapes, config: dict) -> dict:
    """The model config of a SwinV2. Picture and window size are in config.json alone."""
    backbone = config.get("backbone_config") or {}
    check_settings(backbone, shapes, hidden_act="gelu")
    layers = "backbone.encoder.layers."
    sizes = swin_sizes(
        shapes,
        patch_weight=PATCH_WEIGHT,
        hidden_weight=layers + "0.blocks.0.intermediate.dense.weight",
        blocks_of_stage=layers + "{}.blocks.",
        heads=[shapes.of(f"{layers}{stage}.blocks.0.attention.self.logit_scale", 3)[0] for stage in range(4)],
        window=backbone.get("window_size", SWIN_WINDOW),
        first_side=backbone.get("image_size", SWIN_IMAGE) // shapes.of(PATCH_WEIGHT, 4)[-1],
        is_v2=True,
        pretrained_windows=backbone.get("pretrained_window_sizes") or [0] * 4,
        norm_eps=backbone.get("layer_norm_eps", SWIN_NORM_EPS),
    )
    widths = [sizes["patch_embed"]["features"] * 2**stage for stage in range(4)]
    return sizes | decoder_of(shapes, config, widths, [None] * 4)


def read_dpt_dinov2(shapes: Shapes, config: dict) -> dict:
    """The model config of a DINOv2."""
    sizes = read_dinov2(shapes, config)
    return sizes | decoder_of(shapes, config, [sizes["patch_embed"]["features"]] * 4)


DPT_LAYER = HF_BLOCK | qkv_parts("attention.attention.")
VIT_UNUSED = [
    *HF_NECK_UNUSED,
    *(f"dpt.{leaf}.{kind}" for leaf in ("layernorm", "pooler.dense") for kind in ("weight", "bias")),
]

VIT = Layout(
    title="DPT with a ViT (Hugging Face layout)",
    family="midas-vit",
    matches=lambda tensors: has_prefixes(tensors, "dpt.encoder.layer.", "dpt.embeddings.patch_embeddings.", "neck."),
    read_sizes=read_vit,
    keys=KeyMap(
        {"dpt.embeddings.patch_embeddings.projection.": "patch_embed.projection."}
        | under("dpt.embeddings.", "imgencoder.", EMBEDDINGS)
        | under("dpt.encoder.layer.*.", "imgencoder.blocks.*.", DPT_LAYER)
        | DECODER,
        unused=VIT_UNUSED,
    ),
    picture=DPT_PICTURE,
)

STAGE = "imgencoder.stages.*.*."
HYBRID = Layout(
    title="DPT with a hybrid of BiT and ViT (Hugging Face layout)",
    family="midas-hybrid",
    matches=lambda tensors: has_prefixes(tensors, BIT, "neck."),
    read_sizes=read_hybrid,
    keys=KeyMap(
        {
            BIT + "embedder.convolution.": "patch_embed.conv.",
            BIT + "embedder.norm.": "patch_embed.norm.",
            BIT + "encoder.stages.*.layers.*.downsample.conv.": STAGE + "shortcut.0.",
            BIT + "encoder.stages.*.layers.*.downsample.norm.": STAGE + "shortcut.1.",
            BIT + "encoder.stages.*.layers.*.conv*.": STAGE + "conv_*.",
            BIT + "encoder.stages.*.layers.*.norm*.": STAGE + "norm_*.",
            "dpt.embeddings.projection.": "imgencoder.projection.",
        }
        | under("dpt.embeddings.", "imgencoder.vit.", EMBEDDINGS)
        | under("dpt.encoder.layer.*.", "imgencoder.vit.blocks.*.", DPT_LAYER)
        | DECODER,
        unused=VIT_UNUSED,
    ),
    picture=DPT_PICTURE,
)

LAYER = "backbone.encoder.layer.*."
BEIT_RULES = {
    "backbone.embeddings.patch_embeddings.projection.": "patch_embed.projection.",
    "backbone.embeddings.cls_token": "imgencoder.class_token",
    LAYER + TABLE_OF_BLOCK: "imgencoder.biases.*.table",
} | under(LAYER, "imgencoder.blocks.*.", DPT_LAYER | {"lambda_1": "scale_1.gamma", "lambda_2": "scale_2.gamma"})
BEIT_UNUSED = [
    *HF_NECK_UNUSED,
    "backbone.embeddings.mask_token",
    LAYER + "attention.attention.relative_position_bias.relative_position_index",
]
BEIT = Layout(
    title="DPT with a BEiT (Hugging Face layout)",
    family="midas-beit",
    matches=lambda tensors: (
        has_prefixes(tensors, "backbone.encoder.layer.", "neck.") and any(TABLE_OF_BLOCK in key for key in tensors)
    ),
    read_sizes=read_beit,
    keys=KeyMap(BEIT_RULES | DECODER, unused=BEIT_UNUSED, zero_key_bias=True),
    picture=DPT_PICTURE,
)

SWIN_BLOCK = "backbone.encoder.layers.*.blocks.*."
SWIN_V2 = Layout(
    title="DPT with a SwinV2 (Hugging Face layout)",
    family="midas-swin2",
    matches=lambda tensors: has_prefixes(tensors, "backbone.encoder.layers.", "neck."),
    read_sizes=read_swin,
    keys=KeyMap(
        {
            "backbone.embeddings.patch_embeddings.projection.": "patch_embed.projection.",
            "backbone.embeddings.norm.": "patch_embed.norm.",
        }
        | under(
            SWIN_BLOCK,
            "imgencoder.stages.*.*.",
            HF_BLOCK
            | qkv_parts("attention.self.")
            | {
                # SwinV2 normalises after each part, and these names were given when it was before
                "attention.self.logit_scale": "attention.logit_scale",
                "attention.self.continuous_position_bias_mlp.0.": "attention.bias.expand.",
                "attention.self.continuous_position_bias_mlp.2.": "attention.bias.contract.",
            },
        )
        | under("backbone.encoder.layers.*.downsample.", "imgencoder.merges.*.", {"reduction.": "reduction.", "norm.": "norm."})
        | DECODER,
        unused=[
            *HF_NECK_UNUSED,
            *(f"{SWIN_BLOCK}attention.self.{leaf}" for leaf in ("relative_position_index", "relative_coords_table")),
            *(f"backbone.{norm}.{kind}" for norm in ("layernorm", "hidden_states_norms.stage*") for kind in ("weight", "bias")),
        ],
        zero_key_bias=True,
    ),
    picture=replace(DPT_PICTURE, multiple=32),
)

DINOV2 = Layout(
    title="DPT with a DINOv2 (Hugging Face layout)",
    family="dinov2-dpt",
    matches=lambda tensors: has_prefixes(tensors, "backbone.encoder.layer.0.layer_scale1", "neck.", "head.head."),
    read_sizes=read_dpt_dinov2,
    keys=KeyMap(DINOV2_RULES | DECODER, unused=[*HF_NECK_UNUSED, *DINOV2_UNUSED], optional=DINOV2_OPTIONAL),
    picture=PictureRule(side=518, multiple=14, fit="pad", restore="bicubic"),
)
