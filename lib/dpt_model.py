"""The dense prediction transformer: figure 1 of "Vision transformers for dense prediction" as five calls.

Shapes: B batch, H W network input, h w patch grid, N = h * w patch tokens, C features, M width of the fusion.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .decoder import DepthHead, Fusion, MetricHead, Reassemble
from .encoders import ENCODERS
from .encoders.layers import WeightCache


@dataclass(frozen=True)
class OutputKind:
    """What the numbers of a depth map mean.

    quantity: "inverse depth" (relative: proportional to 1 / depth up to an unknown scale *and* shift), "depth"
    (relative depth) or "metres". nearest_is_largest: whether larger numbers are nearer. value_range: smallest and
    largest possible number; the largest is infinity where nothing bounds it.
    """

    quantity: str
    nearest_is_largest: bool
    value_range: tuple[float, float]


class DPTModel(nn.Module):
    """A depth model made of the five steps, each of which can be called alone.

    patch_embed: picture -> tokens and patch grid; imgencoder: tokens -> four stages; reassemble: stages -> feature maps
    at four scales; fusion: maps -> one map; head: map -> depth. `output` says what the depth means.
    """

    def __init__(
        self,
        *,
        patch_embed: nn.Module,
        imgencoder: nn.Module,
        reassemble: Reassemble,
        fusion: Fusion,
        head: DepthHead,
        output: OutputKind,
    ):
        super().__init__()
        counts = {imgencoder.num_stages, len(reassemble.stages), len(fusion.blocks)}
        if len(counts) > 1:
            raise ValueError(f"encoder, reassemble and fusion must have equally many stages, not {sorted(counts)}")
        self.patch_embed = patch_embed
        self.imgencoder = imgencoder
        self.reassemble = reassemble
        self.fusion = fusion
        self.head = head
        self.output = output

    def forward(self, image_rgb: Tensor) -> Tensor:
        """B x 3 x H x W normalised picture -> B x H x W depth, in the quantity that `self.output` declares."""
        tokens, grid_hw = self.patch_embed(image_rgb)  # B 3 H W -> B N C
        stages = self.imgencoder(tokens, grid_hw)  # B N C -> four times B 1+N C
        maps = self.reassemble(stages, grid_hw)  # -> B M 4h 4w, B M 2h 2w, B M h w, B M h/2 w/2
        fused = self.fusion(maps)  # -> B M 8h 8w
        return self.head(fused, image_rgb.shape[-2:])  # B M 8h 8w -> B H W

    @torch.no_grad()
    def inference(self, image_rgb: Tensor) -> Tensor:
        """`forward` without gradients, on a picture tensor from any device or dtype (it follows the weights)."""
        weight = next(self.parameters())
        return self(image_rgb.to(device=weight.device, dtype=weight.dtype))

    def set_cache(self, enabled: bool, *, small: bool = False) -> None:
        """Switch the cached position encodings on or off; either way, forget what they hold.

        small=True keeps the caches of BEiT, SwinV2 and Swin small: only the tables, more than a hundred times smaller than
        the biases that are looked up in them, which then costs some time at each call. The others' are small anyway.
        """
        for module in self.modules():
            if isinstance(module, WeightCache):
                module.enabled = enabled
                module.clear()
            if hasattr(module, "keep_full_bias"):
                module.keep_full_bias = not small

    def cache_bytes(self) -> int:
        """Memory that cached position encodings hold now, in bytes."""
        return sum(module.num_bytes() for module in self.modules() if isinstance(module, WeightCache))

    def set_fused_attention(self, enabled: bool) -> None:
        """Choose PyTorch's fused attention and quick linear layers, or the plain formulas for study (`attend`, `Linear`)."""
        for module in self.modules():
            if hasattr(module, "fused"):  # attention and linear layers have this switch
                module.fused = enabled


def build_dpt(config: dict) -> DPTModel:
    """The network that a config describes, with fresh weights on the current default device.

    config: as `make_dpt_from_state_dict` returns it. Its sections "patch_embed", "imgencoder", "reassemble", "fusion" and
    "head" are the arguments of those classes; "encoder" is a key of ENCODERS; "output" is an OutputKind. A section
    "metric_head" makes it a ZoeDepth.
    """
    patch_embed_class, encoder_class = ENCODERS[config["encoder"]]
    low, high = config["output"]["value_range"]
    model_class, more = DPTModel, {}
    if "metric_head" in config:
        from .zoedepth import ZoeDepth  # which is made of the model above

        model_class, more = ZoeDepth, {"metric_head": MetricHead(**config["metric_head"])}
    return model_class(
        patch_embed=patch_embed_class(**config["patch_embed"]),
        imgencoder=encoder_class(**config["imgencoder"]),
        reassemble=Reassemble(**config["reassemble"]),
        fusion=Fusion(**config["fusion"]),
        head=DepthHead(**config["head"]),
        output=OutputKind(
            quantity=config["output"]["quantity"],
            nearest_is_largest=config["output"]["nearest_is_largest"],
            value_range=(low, float("inf") if high is None else high),  # JSON has no infinity
        ),
        **more,
    )
