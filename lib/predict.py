"""Picture in, declared depth map out: what joins the image processor and the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .dpt_model import DPTModel
from .image_processor import DPTImageProcessor


@dataclass(frozen=True)
class DepthMap:
    """A depth map and what its numbers mean.

    depth: H0 x W0 float32, the picture's size. quantity: "inverse depth", "depth" or "metres". nearest_is_largest: whether
    larger numbers are nearer. value_range: smallest and largest number that the network can give (infinity: no bound);
    restored to the picture's size by bicubic interpolation, `depth` may go a little beyond.
    """

    depth: np.ndarray
    quantity: str
    nearest_is_largest: bool
    value_range: tuple[float, float]


def predict_depth(
    dpt_model: DPTModel,
    dpt_imgproc: DPTImageProcessor,
    image_bgr: np.ndarray,
    *,
    max_side_length: int | None = None,
    use_square_sizing: bool = False,
) -> DepthMap:
    """One picture (as OpenCV reads it, see `prepare_image_bgr`) -> its depth map, the whole way as the release runs it.

    Raises PictureError for arrays that are not pictures.
    """
    sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
    return predict_depth_batch(dpt_model, dpt_imgproc, [image_bgr], **sizing)[0]


def predict_depth_batch(
    dpt_model: DPTModel,
    dpt_imgproc: DPTImageProcessor,
    images_bgr: Sequence[np.ndarray],
    *,
    max_side_length: int | None = None,
    use_square_sizing: bool = False,
) -> list[DepthMap]:
    """Several pictures at once. They may differ in size, but their network inputs must not.

    `dpt_imgproc.network_size` tells the size beforehand. Raises ValueError when the sizes differ.
    """
    if len(images_bgr) == 0:
        return []
    inputs = [dpt_imgproc.prepare_image_bgr(image, max_side_length, use_square_sizing) for image in images_bgr]
    sizes = {tuple(tensor.shape[-2:]) for tensor in inputs}
    if len(sizes) > 1:
        raise ValueError(f"pictures of one batch need one network size, these have {sorted(sizes)}")
    predictions = dpt_model.inference(torch.cat(inputs))  # B 3 H W -> B H W
    output = dpt_model.output
    maps = []
    for prediction, image_bgr in zip(predictions, images_bgr, strict=True):
        depth = dpt_imgproc.scale_prediction(prediction, image_bgr.shape[:2])  # H W -> H0 W0
        maps.append(
            DepthMap(depth.cpu().numpy(), output.quantity, output.nearest_is_largest, output.value_range)
        )
    return maps
