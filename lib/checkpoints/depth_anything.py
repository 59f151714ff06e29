"""Key layout of the Depth-Anything V1 and V2 files: "pretrained.*" (DINOv2) and "depth_head.*" (DPT)."""

from collections.abc import Mapping

from torch import Tensor

from .keys import KeyMap, count_blocks, shape_of
from .sizes import decoder_sizes, dinov2_sizes

TITLE = "Depth-Anything (original layout)"

BLOCK, OUR_BLOCK = "pretrained.blocks.*.", "imgencoder.blocks.*."
HEAD = "depth_head."

RULES = {
    "pretrained.patch_embed.proj.": "patch_embed.projection.",
    "pretrained.cls_token": "imgencoder.class_token",
    "pretrained.pos_embed": "imgencoder.position_table",
    BLOCK + "norm1.": OUR_BLOCK + "norm_1.",
    BLOCK + "attn.qkv.": OUR_BLOCK + "attention.qkv.",
    BLOCK + "attn.proj.": OUR_BLOCK + "attention.project.",
    BLOCK + "ls1.gamma": OUR_BLOCK + "scale_1.gamma",
    BLOCK + "norm2.": OUR_BLOCK + "norm_2.",
    BLOCK + "mlp.fc1.": OUR_BLOCK + "feed_forward.expand.",
    BLOCK + "mlp.fc2.": OUR_BLOCK + "feed_forward.contract.",
    BLOCK + "mlp.w12.": OUR_BLOCK + "feed_forward.expand.",  # SwiGLU, the giant model
    BLOCK + "mlp.w3.": OUR_BLOCK + "feed_forward.contract.",
    BLOCK + "ls2.gamma": OUR_BLOCK + "scale_2.gamma",
    "pretrained.norm.": "imgencoder.norm.",
    HEAD + "projects.*.": "reassemble.stages.*.project.",
    HEAD + "readout_projects.*.0.": "reassemble.stages.*.readout.mix.",  # only in variants that use the class token
    HEAD + "resize_layers.*.": "reassemble.stages.*.resize.",
    HEAD + "scratch.output_conv1.": "head.conv_1.",
    HEAD + "scratch.output_conv2.0.": "head.conv_2.",
    HEAD + "scratch.output_conv2.2.": "head.conv_3.",
}
for _stage in range(4):  # numbered from 1 there, from 0 here
    RULES[f"{HEAD}scratch.layer{_stage + 1}_rn."] = f"reassemble.stages.{_stage}.to_fusion."
    _refinenet, _fusion = f"{HEAD}scratch.refinenet{_stage + 1}.", f"fusion.blocks.{_stage}."
    RULES[_refinenet + "out_conv."] = _fusion + "project."
    RULES[_refinenet + "resConfUnit1.conv*."] = _fusion + "refine_skip.conv_*."
    RULES[_refinenet + "resConfUnit2.conv*."] = _fusion + "refine.conv_*."

KEYS = KeyMap(
    RULES,
    unused=[
        "pretrained.mask_token",  # for DINOv2's own training
        HEAD + "scratch.refinenet4.resConfUnit1.conv*.weight",  # nothing comes from below the coarsest map
        HEAD + "scratch.refinenet4.resConfUnit1.conv*.bias",
    ],
)


def matches(tensors: Mapping[str, Tensor]) -> bool:
    """DINOv2 keys beside a "depth_head": a file that misses some of either is still recognised, and then refused."""
    has_encoder = any(key.startswith("pretrained.blocks.") for key in tensors)
    return has_encoder and any(key.startswith(HEAD) for key in tensors)


def read_sizes(tensors: Mapping[str, Tensor], config: dict | None, *, source: str) -> dict:
    """The model config, as far as shapes tell it. `config` is not needed."""
    sizes = dinov2_sizes(
        tensors,
        patch_weight="pretrained.patch_embed.proj.weight",
        position_table="pretrained.pos_embed",
        num_blocks=count_blocks(tensors, "pretrained.blocks."),
        gelu_weight="pretrained.blocks.0.mlp.fc1.weight",
        swiglu_weight="pretrained.blocks.0.mlp.w12.weight",
        source=source,
    )
    features = sizes["patch_embed"]["features"]
    channels = [shape_of(tensors, f"{HEAD}projects.{stage}.weight", 4, source=source)[0] for stage in range(4)]
    sizes |= decoder_sizes(
        stage_features=[features] * 4,
        stage_channels=channels,
        readout="project" if f"{HEAD}readout_projects.0.0.weight" in tensors else "ignore",
        fusion_features=shape_of(tensors, f"{HEAD}scratch.layer1_rn.weight", 4, source=source)[0],
        head_channels=[
            shape_of(tensors, f"{HEAD}scratch.output_conv1.weight", 4, source=source)[0],
            shape_of(tensors, f"{HEAD}scratch.output_conv2.0.weight", 4, source=source)[0],
        ],
    )
    return sizes
