"""Key layouts of the MiDaS 3.1 files whose encoder is a pyramid: SwinV2, Swin and LeViT."""

import math
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from .keys import KeyMap
from .layout import TIMM_BLOCK, TIMM_QUERY_VALUE_BIAS, Layout, has_prefixes, scratch_rules, scratch_unused, under
from .midas import BIAS_TABLE, CLASSIFIER, MODEL, PATCH_WEIGHT, PATCHES, decoder_of, output_rules
from .sizes import CONV_STAGE_PATCH, Shapes, swin_sizes

LAYERS, STAGES = MODEL + "layers.*.", "imgencoder.stages.*.*."
BLOCKS = LAYERS + "blocks.*."


def read_swin(shapes: Shapes, config: dict, *, is_v2: bool) -> dict:
    """Sizes of a Swin or SwinV2. Window and picture size show in the stored masks of the shifted windows."""
    first_block = MODEL + "layers.{}.blocks.0."
    num_windows, area, _ = shapes.of(MODEL + "layers.0.blocks.1.attn_mask", 3)
    num_stages = shapes.count(MODEL + "layers.")
    if num_stages != 4:
        raise shapes.error(f"{num_stages} stages; a Swin encoder here has four")
    if is_v2:
        heads = [shapes.of(first_block.format(stage) + "attn.logit_scale", 3)[0] for stage in range(4)]
    else:
        heads = [shapes.of(first_block.format(stage) + BIAS_TABLE, 2)[1] for stage in range(4)]
    sizes = swin_sizes(
        shapes,
        patch_weight=PATCH_WEIGHT,
        hidden_weight=first_block.format(0) + "mlp.fc1.weight",
        blocks_of_stage=MODEL + "layers.{}.blocks.",
        heads=heads,
        window=math.isqrt(area),
        first_side=math.isqrt(num_windows) * math.isqrt(area),
        is_v2=is_v2,
    )
    widths = [sizes["patch_embed"]["features"] * 2**stage for stage in range(4)]
    return sizes | decoder_of(shapes, widths, [None] * 4, [1] * 4)


def read_levit(shapes: Shapes, config: dict) -> dict:
    """Sizes of a LeViT with three stages."""
    blocks = MODEL + "blocks."
    stem = [shapes.of(f"{MODEL}patch_embed.{layer}.c.weight", 4)[0] for layer in (0, 2, 4, 6)]
    first_heads, area = shapes.of(blocks + "0.m.attention_biases", 2)
    side = math.isqrt(area)
    shrinking = sorted(shapes.numbers(blocks + "*.kv."))  # the attentions between the stages
    if len(shrinking) != 2:
        raise shapes.error(f"{len(shrinking) + 1} stages; a LeViT encoder here has three")
    widths = [stem[-1], *(shapes.of(f"{blocks}{number}.proj.1.c.weight", 2)[0] for number in shrinking)]
    heads = [first_heads, *(shapes.of(f"{blocks}{number + 2}.m.attention_biases", 2)[0] for number in shrinking)]
    decoder = decoder_of(shapes, widths, [None] * 3, [1] * 3)
    decoder["fusion"]["num_stages"] = 3
    decoder["head"]["stem_channels"] = [shapes.of(f"scratch.stem_transpose.{layer}.c.weight", 4)[1] for layer in (0, 2)]
    return {
        "encoder": "levit",
        "native_side": side * CONV_STAGE_PATCH,
        "patch_embed": {"channels": stem, "image_size": side * CONV_STAGE_PATCH},
        "imgencoder": {"widths": widths, "heads": heads, "depth": shrinking[0] // 2, "side": side},
        **decoder,
    }


SWIN_BLOCK = TIMM_BLOCK | TIMM_QUERY_VALUE_BIAS | {
    BIAS_TABLE: "attention.bias.table",  # Swin
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
    read_sizes=partial(read_swin, is_v2=True),
    keys=KeyMap(SWIN_RULES, unused=SWIN_UNUSED, zero_key_bias=True),
)
SWIN = Layout(
    title="MiDaS DPT with a Swin",
    family="midas-swin",
    matches=_is_swin,
    read_sizes=partial(read_swin, is_v2=False),
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
