"""The model that a script's options ask for, ready to predict."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..dpt_model import DPTModel
from ..image_processor import DPTImageProcessor
from ..make_dpt import make_dpt_from_state_dict
from ..predict import DepthMap, predict_depth_batch
from .device import choose_placement
from .weights import find_weights


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, with the processing size of the options.

    name: its release, or what is known of it. weights: its file's name. The rest: see `prepare_image_bgr`.
    """

    dpt_model: DPTModel
    dpt_imgproc: DPTImageProcessor
    name: str
    weights: str
    max_side_length: int | None
    use_square_sizing: bool

    def _sizing(self, max_side_length: int | None) -> dict:
        return {
            "max_side_length": max_side_length or self.max_side_length,
            "use_square_sizing": self.use_square_sizing,
        }

    def network_size(self, height: int, width: int, max_side_length: int | None = None) -> tuple[int, int]:
        """(H, W) of the network's input for a picture of height x width. max_side_length: instead of the options'."""
        return self.dpt_imgproc.network_size(height, width, **self._sizing(max_side_length))

    def predict(self, images_bgr: Sequence[np.ndarray], max_side_length: int | None = None) -> list[DepthMap]:
        """Depth of pictures whose network sizes are the same."""
        return predict_depth_batch(self.dpt_model, self.dpt_imgproc, images_bgr, **self._sizing(max_side_length))

    def facts(self, image_bgr: np.ndarray, max_side_length: int | None = None) -> dict:
        """What a result should say about how it was made."""
        height, width = self.network_size(*image_bgr.shape[:2], max_side_length)
        return {"model": self.name, "weights": self.weights, "network_size": {"height": height, "width": width}}


def load_model(args: argparse.Namespace) -> LoadedModel:
    """The model that the options of `add_model_options` ask for, on its device; prints what it is, where, and why."""
    placement = choose_placement(args.device, use_float32=args.use_float32)
    path = find_weights(args.model_path)
    config, dpt_model, dpt_imgproc = make_dpt_from_state_dict(
        path,
        enable_cache=not args.no_cache,
        enable_optimizations=not args.no_optimization,
        model_type=args.model_type,
    )
    print(placement)
    return LoadedModel(
        dpt_model.to(placement.device, placement.dtype),
        dpt_imgproc,
        name=config.get("release") or config.get("model_type") or path.stem,
        weights=path.name,
        max_side_length=args.base_size_px,
        use_square_sizing=args.square,
    )
