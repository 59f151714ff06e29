"""The model that a script's options ask for, ready to predict."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..dpt_model import DPTModel
from ..errors import UserError
from ..image_processor import DPTImageProcessor
from ..make_dpt import make_dpt_from_state_dict
from ..predict import DepthMap, infer_batch, predict_depth_batch, prepare_batch, restore_depth
from ..tiled import check_tiles, count_tiles, predict_depth_tiled
from ..zoedepth import ZoeDepth
from .device import choose_placement
from .weights import find_weights

MOST_AT_ONCE = 4  # frames of a video, unless batches are larger: each needs memory for its features


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, with the processing size of the options.

    name: its release, or what is known of it. weights: its file's name. tiles: along each side of a picture, see
    `predict_depth_tiled`; 0 for as many as needed, None for the plain way. The rest: see `prepare_image_bgr`.
    """

    dpt_model: DPTModel
    dpt_imgproc: DPTImageProcessor
    name: str
    weights: str
    max_side_length: int | None
    use_square_sizing: bool
    tiles: int | None = None

    def _sizing(self, max_side_length: int | None) -> dict:
        return {
            "max_side_length": max_side_length or self.max_side_length,
            "use_square_sizing": self.use_square_sizing,
        }

    def batches_at_once(self, batch_size: int) -> int:
        """How many batches of a video the network should work on at the same time: on CPUs several, with equal threads."""
        if not isinstance(self.dpt_model, nn.Module) or next(self.dpt_model.parameters()).device.type != "cpu":
            return 1
        threads, most = torch.get_num_threads(), max(MOST_AT_ONCE // batch_size, 2)
        return max(number for number in range(1, most + 1) if threads % number == 0)

    def network_size(self, height: int, width: int, max_side_length: int | None = None) -> tuple[int, int]:
        """(H, W) of the network's input for a picture of height x width. max_side_length: instead of the options'."""
        if self.tiles is not None:
            check_tiles(self.tiles or 1, (height, width))
        return self.dpt_imgproc.network_size(height, width, **self._sizing(max_side_length))

    def predict(self, images_bgr: Sequence[np.ndarray], max_side_length: int | None = None) -> list[DepthMap]:
        """Depth of pictures whose network sizes are the same."""
        model, sizing = (self.dpt_model, self.dpt_imgproc), self._sizing(max_side_length)
        if self.tiles is not None:
            return [predict_depth_tiled(*model, image, num_tiles=self.tiles or None, **sizing) for image in images_bgr]
        return predict_depth_batch(*model, images_bgr, **sizing)

    def prepare(self, images_bgr: Sequence[np.ndarray]) -> Tensor:
        """The first of three steps for videos, which run at the same time on different frames: -> B x 3 x H x W.

        The tensor is on the model's device already. Without tiles.
        """
        weight = next(self.dpt_model.parameters())
        batch = prepare_batch(self.dpt_imgproc, images_bgr, **self._sizing(None), device=weight.device)
        return batch.to(weight.device, weight.dtype, non_blocking=True)

    def infer(self, batch: Tensor) -> Tensor:
        """The second: B x 3 x H x W -> B x H x W float32 on the CPU, when it is done."""
        return self.infer_with_domains(batch)[0]

    def infer_with_domains(self, batch: Tensor) -> tuple[Tensor, Sequence[str | None]]:
        """The same, with the domain of each picture, see DepthMap."""
        predictions, domains = infer_batch(self.dpt_model, self.dpt_imgproc, batch)
        return predictions.float().cpu(), domains

    def restore(self, prediction: Tensor, image_hw: tuple[int, int], *, domain: str | None = None) -> DepthMap:
        """The third: H x W -> the depth map at the picture's size. domain: what the second step said."""
        return restore_depth(self.dpt_model, self.dpt_imgproc, prediction, image_hw, domain=domain)

    def facts(self, image_bgr: np.ndarray, max_side_length: int | None = None) -> dict:
        """What a result should say about how it was made."""
        height, width = self.network_size(*image_bgr.shape[:2], max_side_length)
        facts = {"model": self.name, "weights": self.weights, "network_size": {"height": height, "width": width}}
        facts |= self.zoedepth_facts()
        if self.tiles is not None:
            facts["tiles_per_side"] = self.tiles or count_tiles(image_bgr.shape[:2], (height, width))
        return facts

    def zoedepth_facts(self) -> dict:
        """Whether pictures get a border and are averaged with their mirrored ones; {} of models that never do."""
        if not isinstance(self.dpt_model, ZoeDepth):
            return {}
        return {"padded": self.dpt_imgproc.rule.reflect_padding, "flip_averaged": self.dpt_imgproc.rule.flip_average}


def load_model(args: argparse.Namespace, *, make: Callable | None = None) -> LoadedModel:
    """The model that the options of `add_model_options` ask for, on its device; prints what it is, where, and why.

    make: opens the weights, by default `make_dpt_from_state_dict`; another function may know other networks too.
    """
    path = find_weights(args.model_path)
    if args.engine is not None or path.suffix.lower() == ".onnx":
        from .engines import load_engine  # and with it, packages that nothing else needs

        return as_loaded_model(args, path, *load_engine(path, args))
    placement = choose_placement(args.device, use_float32=args.use_float32)
    config, dpt_model, dpt_imgproc = (make or make_dpt_from_state_dict)(
        path,
        enable_cache=not args.no_cache,
        enable_optimizations=not args.no_optimization,
        model_type=args.model_type,
    )
    dpt_imgproc = apply_zoedepth_options(args, dpt_model, dpt_imgproc)
    print(placement)
    name = config.get("release") or config.get("model_type") or path.stem
    return as_loaded_model(args, path, dpt_model.to(placement.device, placement.dtype), dpt_imgproc, name)


def as_loaded_model(
    args: argparse.Namespace, path: Path, dpt_model: DPTModel, dpt_imgproc: DPTImageProcessor, name: str
) -> LoadedModel:
    """The model with the processing size of the options. name: its release, or what is known of it."""
    return LoadedModel(
        dpt_model,
        dpt_imgproc,
        name=name,
        weights=path.name,
        max_side_length=args.base_size_px,
        use_square_sizing=args.square,
        tiles=getattr(args, "tiled", None),  # not every script has --tiled
    )


def apply_zoedepth_options(
    args: argparse.Namespace, dpt_model: DPTModel, dpt_imgproc: DPTImageProcessor
) -> DPTImageProcessor:
    """Do to the model what --domain and --metric_range ask for; the image processor that --no_pad and --no_flip ask for.

    Raises UserError where the model has no domains, or no range, to choose.
    """
    rule = dpt_imgproc.rule
    for option, value, apply in (
        ("--domain", args.domain, ZoeDepth.set_domain),
        ("--metric_range", args.metric_range, ZoeDepth.set_max_depth),
    ):
        if value is None:
            continue
        if not isinstance(dpt_model, ZoeDepth):
            raise UserError(f"{option} is for ZoeDepth models, and this is none: leave it out")
        try:
            apply(dpt_model, value)
        except UserError as error:
            raise UserError(f"{option}: {error}") from error
    changed = rule.without(padding=args.no_pad, flip=args.no_flip)
    return dpt_imgproc if changed == rule else DPTImageProcessor(changed)
