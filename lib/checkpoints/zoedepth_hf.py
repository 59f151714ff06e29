"""Key layout of ZoeDepth in Hugging Face folders ("ZoeDepthForDepthEstimation"), with a config.json.

The encoder is "backbone.*", reassemble and fusion "neck.*", the core's head "relative_head.*", the rest "metric_head.*".
"""

from ..model_types import ZOEDEPTH_PICTURE
from .dpt_hf import BEIT_RULES, BEIT_UNUSED, decoder_of, read_beit_encoder
from .keys import KeyMap
from .layout import Layout, has_prefixes, hf_neck_rules, qkv_parts
from .sizes import Shapes, check_settings
from .zoedepth import ROUTER_HEADS, HeadNames, metric_head_rules, metric_head_sizes, metric_head_unused

NAMES = HeadNames(
    prefix="metric_head.",
    first="conv1.",
    second="conv2.",
    classifier_first="mlp_classifier.linear1.",
    classifier_second="mlp_classifier.linear2.",
    block="patch_transformer.transformer_encoder.*.",
    attention=qkv_parts("self_attn.") | {"self_attn.out_proj.": "attention.project."},
)
HEAD_CONVS = ("relative_head.conv1.", "relative_head.conv2.")
HEAD_PROJECT = "relative_head.projection."
BOUNDED = {"normed": True, "softplus": False}
TEMPERATURES = (0.0212, 50.0)  # what `transformers` takes where a config.json does not say


def read_sizes(shapes: Shapes, config: dict) -> dict:
    """The model config, from shapes and from config.json."""
    backbone = config.get("backbone_config") or {}
    if backbone.get("model_type", "beit") != "beit":
        raise shapes.error(f"a ZoeDepth whose core has the backbone {backbone['model_type']!r}; only 'beit' is supported")
    check_settings(config, shapes, attractor_kind="mean")
    sizes = read_beit_encoder(shapes, config)
    decoder = decoder_of(
        shapes, config, [sizes["patch_embed"]["features"]] * 4, head_convs=HEAD_CONVS, head_project=HEAD_PROJECT
    )
    kind, domains = config.get("bin_centers_type"), config.get("bin_configurations") or []
    if kind is not None and kind not in BOUNDED:
        raise shapes.error(f"its config.json has bin_centers_type = {kind!r}; expected {' or '.join(BOUNDED)}")
    head = metric_head_sizes(
        shapes,
        NAMES,
        core_values=decoder["head"]["channels"][1],
        domain_names=[domain["name"] for domain in domains] if len(domains) > 1 else None,
        bounded=BOUNDED.get(kind),
    )
    head["temperatures"] = [config.get("min_temp", TEMPERATURES[0]), config.get("max_temp", TEMPERATURES[1])]
    if head["router"] is not None:
        head["router"]["heads"] = config.get("patch_transformer_num_attention_heads") or ROUTER_HEADS
    if head["depth_range"] is not None and domains:
        ranges = [[domain["min_depth"], domain["max_depth"]] for domain in domains]
        if any(depth_range != ranges[0] for depth_range in ranges):
            raise shapes.error("its domains have different ranges, which is not supported for bounded bins")
        head["depth_range"] = ranges[0]
    return sizes | decoder | {"metric_head": head}


LAYOUT = Layout(
    title="ZoeDepth (Hugging Face layout)",
    family="zoedepth",
    matches=lambda tensors: has_prefixes(tensors, "backbone.", "relative_head.", "metric_head."),
    read_sizes=read_sizes,
    keys=KeyMap(
        BEIT_RULES
        | hf_neck_rules()
        | {"relative_head.conv*.": "head.conv_*.", HEAD_PROJECT: "head.project."}
        | metric_head_rules(NAMES),
        unused=[*BEIT_UNUSED, *metric_head_unused(NAMES)],
        zero_key_bias=True,
        zero_key_bias_under="imgencoder.",  # the router's keys have a bias
    ),
    # transformers averages with the mirrored picture only where somebody asks for it
    picture=ZOEDEPTH_PICTURE.without(padding=False, flip=True),
)
