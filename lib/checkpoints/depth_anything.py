"""Key layout of the Depth-Anything V1 and V2 files: "pretrained.*" (DINOv2) and "depth_head.*" (DPT)."""

from .keys import KeyMap
from .layout import TIMM_BLOCK, Layout, has_prefixes, scratch_rules, scratch_unused, under
from .sizes import Shapes, decoder_sizes, dinov2_sizes

HEAD = "depth_head."


def read_sizes(shapes: Shapes, config: dict) -> dict:
    """The model config, as far as shapes tell it."""
    sizes = dinov2_sizes(
        shapes,
        patch_weight="pretrained.patch_embed.proj.weight",
        position_table="pretrained.pos_embed",
        num_blocks=shapes.count("pretrained.blocks."),
        gelu_weight="pretrained.blocks.0.mlp.fc1.weight",
        swiglu_weight="pretrained.blocks.0.mlp.w12.weight",
    )
    return sizes | decoder_sizes(
        stage_features=[sizes["patch_embed"]["features"]] * 4,
        stage_channels=[shapes.of(f"{HEAD}projects.{stage}.weight", 4)[0] for stage in range(4)],
        readouts=["project" if f"{HEAD}readout_projects.0.0.weight" in shapes else "ignore"] * 4,
        fusion_features=shapes.of(f"{HEAD}scratch.layer1_rn.weight", 4)[0],
        head_channels=[shapes.of(f"{HEAD}scratch.{conv}.weight", 4)[0] for conv in ("output_conv1", "output_conv2.0")],
    )


RULES = (
    {
        "pretrained.patch_embed.proj.": "patch_embed.projection.",
        "pretrained.cls_token": "imgencoder.class_token",
        "pretrained.pos_embed": "imgencoder.position_table",
        "pretrained.norm.": "imgencoder.norm.",
        HEAD + "projects.*.": "reassemble.stages.*.project.",
        HEAD + "readout_projects.*.0.": "reassemble.stages.*.readout.mix.",  # variants that use the class token
        HEAD + "resize_layers.*.": "reassemble.stages.*.resize.",
        HEAD + "scratch.output_conv1.": "head.conv_1.",
        HEAD + "scratch.output_conv2.0.": "head.conv_2.",
        HEAD + "scratch.output_conv2.2.": "head.conv_3.",
    }
    | under(
        "pretrained.blocks.*.",
        "imgencoder.blocks.*.",
        TIMM_BLOCK
        | {
            "ls1.gamma": "scale_1.gamma",
            "ls2.gamma": "scale_2.gamma",
            "mlp.w12.": "feed_forward.expand.",  # SwiGLU, the giant model
            "mlp.w3.": "feed_forward.contract.",
        },
    )
    | scratch_rules(HEAD)
)
UNUSED = ["pretrained.mask_token", *scratch_unused(HEAD)]  # the mask is for DINOv2's own training

LAYOUT = Layout(
    title="Depth-Anything",
    family="depth-anything",
    matches=lambda tensors: has_prefixes(tensors, "pretrained.blocks.", HEAD),
    read_sizes=read_sizes,
    keys=KeyMap(RULES, unused=UNUSED),
)
