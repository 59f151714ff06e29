"""The model to train: new, by the name of its size, or with trained weights; what it predicts; how fast it learns.

Shapes: C features of a token.
"""

import argparse
import math
from dataclasses import asdict

import torch
from torch import Tensor, nn

from experiments.unet import build_unet, make_dpt_or_unet
from lib.dpt_model import DPTModel, OutputKind, build_dpt
from lib.encoders.hybrid import Bottleneck
from lib.encoders.layers import PatchEmbed
from lib.encoders.vit import ViTEncoder
from lib.errors import UserError
from lib.image_processor import PictureRule

ENCODER_PARTS = ("patch_embed.", "imgencoder.", "encoder.")  # of a DPTModel, and of a U-Net
PATCH = 14
HYBRID_PATCH = 16

# What differs between the sizes of a new DPT. small and base are as large as Depth-Anything's; tiny is as deep, half as
# wide as small: with 12 blocks its four stages still see different things, and as float16 it takes 14 MB. tiny_hybrid is
# the DPT paper's hybrid made small (11 MB): convolutions find edges and textures after thousands of pictures, where
# attention alone needs millions, so it is what a machine without a GPU can train.
DPT_SIZES = {
    "tiny": {"features": 192, "heads": 3, "channels": [48, 96, 192, 192], "fusion": 64, "head": [32, 32]},
    "tiny_hybrid": {"features": 192, "heads": 3, "channels": [128, 256, 192, 192], "fusion": 64, "head": [32, 32]},
    "small": {"features": 384, "heads": 6, "channels": [48, 96, 192, 384], "fusion": 64, "head": [32, 32]},
    "base": {"features": 768, "heads": 12, "channels": [96, 192, 384, 768], "fusion": 128, "head": [64, 32]},
}
HYBRID_STEM = 32
HYBRID_DEPTHS, HYBRID_CHANNELS = [2, 3, 6], [128, 256, 384]
NEW_SIDE = 224  # the default side of the training pictures of a new model
RELATIVE = {"quantity": "inverse depth", "nearest_is_largest": True, "value_range": [0.0, None]}


def dpt_config(size: str, side: int) -> dict:
    """The config (see `build_dpt`) of a new relative model. side: of its training pictures."""
    numbers = DPT_SIZES[size]
    fusion = numbers["fusion"]
    sections, patch = (hybrid_sections if size == "tiny_hybrid" else vit_sections)(numbers, side)
    return {
        "model_type": "plain-dpt",
        "release": None,
        **sections,
        "fusion": {"features": fusion},
        "head": {"features": fusion, "channels": numbers["head"], "activation": "relu", "scale": 1.0},
        "output": dict(RELATIVE),
        "picture": picture_section(PictureRule(side=side, multiple=patch)),
    }


def vit_sections(numbers: dict, side: int) -> tuple[dict, int]:
    """The first sections of a DINOv2-style ViT of 12 blocks, and its patch size."""
    features = numbers["features"]
    vit = vit_arguments(numbers, side // PATCH, num_blocks=12, taps=[2, 5, 8, 11])
    sections = {
        "encoder": "vit",
        "patch_embed": {"features": features, "patch_size": PATCH},
        "imgencoder": vit,
        "reassemble": {
            "stage_features": [features] * 4,
            "stage_channels": numbers["channels"],
            "scales": [4, 2, 1, 0.5],
            "readouts": ["ignore"] * 4,
            "fusion_features": numbers["fusion"],
        },
    }
    return sections, PATCH


def hybrid_sections(numbers: dict, side: int) -> tuple[dict, int]:
    """The first sections of a hybrid: three stages of convolutions, then a ViT of 6 blocks; and its patch size."""
    vit = vit_arguments(numbers, side // HYBRID_PATCH, num_blocks=6, taps=[2, 5])
    convolutions = {"stem_channels": HYBRID_STEM, "depths": HYBRID_DEPTHS, "stage_channels": HYBRID_CHANNELS}
    sections = {
        "encoder": "hybrid",
        "patch_embed": {"channels": HYBRID_STEM},
        "imgencoder": convolutions | {"vit": vit},
        "reassemble": {
            "stage_features": numbers["channels"],
            "stage_channels": numbers["channels"],
            "scales": [1, 1, 1, 0.5],
            "readouts": [None, None, "ignore", "ignore"],
            "fusion_features": numbers["fusion"],
        },
    }
    return sections, HYBRID_PATCH


def vit_arguments(numbers: dict, table_side: int, *, num_blocks: int, taps: list[int]) -> dict:
    """The arguments of `ViTEncoder`."""
    return {
        "features": numbers["features"],
        "heads": numbers["heads"],
        "hidden": 4 * numbers["features"],
        "num_blocks": num_blocks,
        "taps": taps,
        "table_side": table_side,
        "position_offset": 0.0,  # DINOv2's 0.1 is a quirk of its own weights
    }


def unet_config(side: int) -> dict:
    """The config of a new relative U-Net, see experiments/unet.py."""
    return {
        "model_type": "unet",
        "encoder": "unet",
        "unet": {"width": 32, "num_halvings": 4, "activation": "relu", "scale": 1.0},
        "output": dict(RELATIVE),
        "picture": picture_section(PictureRule(side=side, multiple=16)),
    }


def picture_section(rule: PictureRule) -> dict:
    """A picture rule as configs have it: lists instead of tuples, because JSON has no tuples."""
    return asdict(rule) | {"mean": list(rule.mean), "std": list(rule.std)}


def make_model(args: argparse.Namespace) -> tuple[dict, nn.Module]:
    """(config, model) for the options --new or -m, --loss, --max_depth and --size. `args.size` becomes [H, W].

    The config says what the trained model will be: what it predicts, and the size at which `make_dpt_from_state_dict`
    will use it, that of its training pictures unless --picture_side says another. Raises UserError where the options
    do not fit the model.
    """
    if args.new:
        side = min(args.size or [NEW_SIDE])
        config = unet_config(side) if args.new == "unet" else dpt_config(args.new, side)
        model = build_unet(config) if args.new == "unet" else build_dpt(config)
        init_weights(model)
    else:
        config, model = load_trained(args)
    check_size(args, config)
    set_output(config, model, is_metric=args.loss == "silog", max_depth=args.max_depth)
    if config["picture"]["fit"] not in ("fixed", "pad"):
        config["picture"] |= {"side": args.picture_side or min(args.size), "width": None}
    return config, model


def load_trained(args: argparse.Namespace) -> tuple[dict, nn.Module]:
    """The weights that -m means, as in run_image.py, or a U-Net of ours."""
    from lib.demo.weights import find_weights

    config, model, _ = make_dpt_or_unet(find_weights(args.model_path), model_type=args.model_type)
    return config, model


def check_size(args: argparse.Namespace, config: dict) -> None:
    """Fill in the size of the training pictures, (H, W), and refuse one that the model cannot do."""
    picture = config["picture"]
    multiple = picture["multiple"]
    size = args.size or [picture["side"]]
    args.size = (size * 2)[:2] if len(size) == 1 else list(size)
    if any(side % multiple for side in args.size):
        raise UserError(
            f"--size {' '.join(map(str, args.size))}: both sides must be multiples of {multiple} for this model"
        )
    if picture["fit"] == "fixed" and args.size != [picture["side"]] * 2:
        raise UserError(f"--size: this model can only process {picture['side']} x {picture['side']} pixels")


def set_output(config: dict, model: nn.Module, *, is_metric: bool, max_depth: float | None) -> None:
    """Make the model predict what the loss compares: inverse depth, or metres up to max_depth.

    Where that is something else than before, the last convolution starts anew, because its numbers had another meaning.
    """
    output = config["output"]
    was_metric = output["quantity"] == "metres"
    if is_metric == was_metric and max_depth in (None, output["value_range"][1]):
        return
    if "metric_head" in config:
        raise UserError("a ZoeDepth predicts metres from bins: train it with --loss silog, and leave out --max_depth")
    if is_metric and max_depth is None:
        raise UserError("--loss silog trains metres: say up to how many with --max_depth, for example --max_depth 10")
    activation, scale = ("sigmoid", max_depth) if is_metric else ("relu", 1.0)
    section = config["unet" if config["encoder"] == "unet" else "head"]
    section |= {"activation": activation, "scale": scale}
    metres = {"quantity": "metres", "nearest_is_largest": False, "value_range": [0.0, max_depth]}
    config["output"] = metres if is_metric else dict(RELATIVE)
    config["release"] = None
    head = model if config["encoder"] == "unet" else model.head
    head.activation, head.scale = activation, scale
    low, high = config["output"]["value_range"]
    model.output = OutputKind(**config["output"] | {"value_range": (low, math.inf if high is None else high)})
    init_last(last_layer(model), activation)


def last_layer(model: nn.Module) -> nn.Conv2d:
    """The convolution whose one channel is the depth."""
    return model.head if isinstance(model.head, nn.Conv2d) else model.head.conv_3


def init_last(layer: nn.Conv2d, activation: str) -> None:
    """Start in the middle: at 0.4 of relative models' usual 0 to 1, or a quarter of the range in metres, everywhere.

    A ReLU that is negative at every pixel has no gradient and would never learn.
    """
    nn.init.normal_(layer.weight, std=0.1 * layer.in_channels**-0.5)
    nn.init.constant_(layer.bias, 0.4 if activation == "relu" else -1.1)


def init_weights(model: nn.Module) -> None:
    """Fresh weights: activations of about unit size everywhere, and residual branches that start small or at zero."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):  # its windows do not overlap: each pixel comes from one pixel
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            gain = 2**0.5 if isinstance(getattr(model, "encoder", None), nn.Module) else 1.0  # the U-Net's follow ReLUs
            nn.init.normal_(module.weight, std=gain * fan_in**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.startswith("fusion.") and name.endswith(".conv_2"):
                nn.init.zeros_(module.weight)  # residual units start as the identity
    init_last(last_layer(model), "relu")
    if isinstance(model, DPTModel):
        init_encoder(model)


@torch.no_grad()
def init_encoder(model: DPTModel) -> None:
    """The parts of a ViT, or of a hybrid with a ViT in it, whose beginning matters more than their size."""
    encoder = model.imgencoder
    vit = encoder if isinstance(encoder, ViTEncoder) else encoder.vit
    if isinstance(model.patch_embed, PatchEmbed):
        filters = model.patch_embed.projection.weight
        filters.copy_(cosine_filters(*filters.shape[:3]))
    for module in encoder.modules():
        if isinstance(module, Bottleneck):
            module.norm_3.weight.zero_()  # residual branches start at zero
    nn.init.normal_(vit.class_token, std=0.02)
    side = math.isqrt(vit.position_table.shape[1] - 1)
    vit.position_table[0, 1:] = sine_positions(side, vit.position_table.shape[2])
    for block in vit.blocks:
        for scale in (block.scale_1, block.scale_2):
            scale.gamma.fill_((2 * len(vit.blocks)) ** -0.5)  # so many branches add up to about one


def cosine_filters(features: int, colours: int, side: int) -> Tensor:
    """Filters that split a patch into brightness and two colour differences at low to high frequencies.

    features x colours x side x side. Random filters would see little but a patch's mean colour, which is by far the
    largest part of a picture; edges, which depth is read from, would have to be found first. The amplitude of natural
    pictures falls with frequency f as 1 / f (Field, 1987), so filters grow with f: then all features of a token have
    about unit size. Features beyond what this gives start at random.
    """
    opponents = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])[:, :colours]
    opponents /= opponents.norm(dim=1, keepdim=True)
    gains = torch.tensor([2.2, 15.0, 15.0])  # the three colours of a pixel differ far less than pixels do
    centres = (torch.arange(side) + 0.5) / side
    waves = torch.stack([torch.cos(torch.pi * f * centres) for f in range(side)])  # frequency side
    waves /= waves.norm(dim=1, keepdim=True)
    pairs = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda uv: uv[0] ** 2 + uv[1] ** 2)
    filters = []
    for u, v in pairs:
        size = max((u**2 + v**2) ** 0.5, 0.25)
        for opponent, gain in zip(opponents, gains, strict=True):
            if gain > gains[0] and len(filters) >= features // 2:  # fine detail in brightness alone
                continue
            wave = waves[u][:, None] * waves[v][None]
            filters.append(gain * size / side * opponent[:, None, None] * wave)
    return torch.stack(filters[:features])


def sine_positions(side: int, features: int) -> Tensor:
    """Sines and cosines of many wavelengths for each patch of a side x side grid: side^2 x C.

    A quarter of the features each: sine and cosine of the row, of the column ("Attention is all you need", section
    3.5). Only where the learned table starts: neighbours are alike from the first step on, instead of having to be
    found out.
    """
    wavelengths = 10000 ** (torch.arange(features // 4) / (features // 4))
    angles = torch.arange(side)[:, None] / wavelengths  # side C/4
    one_axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # side C/2
    rows = one_axis[:, None].expand(side, side, -1)
    columns = one_axis[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)  # side side C -> side^2 C


def freeze(model: nn.Module, prefixes: list[str]) -> None:
    """Parameters whose names begin like this never change; "encoder" means all of the encoder.

    Batch normalisation in frozen parts keeps its statistics, see `train_mode`. Raises UserError for a beginning that
    none has.
    """
    for prefix in prefixes:
        beginnings = ENCODER_PARTS if prefix == "encoder" else (prefix,)
        found = [parameter for name, parameter in model.named_parameters() if name.startswith(beginnings)]
        if not found:
            raise UserError(
                f"--freeze {prefix}: no weight's name begins so; expected encoder or, for example, imgencoder.blocks.0."
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("--freeze: everything is frozen, nothing is left to train")


def train_mode(model: nn.Module) -> None:
    """model.train(), but normalisation layers whose weights are frozen keep their running statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not any(weight.requires_grad for weight in module.parameters()):
            module.eval()


def parameter_groups(model: nn.Module, *, rate: float, encoder_rate: float, weight_decay: float) -> list[dict]:
    """AdamW's groups: encoder and decoder with their own largest rates, each with and without weight decay.

    Biases, norms, scales, tokens and position tables are not decayed: pulling them to zero means something else than
    keeping a matrix small.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.dim() > 1 and not name.endswith(("token", "table"))
            groups.setdefault((name.startswith(ENCODER_PARTS), is_matrix), []).append(parameter)
    return [
        {"params": found, "lr": encoder_rate if of_encoder else rate, "weight_decay": weight_decay * is_matrix}
        for (of_encoder, is_matrix), found in groups.items()
    ]


def make_optimizers(name: str, groups: list[dict]) -> list[torch.optim.Optimizer]:
    """AdamW for all groups; or, with "muon", Muon for the encoder's matrices and AdamW for the rest.

    Muon makes each step of a matrix orthogonal, so that it moves all directions alike; its step is scaled to be as
    large as AdamW's usually is, so that one learning rate serves both. Convolutions, and everything that is not decayed
    (`parameter_groups`), stay with AdamW.
    """
    adamw, muon = [], []
    for group in groups:
        takes_muon = name == "muon" and group["weight_decay"] > 0
        matrices = [weight for weight in group["params"] if takes_muon and weight.dim() == 2]
        others = [weight for weight in group["params"] if not (takes_muon and weight.dim() == 2)]
        muon += [group | {"params": matrices}] if matrices else []
        adamw += [group | {"params": others}] if others else []
    optimizers = [torch.optim.AdamW(adamw, betas=(0.9, 0.98))]
    return optimizers + ([torch.optim.Muon(muon, adjust_lr_fn="match_rms_adamw")] if muon else [])
