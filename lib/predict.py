"""Picture in, declared depth map out: what joins the image processor and the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from .dpt_model import DPTModel
from .image_processor import DPTImageProcessor
from .zoedepth import ZoeDepth


@dataclass(frozen=True)
class DepthMap:
    """A depth map and what its numbers mean.

    depth: H0 x W0 float32, the picture's size. quantity: "inverse depth", "depth" or "metres". nearest_is_largest: whether
    larger numbers are nearer. value_range: smallest and largest number that the network can give (infinity: no bound);
    restored to the picture's size by bicubic interpolation, `depth` may go a little beyond. domain: of a model with bins for
    several kinds of pictures, those that were used ("indoor" or "outdoor"); None of every other model.
    """

    depth: np.ndarray
    quantity: str
    nearest_is_largest: bool
    value_range: tuple[float, float]
    domain: str | None = None


def predict_depth(
    dpt_model: DPTModel,
    dpt_imgproc: DPTImageProcessor,
    image_bgr: np.ndarray,
    *,
    max_side_length: int | None = None,
    use_square_sizing: bool = False,
    use_padding: bool | None = None,
    use_flip: bool | None = None,
) -> DepthMap:
    """One picture (as OpenCV reads it, see `prepare_image_bgr`) -> its depth map, the whole way as the release runs it.

    use_padding, use_flip: instead of the release's choice (only ZoeDepth does either), put a border of mirrored picture
    around it, and average with the prediction of the mirrored picture. Raises PictureError for arrays that are not pictures.
    """
    sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
    extra = {"use_padding": use_padding, "use_flip": use_flip}
    return predict_depth_batch(dpt_model, dpt_imgproc, [image_bgr], **sizing, **extra)[0]


def predict_depth_batch(
    dpt_model: DPTModel,
    dpt_imgproc: DPTImageProcessor,
    images_bgr: Sequence[np.ndarray],
    *,
    max_side_length: int | None = None,
    use_square_sizing: bool = False,
    use_padding: bool | None = None,
    use_flip: bool | None = None,
) -> list[DepthMap]:
    """Several pictures at once. They may differ in size, but their network inputs must not.

    `dpt_imgproc.network_size` tells the size beforehand. Raises ValueError when the sizes differ.
    """
    if len(images_bgr) == 0:
        return []
    sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
    batch = prepare_batch(dpt_imgproc, images_bgr, use_padding=use_padding, **sizing)
    predictions, domains = infer_batch(dpt_model, dpt_imgproc, batch, use_flip=use_flip)  # B 3 H W -> B H W
    return [
        restore_depth(dpt_model, dpt_imgproc, prediction, image.shape[:2], domain=domain, use_padding=use_padding)
        for prediction, domain, image in zip(predictions, domains, images_bgr, strict=True)
    ]


def prepare_batch(
    dpt_imgproc: DPTImageProcessor,
    images_bgr: Sequence[np.ndarray],
    *,
    max_side_length: int | None = None,
    use_square_sizing: bool = False,
    use_padding: bool | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """The first step of `predict_depth_batch`: B pictures -> B x 3 x H x W on the CPU, or for a CUDA device there and by it."""
    prepare = dpt_imgproc.prepare_image_bgr
    if device is not None and device.type == "cuda":  # others lack some of the interpolations
        prepare = partial(dpt_imgproc.prepare_on_device, device=device)
    sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
    inputs = [prepare(image, **sizing, use_padding=use_padding) for image in images_bgr]
    sizes = {tuple(tensor.shape[-2:]) for tensor in inputs}
    if len(sizes) > 1:
        raise ValueError(f"pictures of one batch need one network size, these have {sorted(sizes)}")
    return torch.cat(inputs)


def infer_batch(
    dpt_model: DPTModel, dpt_imgproc: DPTImageProcessor, batch: torch.Tensor, *, use_flip: bool | None = None
) -> tuple[torch.Tensor, Sequence[str | None]]:
    """The middle step: B x 3 x H x W -> B x H x W, and the domain of each picture, see DepthMap.

    Where the release does so, the mean of each picture's prediction and the mirrored picture's, mirrored back. A router sees
    the mirrored picture as another one, as in the release; the domain is the picture's own.
    """

    def infer(images: torch.Tensor) -> tuple[torch.Tensor, Sequence[str | None]]:
        if isinstance(dpt_model, ZoeDepth) and len(dpt_model.domains) > 1:
            result = dpt_model.inference_with_domains(images)
            return result.depth, result.domains
        return dpt_model.inference(images), [None] * len(images)

    predictions, domains = infer(batch)
    if dpt_imgproc.rule.flip_average if use_flip is None else use_flip:
        mirrored, _ = infer(batch.flip(-1))
        predictions = (predictions + mirrored.flip(-1)) / 2
    return predictions, domains


def restore_depth(
    dpt_model: DPTModel,
    dpt_imgproc: DPTImageProcessor,
    prediction: torch.Tensor,
    image_hw: tuple[int, int],
    *,
    domain: str | None = None,
    use_padding: bool | None = None,
) -> DepthMap:
    """The last step of `predict_depth_batch`: one map of the network, H x W -> the depth map at a picture's size."""
    output = dpt_model.output
    depth = dpt_imgproc.scale_prediction(prediction, image_hw, use_padding=use_padding)  # H W -> H0 W0
    kind = (output.quantity, output.nearest_is_largest, output.value_range)
    return DepthMap(depth.contiguous().cpu().numpy(), *kind, domain)
