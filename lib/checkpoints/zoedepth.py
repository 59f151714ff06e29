"""Key layouts of ZoeDepth and of Depth-Anything V1's metric files: "core.core.*" (a whole DPT) and the metric head beside it.

Both have the same head. What MiDaS keeps in its code and not in its weights, the head does too: which bins are bounded shows in
how many numbers its attractors predict, and the range of bounded bins in nothing.
"""

from dataclasses import dataclass

from . import depth_anything, midas
from .keys import KeyMap
from .layout import Layout, has_prefixes, under
from .sizes import Shapes

CORE = "core.core."
ROUTER_HEADS = 4
NUM_MAPS = 4  # of the decoder, on each of which the bins move
ROUTED_ATTRACTORS = 16  # on every map of a head with a router: the release hands its list of counts to the wrong argument
HUB_RANGE = (0.001, 10.0)  # metres, of bounded bins, as the release's hub model has it
TRAINED_RANGE = 80.0  # metres: what the one published model with bounded bins was trained with
DOMAINS = {"nyu": "indoor", "kitti": "outdoor"}  # the releases' names for the data sets, and what they stand for
ONLY = "all"  # the name of the domain where there is but one


@dataclass(frozen=True)
class HeadNames:
    """What one layout calls the parts of the metric head. first, second: the two layers of a small network.

    classifier_first, classifier_second: those of the router's last network. block: a block of the router; attention: rules
    for the names in it.
    """

    prefix: str
    first: str
    second: str
    classifier_first: str
    classifier_second: str
    block: str
    attention: dict[str, str]


RELEASE_NAMES = HeadNames(
    prefix="",
    first="_net.0.",
    second="_net.2.",
    classifier_first="mlp_classifier.0.",
    classifier_second="mlp_classifier.2.",
    block="patch_transformer.transformer_encoder.layers.*.",
    attention={
        "self_attn.in_proj_weight": "attention.qkv.weight",
        "self_attn.in_proj_bias": "attention.qkv.bias",
        "self_attn.out_proj.": "attention.project.",
    },
)


def metric_head_rules(names: HeadNames) -> dict[str, str]:
    """The metric head's names, with one domain or several."""

    def network(theirs: str, ours: str) -> dict[str, str]:
        return {f"{theirs}.{names.first}": f"{ours}.expand.", f"{theirs}.{names.second}": f"{ours}.contract."}

    rules = {"conv2.": "bottleneck."} | network("seed_projector", "projectors.0")
    for number in range(NUM_MAPS):
        rules |= network(f"projectors.{number}", f"projectors.{number + 1}")
    for plural, theirs, ours in [("", "", ONLY), *(("s", f".{name}", domain) for name, domain in DOMAINS.items())]:
        domain = f"domains.{ours}."
        rules |= network(f"seed_bin_regressor{plural}{theirs}", f"{domain}seed.net")
        rules |= network(f"attractors{theirs}.*", f"{domain}attractors.*.net")
        log_binomial = {"mlp.0.": "expand.", "mlp.2.": "contract."}
        rules |= under(f"conditional_log_binomial{theirs}.", f"{domain}log_binomial.", log_binomial)
    rules |= {
        "patch_transformer.embedding_convPxP.": "router.embed.",
        names.classifier_first: "router.expand.",
        names.classifier_second: "router.contract.",
    }
    layers = {"linear1.": "expand.", "linear2.": "contract.", "norm1.": "norm_1.", "norm2.": "norm_2."}
    rules |= under(names.block, "router.blocks.*.", names.attention | layers)
    return under(names.prefix, "metric_head.", rules)


def metric_head_unused(names: HeadNames) -> list[str]:
    """Buffers that say 0, 1, ... K - 1 and K - 1, for every domain."""
    domains = ["", *(f"{name}." for name in DOMAINS)]
    buffers = [f"log_binomial_transform.{leaf}" for leaf in ("k_idx", "K_minus_1", "k_minus_1")]
    return [f"{names.prefix}conditional_log_binomial.{domain}{buffer}" for domain in domains for buffer in buffers]


def metric_head_sizes(
    shapes: Shapes, names: HeadNames, *, core_values: int, domain_names: list[str] | None = None, bounded: bool | None = None
) -> dict:
    """The config section "metric_head", from shapes. `depth_range` of bounded bins is the hub model's.

    core_values: features in front of the core's depth. domain_names: of the data sets, where a config tells their order.
    bounded: where a config tells; else what the numbers of attractors tell.
    """
    shapes = shapes.under(names.prefix)
    is_routed = shapes.has("seed_bin_regressors.")
    domain_names = (domain_names or list(DOMAINS)) if is_routed else []
    unknown = [name for name in domain_names if name not in DOMAINS]
    if unknown or (is_routed and len(domain_names) < 2):
        raise shapes.error(f"its domains are {', '.join(domain_names)}; expected {' and '.join(DOMAINS)}")
    of_domain = f".{domain_names[0]}." if is_routed else "."
    seed = f"seed_bin_regressor{'s' if is_routed else ''}{of_domain}"
    seed_hidden, features = shapes.of(f"{seed}{names.first}weight", 4)[:2]
    hidden = shapes.of(f"seed_projector.{names.first}weight", 4)[0]
    embedding = shapes.of(f"seed_projector.{names.second}weight", 4)[0]
    mlp_hidden, mlp_values = shapes.of(f"conditional_log_binomial{of_domain}mlp.0.weight", 4)[:2]
    points = [shapes.of(f"attractors{of_domain}{n}.{names.second}weight", 4)[0] for n in range(NUM_MAPS)]
    if bounded is None:
        fewest = ROUTED_ATTRACTORS if is_routed else 1
        if points[-1] not in (fewest, 2 * fewest):
            name = f"attractors{of_domain}{NUM_MAPS - 1}"
            raise shapes.error(f"{name} has {points[-1]} outputs; expected {fewest} or {2 * fewest}")
        bounded = points[-1] == 2 * fewest
    return {
        "features": features,
        "bins": shapes.of(f"{seed}{names.second}weight", 4)[0],
        "seed_hidden": seed_hidden,
        "embedding": embedding,
        "hidden": hidden,
        "attractors": [count // 2 for count in points] if bounded else points,
        "domains": [DOMAINS[name] for name in domain_names] or [ONLY],
        "values": core_values,
        "mlp_hidden": mlp_hidden,
        "uses_relative": mlp_values - embedding > core_values,
        "depth_range": list(HUB_RANGE) if bounded else None,
        "router": router_sizes(shapes, names) if is_routed else None,
    }


def router_sizes(shapes: Shapes, names: HeadNames, *, heads: int = ROUTER_HEADS) -> dict:
    """The arguments of Router, without those that the metric head gives it."""
    hidden, embedding = shapes.of(f"{names.block.replace('*', '0')}linear1.weight", 2)
    blocks = shapes.count(names.block.removesuffix("*."))
    return {"embedding": embedding, "heads": heads, "hidden": hidden, "num_blocks": blocks}


def bins_kind(sizes: dict) -> str | None:
    """Which kind of metric head this is (`ModelType.bins`); None where there is none."""
    head = sizes.get("metric_head")
    if head is None:
        return None
    return "routed" if head["router"] else "bounded" if head["depth_range"] else "unbounded"


def range_of(head: dict, max_depth: float | None, shapes: Shapes) -> tuple[list, str]:
    """The range of a model with this metric head ([low, high or None]), and a remark for the person who loads it.

    max_depth: what a config says; it becomes the end of the head's range. Raises CheckpointError where the head has none.
    """
    if head["depth_range"] is None:
        if max_depth is not None:
            raise shapes.error("its config has a max_depth, but the bins of this model have no bounds")
        return [0.0, None], ""
    if max_depth is not None:
        head["depth_range"][1] = max_depth
    remark = ""
    if tuple(head["depth_range"]) == HUB_RANGE:
        remark = (
            f"; bins up to {HUB_RANGE[1]:g} m as in the release's hub model, but trained and evaluated with "
            f"{TRAINED_RANGE:g} m: for that, set_max_depth({TRAINED_RANGE:g}), or --metric_range {TRAINED_RANGE:g}"
        )
    return list(head["depth_range"]), remark


def read_zoedepth(shapes: Shapes, config: dict) -> dict:
    """The model config of a BEiT core and its metric head."""
    sizes = midas.read_beit(shapes.under(CORE), config)
    return sizes | {"metric_head": metric_head_sizes(shapes, RELEASE_NAMES, core_values=sizes["head"]["channels"][1])}


def read_depth_anything(shapes: Shapes, config: dict) -> dict:
    """The model config of a DINOv2 core and its metric head."""
    sizes = depth_anything.read_sizes(shapes.under(CORE), config)
    return sizes | {"metric_head": metric_head_sizes(shapes, RELEASE_NAMES, core_values=sizes["head"]["channels"][1])}


def _key_map(rules: dict[str, str], unused: list[str], **more: object) -> KeyMap:
    """A layout's core, whose keys stand behind CORE, and the metric head."""
    unused = [CORE + key for key in unused] + metric_head_unused(RELEASE_NAMES)
    return KeyMap(under(CORE, "", rules) | metric_head_rules(RELEASE_NAMES), unused=unused, **more)


ZOEDEPTH = Layout(
    title="ZoeDepth",
    family="zoedepth",
    matches=lambda tensors: has_prefixes(tensors, f"{CORE}{midas.MODEL}blocks.0.{midas.BIAS_TABLE}", "conv2."),
    read_sizes=read_zoedepth,
    keys=_key_map(midas.BEIT_RULES, midas.BEIT_UNUSED, zero_key_bias=True),
)
DEPTH_ANYTHING = Layout(
    title="Depth-Anything V1, metric",
    family="depth-anything-v1-metric",
    matches=lambda tensors: has_prefixes(tensors, CORE + "pretrained.blocks.", CORE + depth_anything.HEAD, "conv2."),
    read_sizes=read_depth_anything,
    keys=_key_map(depth_anything.RULES, depth_anything.UNUSED),
)

# ZoeDepth was written for any core of MiDaS; what was published has a BEiT. By the beginning of a key that only they have.
OTHER_CORES = {
    CORE + beginning: f"a ZoeDepth whose core is {core} (only a BEiT core is built here)"
    for beginning, core in {
        "pretrained.model.layers.0.blocks.0.attn.logit_scale": "a DPT with a SwinV2",
        "pretrained.model.layers.": "a DPT with a Swin",
        "pretrained.model.patch_embed.backbone.": "DPT-Hybrid",
        "pretrained.model.patch_embed.0.": "a DPT with a LeViT",
        "pretrained.model.stem.": "a DPT with a Next-ViT",
        "pretrained.model.pos_embed": "DPT-Large (a ViT)",
        "pretrained.layer1.": "MiDaS 2.1",
    }.items()
}
