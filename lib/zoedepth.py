"""Relative depth model with a metric head: ZoeDepth, and the metric models of Depth-Anything V1.

Shapes: B batch, H W network input, D domains.

Paper: "ZoeDepth: zero-shot transfer by combining relative and metric depth", figure 2.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from .decoder.metric_head import MetricDepth, check_range
from .dpt_model import DPTModel
from .errors import UserError


class ZoeDepth(DPTModel):
    """The five steps of a DPT, and a sixth, which turns what they made on the way into metres.

    The core is an ordinary DPT: `relative_depth` is its own answer. `domain` is a setting: the name of the domain ("indoor" or
    "outdoor") whose bins every picture gets, or None to let the router choose. So is `vote_by_batch`, see MetricHead.
    """

    def __init__(self, *, metric_head: nn.Module, **core):
        super().__init__(**core)
        self.metric_head = metric_head
        self.domain: str | None = None
        self.vote_by_batch = False

    def forward(self, image_rgb: Tensor) -> Tensor:
        """B x 3 x H x W normalised picture -> B x H x W metres, float32."""
        return self.metric_depth(image_rgb).depth

    def metric_depth(self, image_rgb: Tensor) -> MetricDepth:
        """`forward`, with the domain that was chosen for each picture and the router's reasons."""
        tokens, grid_hw = self.patch_embed(image_rgb)  # B 3 H W -> B N C
        stages = self.imgencoder(tokens, grid_hw)  # B N C -> four times B 1+N C
        maps = self.reassemble(stages, grid_hw)  # -> B M 4h 4w, B M 2h 2w, B M h w, B M h/2 w/2
        fused_maps = self.fusion.all_maps(maps)  # -> B M h w, B M 2h 2w, B M 4h 4w, B M 8h 8w
        features = self.head.features(fused_maps[-1], image_rgb.shape[-2:])  # B M 8h 8w -> B V H W
        relative = self.head.depth(features)  # B V H W -> B H W
        return self.metric_head(maps[-1], fused_maps, features, relative, domain=self.domain, vote_by_batch=self.vote_by_batch)

    def relative_depth(self, image_rgb: Tensor) -> Tensor:
        """What the core says alone: relative inverse depth, B x H x W."""
        return super().forward(image_rgb)

    @torch.no_grad()
    def inference_with_domains(self, image_rgb: Tensor) -> MetricDepth:
        """`metric_depth` without gradients, on a picture tensor from any device or dtype."""
        weight = next(self.parameters())
        return self.metric_depth(image_rgb.to(device=weight.device, dtype=weight.dtype))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that this model has bins for."""
        return tuple(self.metric_head.domains)

    def set_domain(self, domain: str | None) -> None:
        """Use the bins of this domain for every picture; None lets the router choose. Raises UserError for an unknown one."""
        if domain is not None and len(self.domains) == 1:
            raise UserError("this model has the same bins for all pictures, so that there is no domain to choose")
        if domain is not None and domain not in self.domains:
            raise UserError(f"this model has no bins for the domain {domain!r}; it has {' and '.join(self.domains)}")
        self.domain = domain

    def set_max_depth(self, max_depth: float) -> None:
        """Stretch the range of bounded bins to end at this many metres.

        Bounded bins are shares of a range that is no weight: ZoeDepth's KITTI model was trained with 80 metres, but the
        release's hub model says 10 unless it is told otherwise. Another range is the same depth on another scale. Raises
        UserError for a range that is none, and for models whose bins have no bounds.
        """
        heads = list(self.metric_head.domains.values())
        if any(head.depth_range is None for head in heads):
            raise UserError("this model's bins have no bounds, so that there is no range to set")
        ranges = [(head.depth_range[0], float(max_depth)) for head in heads]
        try:
            for depth_range in ranges:
                check_range(depth_range)
        except ValueError as error:
            raise UserError(str(error)) from error
        for head, depth_range in zip(heads, ranges, strict=True):
            head.depth_range = depth_range
        self.output = replace(self.output, value_range=(ranges[0][0], float(max_depth)))
