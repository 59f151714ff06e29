"""The models that the benchmarks compare: built with random weights in `transformers`, loaded by our own loader."""

import contextlib
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.errors import UserError

if TYPE_CHECKING:  # the benchmarks' --help does not wait for these
    import torch

    from lib.dpt_model import DPTModel
    from lib.image_processor import DPTImageProcessor

# name: (kind, picture side, arguments of the kind's config builder below)
MODELS = {
    "swin2-tiny-256": (
        "swinv2",
        256,
        {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 16},
    ),
    "beit-base-384": ("beit", 384, {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}),
    "beit-large-512": ("beit", 512, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "vit-large-384": ("vit", 384, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "depth-anything-small": ("dinov2", 518, {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}),
    "depth-anything-base": ("dinov2", 518, {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}),
    "depth-anything-large": ("dinov2", 518, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "swin2-large-384": (
        "swinv2",
        384,
        {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 24},
    ),
    "zoedepth-nyu": ("zoedepth", 384, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "zoedepth-kitti": ("zoedepth-bounded", 384, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
    "zoedepth-nyu-kitti": ("zoedepth-routed", 384, {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
}
DEFAULT_MODELS = ["swin2-tiny-256", "beit-base-384", "vit-large-384", "depth-anything-small", "zoedepth-nyu"]
LARGEST_DIFFERENCE = 1e-3  # of the map's standard deviation; random weights are less well conditioned than trained ones
LARGEST_DIFFERENCE_OF_BINS = 1e-2  # likewise, where bins amplify rounding


def build_reference(kind: str, side: int, sizes: dict):
    """The model in `transformers`, with random weights that give a map of some contrast."""
    import torch
    import transformers

    if kind == "dinov2":
        width, fusion = sizes["hidden_size"], {384: 64, 768: 128, 1024: 256}[sizes["hidden_size"]]
        neck = {384: [48, 96, 192, 384], 768: [96, 192, 384, 768], 1024: [256, 512, 1024, 1024]}[width]
        taps = [sizes["num_hidden_layers"] // 4 * quarter for quarter in (1, 2, 3, 4)]
        backbone = transformers.Dinov2Config(
            image_size=side, patch_size=14, out_indices=taps, reshape_hidden_states=False, **sizes
        )
        config = transformers.DepthAnythingConfig(
            backbone_config=backbone, reassemble_hidden_size=width, neck_hidden_sizes=neck, fusion_hidden_size=fusion
        )
        model = transformers.DepthAnythingForDepthEstimation(config)
    elif kind.startswith("zoedepth"):
        model = transformers.ZoeDepthForDepthEstimation(zoedepth_config(kind, side, sizes))
    else:
        config = dpt_config(kind, side, sizes)
        model = transformers.DPTForDepthEstimation(config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    heads = ("head.", "relative_head.")
    torch.nn.init.ones_([weight for name, weight in model.named_parameters() if name.startswith(heads)][-1])
    return model.eval()


def zoedepth_config(kind: str, side: int, sizes: dict):
    """A ZoeDepthConfig as the published Hugging Face folders have it."""
    import transformers

    taps = [sizes["num_hidden_layers"] // 4 * quarter for quarter in (1, 2, 3, 4)]
    backbone = transformers.BeitConfig(
        image_size=side, intermediate_size=4 * sizes["hidden_size"], use_relative_position_bias=True,
        out_features=[f"stage{tap}" for tap in taps], reshape_hidden_states=False, use_mask_token=False, **sizes,
    )  # fmt: skip
    domains = [
        {"name": "nyu", "n_bins": 64, "min_depth": 0.001, "max_depth": 10.0},
        {"name": "kitti", "n_bins": 64, "min_depth": 0.001, "max_depth": 80.0},
    ]
    more = {
        "zoedepth": {"bin_configurations": domains[:1]},
        "zoedepth-bounded": {"bin_configurations": domains[1:], "bin_centers_type": "normed"},
        "zoedepth-routed": {
            "bin_configurations": domains, "num_patch_transformer_layers": 4, "patch_transformer_hidden_size": 128,
            "patch_transformer_intermediate_size": 1024, "patch_transformer_num_attention_heads": 4,
        },
    }[kind]  # fmt: skip
    return transformers.ZoeDepthConfig(backbone_config=backbone, neck_hidden_sizes=[256, 512, 1024, 1024], **more)


def dpt_config(kind: str, side: int, sizes: dict):
    """A DPTConfig as the published Hugging Face folder of this size has it."""
    import transformers

    blocks = sizes.get("num_hidden_layers", 12)
    taps = [blocks // 4 * quarter - 1 for quarter in (1, 2, 3, 4)]
    neck = {768: [96, 192, 384, 768], 1024: [256, 512, 1024, 1024]}.get(sizes.get("hidden_size"))
    if kind == "vit":
        return transformers.DPTConfig(
            image_size=side, patch_size=16, intermediate_size=4 * sizes["hidden_size"], backbone_out_indices=taps,
            readout_type="project", neck_hidden_sizes=neck, fusion_hidden_size=256, **sizes,
        )  # fmt: skip
    if kind == "beit":
        backbone = transformers.BeitConfig(
            image_size=side, patch_size=16, intermediate_size=4 * sizes["hidden_size"], use_relative_position_bias=True,
            out_features=[f"stage{tap + 1}" for tap in taps], reshape_hidden_states=False, use_mask_token=False, **sizes,
        )  # fmt: skip
        return transformers.DPTConfig(
            backbone_config=backbone, readout_type="project", neck_hidden_sizes=neck, fusion_hidden_size=256,
            hidden_size=sizes["hidden_size"], image_size=side, patch_size=16,
        )  # fmt: skip
    backbone = transformers.Swinv2Config(image_size=side, out_features=["stage1", "stage2", "stage3", "stage4"], **sizes)
    widths = [sizes["embed_dim"] * 2**stage for stage in range(4)]
    return transformers.DPTConfig(
        backbone_config=backbone, readout_type="ignore", neck_hidden_sizes=widths, fusion_hidden_size=256, patch_size=4
    )


@dataclass(frozen=True)
class Pair:
    """A model in `transformers` and ours with the same weights, and an input. expected: transformers' map of it."""

    name: str
    reference: "torch.nn.Module"
    ours: "DPTModel"
    dpt_imgproc: "DPTImageProcessor"
    config: dict
    image: "torch.Tensor"
    expected: "torch.Tensor"

    def error(self, depth: "torch.Tensor") -> float:
        """How far a map is from that of transformers in float32, in standard deviations."""
        return float((depth.float().cpu() - self.expected).abs().max() / self.expected.std())


def load_pair(name: str, *, side: int | None = None, batch_size: int = 1) -> Pair:
    """Both models, which compute the same map (checked). side: of the input, instead of the model's own."""
    import torch

    from lib.make_dpt import make_dpt_from_state_dict

    kind, native_side, sizes = MODELS[name]
    reference = build_reference(kind, native_side, sizes)
    with tempfile.TemporaryDirectory() as folder:
        reference.save_pretrained(folder)
        with contextlib.redirect_stdout(None):
            config, ours, dpt_imgproc = make_dpt_from_state_dict(folder)
    side = side or native_side
    image = torch.randn(batch_size, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(image).predicted_depth
    pair = Pair(name, reference, ours, dpt_imgproc, config, image, expected)
    difference = pair.error(ours.inference(image))
    largest = LARGEST_DIFFERENCE_OF_BINS if kind.startswith("zoedepth") else LARGEST_DIFFERENCE
    if not difference <= largest:
        raise UserError(f"{name}: our map differs by {difference:.1e} standard deviations; timing it would mean nothing")
    return pair
