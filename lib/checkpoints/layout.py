"""What a key layout is, and the pieces that several layouts share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..image_processor import PictureRule
from .keys import KeyMap
from .sizes import Shapes


@dataclass(frozen=True)
class Layout:
    """One way in which checkpoints name their tensors.

    title: what to call it in messages. family: which rows of MODEL_TYPES may come in it. matches(tensors): whether these
    tensors are in it; a file that misses some of its keys is recognised too, and refused later with their names.
    read_sizes(shapes, config): the sections "encoder", "patch_embed", "imgencoder", "reassemble", "fusion" and "head" (of a
    ZoeDepth also "metric_head") of a
    model config as far as shapes and the config beside the weights ({} without) tell them, and "native_side", the side of
    the training pictures in pixels. keys: how its keys are called here. picture: a picture rule that goes before the
    model type's (Hugging Face's processors differ from the releases' scripts).
    """

    title: str
    family: str
    matches: Callable[[Mapping[str, Tensor]], bool]
    read_sizes: Callable[[Shapes, dict], dict]
    keys: KeyMap
    picture: PictureRule | None = None


def under(source_prefix: str, target_prefix: str, rules: Mapping[str, str]) -> dict[str, str]:
    """The same rules with a prefix in front of either side."""
    return {source_prefix + source: target_prefix + target for source, target in rules.items()}


def has_prefixes(tensors: Mapping[str, Tensor], *prefixes: str) -> bool:
    """Whether every one of the prefixes occurs among the keys."""
    return all(any(key.startswith(prefix) for key in tensors) for prefix in prefixes)


# A transformer block in the releases (as the timm package names it) ...
TIMM_BLOCK = {
    "norm1.": "norm_1.",
    "attn.qkv.": "attention.qkv.",
    "attn.proj.": "attention.project.",
    "norm2.": "norm_2.",
    "mlp.fc1.": "feed_forward.expand.",
    "mlp.fc2.": "feed_forward.contract.",
}
# ... and in Hugging Face's ViT, BEiT and SwinV2 (their attention parts differ).
HF_BLOCK = {
    "layernorm_before.": "norm_1.",
    "attention.output.dense.": "attention.project.",
    "layernorm_after.": "norm_2.",
    "intermediate.dense.": "feed_forward.expand.",
    "output.dense.": "feed_forward.contract.",
}


def qkv_parts(source_prefix: str) -> dict[str, str]:
    """Separate query, key and value layers, joined into our one."""
    return {f"{source_prefix}{name}.": f"attention.qkv.~{part}." for part, name in enumerate(("query", "key", "value"))}


# BEiT and SwinV2 have no bias on keys: one layer here, whose key part of the bias is zero (see KeyMap, zero_key_bias).
TIMM_QUERY_VALUE_BIAS = {"attn.q_bias": "attention.qkv.~0.bias", "attn.v_bias": "attention.qkv.~2.bias"}


def scratch_rules(prefix: str = "", num_stages: int = 4) -> dict[str, str]:
    """MiDaS' names for reassemble's last step and for fusion; numbered from 1 there, from 0 here."""
    rules = {}
    for stage in range(num_stages):
        rules[f"{prefix}scratch.layer{stage + 1}_rn."] = f"reassemble.stages.{stage}.to_fusion."
        refinenet, fusion = f"{prefix}scratch.refinenet{stage + 1}.", f"fusion.blocks.{stage}."
        rules[refinenet + "out_conv."] = fusion + "project."
        rules[refinenet + "resConfUnit1.conv*."] = fusion + "refine_skip.conv_*."
        rules[refinenet + "resConfUnit2.conv*."] = fusion + "refine.conv_*."
    return rules


def scratch_unused(prefix: str = "", num_stages: int = 4) -> list[str]:
    """The residual unit that every release carries and never runs: nothing comes from below the coarsest map."""
    unit = f"{prefix}scratch.refinenet{num_stages}.resConfUnit1.conv*."
    return [unit + "weight", unit + "bias"]


def hf_neck_rules(num_stages: int = 4) -> dict[str, str]:
    """Hugging Face's names for reassemble and fusion, which counts the fusion from the coarsest map; here from the finest."""
    rules = {
        "neck.reassemble_stage.readout_projects.*.0.": "reassemble.stages.*.readout.mix.",
        "neck.reassemble_stage.layers.*.projection.": "reassemble.stages.*.project.",
        "neck.reassemble_stage.layers.*.resize.": "reassemble.stages.*.resize.",
        "neck.convs.*.": "reassemble.stages.*.to_fusion.",
    }
    for stage in range(num_stages):
        layer, fusion = f"neck.fusion_stage.layers.{num_stages - 1 - stage}.", f"fusion.blocks.{stage}."
        rules[layer + "projection."] = fusion + "project."
        for theirs, ours in (("residual_layer1.", "refine_skip."), ("residual_layer2.", "refine.")):
            rules[f"{layer}{theirs}convolution*."] = f"{fusion}{ours}conv_*."
            rules[f"{layer}{theirs}batch_norm*."] = f"{fusion}{ours}norm_*."
    return rules


HF_NECK_UNUSED = [
    f"neck.fusion_stage.layers.0.residual_layer1.{leaf}"
    for leaf in (
        "convolution*.weight",
        "convolution*.bias",
        "batch_norm*.weight",
        "batch_norm*.bias",
        "batch_norm*.running_mean",
        "batch_norm*.running_var",
        "batch_norm*.num_batches_tracked",
    )
]
