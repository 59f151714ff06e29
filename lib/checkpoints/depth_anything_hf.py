"""Key layout of the same models in Hugging Face folders: "backbone.*", "neck.*", "head.*", with a config.json."""

from collections.abc import Mapping

from torch import Tensor

from ..errors import CheckpointError
from ..image_processor import PictureRule
from .keys import KeyMap, count_blocks, shape_of
from .sizes import decoder_sizes, dinov2_sizes

TITLE = "Depth-Anything (Hugging Face layout)"

LAYER, OUR_BLOCK = "backbone.encoder.layer.*.", "imgencoder.blocks.*."

RULES = {
    "backbone.embeddings.patch_embeddings.projection.": "patch_embed.projection.",
    "backbone.embeddings.cls_token": "imgencoder.class_token",
    "backbone.embeddings.position_embeddings": "imgencoder.position_table",
    LAYER + "norm1.": OUR_BLOCK + "norm_1.",
    LAYER + "attention.attention.query.": OUR_BLOCK + "attention.qkv.~0.",
    LAYER + "attention.attention.key.": OUR_BLOCK + "attention.qkv.~1.",
    LAYER + "attention.attention.value.": OUR_BLOCK + "attention.qkv.~2.",
    LAYER + "attention.output.dense.": OUR_BLOCK + "attention.project.",
    LAYER + "layer_scale1.lambda1": OUR_BLOCK + "scale_1.gamma",
    LAYER + "norm2.": OUR_BLOCK + "norm_2.",
    LAYER + "mlp.fc1.": OUR_BLOCK + "feed_forward.expand.",
    LAYER + "mlp.fc2.": OUR_BLOCK + "feed_forward.contract.",
    LAYER + "mlp.weights_in.": OUR_BLOCK + "feed_forward.expand.",  # SwiGLU, the giant model
    LAYER + "mlp.weights_out.": OUR_BLOCK + "feed_forward.contract.",
    LAYER + "layer_scale2.lambda1": OUR_BLOCK + "scale_2.gamma",
    "backbone.layernorm.": "imgencoder.norm.",
    "neck.reassemble_stage.layers.*.projection.": "reassemble.stages.*.project.",
    "neck.reassemble_stage.layers.*.resize.": "reassemble.stages.*.resize.",
    "neck.convs.*.": "reassemble.stages.*.to_fusion.",
    "head.conv*.": "head.conv_*.",
}
for _stage in range(4):  # counted from the coarsest there, from the finest here
    _layer, _fusion = f"neck.fusion_stage.layers.{3 - _stage}.", f"fusion.blocks.{_stage}."
    RULES[_layer + "projection."] = _fusion + "project."
    RULES[_layer + "residual_layer1.convolution*."] = _fusion + "refine_skip.conv_*."
    RULES[_layer + "residual_layer2.convolution*."] = _fusion + "refine.conv_*."

KEYS = KeyMap(
    RULES,
    unused=[
        "backbone.embeddings.mask_token",
        "neck.fusion_stage.layers.0.residual_layer1.convolution*.weight",
        "neck.fusion_stage.layers.0.residual_layer1.convolution*.bias",
    ],
)

# transformers' own image processor for these models differs from the releases' scripts in rule and resampling.
PICTURE = PictureRule(side=518, multiple=14, fit="minimal", resample="antialiased_cubic", restore="bicubic")


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """A Hugging Face DINOv2 backbone with a DPT neck."""
    has_backbone = any(key.startswith("backbone.encoder.layer.") for key in tensors)
    return has_backbone and any(key.startswith("neck.reassemble_stage.") for key in tensors)


def read_sizes(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    """The model config from shapes and, where config.json has it, from there."""
    sizes = dinov2_sizes(
        tensors,
        patch_weight="backbone.embeddings.patch_embeddings.projection.weight",
        position_table="backbone.embeddings.position_embeddings",
        num_blocks=count_blocks(tensors, "backbone.encoder.layer."),
        gelu_weight="backbone.encoder.layer.0.mlp.fc1.weight",
        swiglu_weight="backbone.encoder.layer.0.mlp.weights_in.weight",
        source=source,
    )
    features = sizes["patch_embed"]["features"]
    reassemble = "neck.reassemble_stage.layers."
    config = config or {}
    sizes |= decoder_sizes(
        stage_features=[features] * 4,
        stage_channels=[
            shape_of(tensors, f"{reassemble}{stage}.projection.weight", 4, source=source)[0] for stage in range(4)
        ],
        scales=config.get("reassemble_factors", (4, 2, 1, 0.5)),
        readout="ignore",
        fusion_features=shape_of(tensors, "neck.convs.0.weight", 4, source=source)[0],
        head_channels=[
            shape_of(tensors, f"head.conv{number}.weight", 4, source=source)[0] for number in (1, 2)
        ],
    )
    sizes["imgencoder"] |= backbone_settings(config, features, source=source)
    return sizes


def backbone_settings(config: dict, features: int, *, source: str) -> dict:
    """What config.json says of the encoder: heads, taps, norms. Raises CheckpointError where it makes no sense."""
    backbone = config.get("backbone_config") or {}
    settings = {"position_offset": 0.0}  # transformers resizes the position table with exact scales
    if "num_attention_heads" in backbone:
        settings["heads"] = backbone["num_attention_heads"]
        if features % settings["heads"]:
            raise CheckpointError(f"{source}: {features} features cannot be split over {settings['heads']} heads")
    if "layer_norm_eps" in backbone:
        settings["norm_eps"] = backbone["layer_norm_eps"]
    if "apply_layernorm" in backbone:
        settings["final_norm"] = backbone["apply_layernorm"]
    if "out_indices" in backbone:
        settings["taps"] = [index - 1 for index in backbone["out_indices"]]  # there, 0 is the embedding
    elif "out_features" in backbone:
        settings["taps"] = [int(name.removeprefix("stage")) - 1 for name in backbone["out_features"]]
    return settings
