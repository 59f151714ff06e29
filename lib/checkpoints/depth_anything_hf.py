"""Key layout of Depth-Anything in Hugging Face folders: "backbone.*", "neck.*", "head.*", with a config.json."""

from ..image_processor import PictureRule
from .keys import KeyMap
from .layout import HF_NECK_UNUSED, Layout, has_prefixes, hf_neck_rules, qkv_parts, under
from .sizes import Shapes, backbone_taps, check_settings, decoder_sizes, dinov2_sizes

DEFAULT_HEADS = 12  # of a config.json whose backbone_config does not mention them


def read_dinov2(shapes: Shapes, config: dict) -> dict:
    """The encoder's sections, from shapes and config.json."""
    backbone = config.get("backbone_config") or {}
    check_settings(backbone, shapes, hidden_act="gelu")
    check_settings(config, shapes, head_in_index=-1)
    sizes = dinov2_sizes(
        shapes,
        patch_weight="backbone.embeddings.patch_embeddings.projection.weight",
        position_table="backbone.embeddings.position_embeddings",
        num_blocks=shapes.count("backbone.encoder.layer."),
        gelu_weight="backbone.encoder.layer.0.mlp.fc1.weight",
        swiglu_weight="backbone.encoder.layer.0.mlp.weights_in.weight",
        heads=backbone.get("num_attention_heads", DEFAULT_HEADS) if backbone else None,
        position_offset=0.0,  # transformers resizes the position table with exact scales
    )
    sizes["imgencoder"] |= backbone_taps(backbone)
    for theirs, ours in (("layer_norm_eps", "norm_eps"), ("apply_layernorm", "final_norm")):
        if theirs in backbone:
            sizes["imgencoder"][ours] = backbone[theirs]
    return sizes


def read_sizes(shapes: Shapes, config: dict) -> dict:
    """The model config from shapes and, where config.json has it, from there."""
    sizes = read_dinov2(shapes, config)
    projection = "neck.reassemble_stage.layers.{}.projection.weight"
    return sizes | decoder_sizes(
        stage_features=[sizes["patch_embed"]["features"]] * 4,
        stage_channels=[shapes.of(projection.format(stage), 4)[0] for stage in range(4)],
        scales=config.get("reassemble_factors", (4, 2, 1, 0.5)),
        readouts=["ignore"] * 4,
        fusion_features=shapes.of("neck.convs.0.weight", 4)[0],
        head_channels=[shapes.of(f"head.conv{number}.weight", 4)[0] for number in (1, 2)],
    )


DINOV2_RULES = {
    "backbone.embeddings.patch_embeddings.projection.": "patch_embed.projection.",
    "backbone.embeddings.cls_token": "imgencoder.class_token",
    "backbone.embeddings.position_embeddings": "imgencoder.position_table",
    "backbone.layernorm.": "imgencoder.norm.",
} | under(
    "backbone.encoder.layer.*.",
    "imgencoder.blocks.*.",
    {
        "norm1.": "norm_1.",
        **qkv_parts("attention.attention."),
        "attention.output.dense.": "attention.project.",
        "layer_scale1.lambda1": "scale_1.gamma",
        "norm2.": "norm_2.",
        "mlp.fc1.": "feed_forward.expand.",
        "mlp.fc2.": "feed_forward.contract.",
        "mlp.weights_in.": "feed_forward.expand.",  # SwiGLU, the giant model
        "mlp.weights_out.": "feed_forward.contract.",
        "layer_scale2.lambda1": "scale_2.gamma",
    },
)
DINOV2_UNUSED = ["backbone.embeddings.mask_token"]  # for DINOv2's own training
DINOV2_OPTIONAL = ["backbone.layernorm.weight", "backbone.layernorm.bias"]  # where the config switches it off

LAYOUT = Layout(
    title="Depth-Anything (Hugging Face layout)",
    family="depth-anything",
    matches=lambda tensors: has_prefixes(tensors, "backbone.encoder.layer.", "neck.reassemble_stage."),
    read_sizes=read_sizes,
    keys=KeyMap(
        DINOV2_RULES | hf_neck_rules() | {"head.conv*.": "head.conv_*."},
        unused=[*HF_NECK_UNUSED, *DINOV2_UNUSED],
        optional=DINOV2_OPTIONAL,
    ),
    # transformers' own image processor for these models differs from the releases' scripts in rule and resampling
    picture=PictureRule(side=518, multiple=14, fit="minimal", resample="antialiased_cubic", restore="bicubic"),
)
