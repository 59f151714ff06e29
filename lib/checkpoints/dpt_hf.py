"""Key layouts of DPT models in Hugging Face folders ("DPTForDepthEstimation"): ViT, hybrid, BEiT, SwinV2 and DINOv2.

Same networks, other names: queries, keys and values are separate layers, and a config.json beside the weights says what
MiDaS keeps in its code. The encoder is "dpt.*" (ViT, hybrid) or "backbone.*" (the others); "neck.*" and "head.*" follow.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ..image_processor import PictureRule
from .depth_anything_hf import DINOV2_RULES, DINOV2_UNUSED, read_dinov2
from .keys import KeyMap, count_blocks, shape_of
from .layout import HF_BLOCK, HF_NECK_UNUSED, Layout, has_prefixes, hf_neck_rules, qkv_parts, under
from .sizes import VIT_HEAD_FEATURES, backbone_taps, decoder_sizes, table_side_of

HALF = (0.5, 0.5, 0.5)
DPT_PICTURE = PictureRule(
    side=384, multiple=16, fit="stretch", resample="antialiased_cubic", mean=HALF, std=HALF, restore="bicubic"
)

HEAD = {
    "head.projection.": "head.project.",
    "head.head.0.": "head.conv_1.",
    "head.head.2.": "head.conv_2.",
    "head.head.4.": "head.conv_3.",
}
DECODER = hf_neck_rules() | HEAD
EMBEDDINGS = {"cls_token": "class_token", "position_embeddings": "position_table"}
TABLE_OF_BLOCK = "attention.attention.relative_position_bias.relative_position_bias_table"


def decoder_of(tensors: Mapping[str, Tensor], config: dict, stage_features: list, *, source: str, encoder: str) -> dict:
    """The decoder's sections, from shapes and the switches of config.json."""
    stages = range(len(stage_features))
    convs = [shape_of(tensors, f"neck.convs.{stage}.weight", 4, source=source) for stage in stages]
    readouts, scales = [None] * 4, [1] * 4
    if encoder != "swin":
        has_readout = "neck.reassemble_stage.readout_projects.3.0.weight" in tensors
        readouts = ["project" if has_readout else "ignore"] * 4
        scales = list(config.get("reassemble_factors", (4, 2, 1, 0.5)))
    if encoder == "hybrid":
        readouts[:2] = [None, None]
    sections = decoder_sizes(
        stage_features=stage_features,
        stage_channels=[conv[1] for conv in convs],
        readouts=readouts,
        scales=scales,
        fusion_features=convs[0][0],
        head_channels=[shape_of(tensors, f"head.head.{number}.weight", 4, source=source)[0] for number in (0, 2)],
    )
    unit = "neck.fusion_stage.layers.1.residual_layer2."
    sections["fusion"] |= {
        "bias": unit + "convolution1.bias" in tensors,
        "batch_norm": unit + "batch_norm1.weight" in tensors,
        "always_double": True,
    }
    sections["head"] |= {"projects": "head.projection.weight" in tensors, "always_double": True}
    return sections


def vit_settings(tensors: Mapping[str, Tensor], config: dict, *, source: str) -> dict:
    """The arguments of ViTEncoder for "dpt.*" keys."""
    features = shape_of(tensors, "dpt.embeddings.cls_token", 3, source=source)[-1]
    settings = {
        "features": features,
        "heads": config.get("num_attention_heads", max(features // VIT_HEAD_FEATURES, 1)),
        "hidden": shape_of(tensors, "dpt.encoder.layer.0.intermediate.dense.weight", 2, source=source)[0],
        "num_blocks": count_blocks(tensors, "dpt.encoder.layer."),
        "table_side": table_side_of(tensors, "dpt.embeddings.position_embeddings", source=source),
        "norm_eps": config.get("layer_norm_eps", 1e-12),
        "layer_scale": False,
        "final_norm": False,
        "position_mode": "bilinear",
        "position_offset": 0.0,
    }
    if "backbone_out_indices" in config:
        settings["taps"] = list(config["backbone_out_indices"])
    return settings


def read_vit(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    config = config or {}
    vit = vit_settings(tensors, config, source=source)
    patch_size = shape_of(tensors, "dpt.embeddings.patch_embeddings.projection.weight", 4, source=source)[-1]
    return {
        "encoder": "vit",
        "native_side": vit["table_side"] * patch_size,
        "patch_embed": {"features": vit["features"], "patch_size": patch_size},
        "imgencoder": vit,
        **decoder_of(tensors, config, [vit["features"]] * 4, source=source, encoder="vit"),
    }


def read_hybrid(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    config = config or {}
    vit = vit_settings(tensors, config, source=source)
    if "taps" in vit:
        vit["taps"] = vit["taps"][2:]  # the first two stand for the convolution stages
    bit = "dpt.embeddings.backbone.bit."
    channels = shape_of(tensors, bit + "embedder.convolution.weight", 4, source=source)[0]
    depths = [count_blocks(tensors, f"{bit}encoder.stages.{stage}.layers.") for stage in range(3)]
    maps = [shape_of(tensors, f"neck.convs.{stage}.weight", 4, source=source)[1] for stage in range(2)]
    return {
        "encoder": "hybrid",
        "native_side": vit["table_side"] * 16,
        "patch_embed": {"channels": channels, "patch_size": 16},
        "imgencoder": {"stem_channels": channels, "depths": depths, "vit": vit},
        **decoder_of(tensors, config, [*maps, vit["features"], vit["features"]], source=source, encoder="hybrid"),
    }


def read_beit(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    config = config or {}
    backbone = config.get("backbone_config") or {}
    features, _, _, patch_size = shape_of(tensors, "backbone.embeddings.patch_embeddings.projection.weight", 4, source=source)
    offsets, heads = shape_of(tensors, "backbone.encoder.layer.0." + TABLE_OF_BLOCK, 2, source=source)
    table_side = (round((offsets - 3) ** 0.5) + 1) // 2
    return {
        "encoder": "beit",
        "native_side": table_side * patch_size,
        "patch_embed": {"features": features, "patch_size": patch_size},
        "imgencoder": {
            "features": features,
            "heads": heads,
            "hidden": shape_of(tensors, "backbone.encoder.layer.0.intermediate.dense.weight", 2, source=source)[0],
            "num_blocks": count_blocks(tensors, "backbone.encoder.layer."),
            "table_side": table_side,
            "norm_eps": backbone.get("layer_norm_eps", 1e-12),
            **backbone_taps(backbone),
        },
        **decoder_of(tensors, config, [features] * 4, source=source, encoder="beit"),
    }


def read_swin(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    config = config or {}
    backbone = config.get("backbone_config") or {}
    features, _, patch_size, _ = shape_of(
        tensors, "backbone.embeddings.patch_embeddings.projection.weight", 4, source=source
    )
    layers = "backbone.encoder.layers."
    first_side = backbone.get("image_size", 256) // patch_size  # neither is stored in any shape
    sides = [first_side // 2**stage for stage in range(4)]
    windows = [min(backbone.get("window_size", 16), side) for side in sides]
    pretrained = backbone.get("pretrained_window_sizes") or [0] * 4
    return {
        "encoder": "swin",
        "native_side": first_side * patch_size,
        "patch_embed": {"features": features, "patch_size": patch_size, "norm": True},
        "imgencoder": {
            "features": features,
            "depths": [count_blocks(tensors, f"{layers}{stage}.blocks.") for stage in range(4)],
            "heads": [
                shape_of(tensors, f"{layers}{stage}.blocks.0.attention.self.logit_scale", 3, source=source)[0]
                for stage in range(4)
            ],
            "windows": windows,
            "windows_per_side": [side // size for side, size in zip(sides, windows, strict=True)],
            "coordinate_windows": [old or now for old, now in zip(pretrained, windows, strict=True)],
            "hidden_ratio": shape_of(tensors, layers + "0.blocks.0.intermediate.dense.weight", 2, source=source)[0]
            // features,
        },
        **decoder_of(tensors, config, [features * 2**stage for stage in range(4)], source=source, encoder="swin"),
    }


def read_dpt_dinov2(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    config = config or {}
    sizes = read_dinov2(tensors, config, source=source)
    features = sizes["patch_embed"]["features"]
    return sizes | decoder_of(tensors, config, [features] * 4, source=source, encoder="vit")


DPT_LAYER = HF_BLOCK | qkv_parts("attention.attention.")
VIT_UNUSED = [
    *HF_NECK_UNUSED,
    *(f"dpt.{leaf}.{kind}" for leaf in ("layernorm", "pooler.dense") for kind in ("weight", "bias")),
    "neck.reassemble_stage.readout_projects.*.*.num_batches_tracked",
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

BIT, STAGE = "dpt.embeddings.backbone.bit.", "imgencoder.stages.*.*."
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
BEIT = Layout(
    title="DPT with a BEiT (Hugging Face layout)",
    family="midas-beit",
    matches=lambda tensors: (
        has_prefixes(tensors, "backbone.encoder.layer.", "neck.") and any(TABLE_OF_BLOCK in key for key in tensors)
    ),
    read_sizes=read_beit,
    keys=KeyMap(
        {
            "backbone.embeddings.patch_embeddings.projection.": "patch_embed.projection.",
            "backbone.embeddings.cls_token": "imgencoder.class_token",
            LAYER + TABLE_OF_BLOCK: "imgencoder.biases.*.table",
        }
        | under(
            LAYER, "imgencoder.blocks.*.", DPT_LAYER | {"lambda_1": "scale_1.gamma", "lambda_2": "scale_2.gamma"}
        )
        | DECODER,
        unused=[
            *HF_NECK_UNUSED,
            "backbone.embeddings.mask_token",
            LAYER + "attention.attention.relative_position_bias.relative_position_index",
        ],
        zero_key_bias=True,
    ),
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
    keys=KeyMap(DINOV2_RULES | DECODER, unused=[*HF_NECK_UNUSED, *DINOV2_UNUSED]),
    picture=PictureRule(side=518, multiple=14, fit="pad", restore="bicubic"),
)
