"""What training minimises: three losses between a predicted map and true depth, each one number per picture.

Shapes: B pictures, H W the grid of prediction and truth (truth comes to it by nearest neighbour, never interpolated).

True depth is metres; infinity is sky, and NaN, zero and less mean that nothing is known there. For relative models sky
is inverse depth 0, which is as good as any other truth; for metric models it is masked.

All losses return one number per picture instead of the mean, and 0 for a picture that can teach nothing (no valid
pixels, or no contrast). The mean over a batch is then the mean over its parts, however it is split over steps and
processes.

Papers: "Towards robust monocular depth estimation" (MiDaS), section 5, for "ssi" and gradient matching; "Depth map
prediction from a single image using a multi-scale deep network", section 3.2, for SILog.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

LEAST_PIXELS = 16  # fewer say nothing about percentiles
LEAST_CONTRAST = 1e-3  # of a picture's inverse depth, as a share of its largest: below that it is one flat wall
LARGEST_TARGET = (
    2.0  # the few pixels nearer than the 98th percentile may be any number of times nearer: a cable before a street
)
LEAST_DEPTH = 1e-3  # metres


def inverse_depth(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Metres -> inverse depth (0 where invalid), and where it is valid. Sky (infinity) is 0 and valid."""
    valid = depth > 0  # false for NaN
    return torch.where(valid, 1 / depth, 0.0), valid


def masked_quantiles(values: Tensor, valid: Tensor, *shares: float) -> list[Tensor]:
    """For each picture the value that a share of its valid values does not exceed: B x H x W -> B x 1 x 1 per share.

    Without interpolation between neighbours; infinity where nothing is valid.
    """
    ordered = values.masked_fill(~valid, torch.inf).flatten(1).sort(dim=1).values  # B H W -> B HW
    last = (valid.flatten(1).sum(dim=1, keepdim=True) - 1).clamp(min=0)  # B 1
    return [ordered.gather(1, (share * last).round().long())[..., None] for share in shares]  # B 1 -> B 1 1


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """For each picture the mean of its valid values, 0 without any: B x H x W -> B."""
    return torch.where(valid, values, 0.0).sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp(min=1)


def percentiles(disparity: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2nd and 98th percentile of inverse depth (B x 1 x 1), and which pictures can teach something (B, boolean).

    Those that have enough valid pixels, and contrast between the two.
    """
    low, high = masked_quantiles(disparity, valid, 0.02, 0.98)
    has_contrast = high - low > LEAST_CONTRAST * high
    return low, high, has_contrast[:, 0, 0] & (valid.sum(dim=(1, 2)) >= LEAST_PIXELS)


def percentile_target(disparity: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Inverse depth with its 2nd percentile at 0 and its 98th at 1, clipped at 0 and LARGEST_TARGET: B x H x W.

    Least squares and most uses of a relative map undo scale and shift anyway, so any fixed choice of the two will do as
    a target; percentiles are one that a few odd pixels cannot move.
    """
    return ((disparity - low) / (high - low).clamp(min=1e-12)).clamp(0, LARGEST_TARGET)


def median_normalised(values: Tensor, valid: Tensor) -> Tensor:
    """(values - their median) / their mean distance from it, over valid pixels: MiDaS, equations 5 and 6."""
    shifted = values - masked_quantiles(values, valid, 0.5)[0]
    return shifted / masked_mean(shifted.abs(), valid).clamp(min=1e-6)[:, None, None]


def gradient_matching(prediction: Tensor, target: Tensor, valid: Tensor, num_scales: int = 4) -> Tensor:
    """Edges of the prediction where the target has them: MiDaS, equation 11. Three times B x H x W -> B.

    The difference of the two maps should change nowhere: the mean of |change to the right| + |change downwards|,
    between pixels that are both valid, summed over scales that halve the map (by leaving out every second row and
    column).
    """
    total = torch.zeros_like(prediction[:, 0, 0])
    residual = prediction - target
    for scale in range(num_scales):
        step = 2**scale
        level, known = residual[:, ::step, ::step], valid[:, ::step, ::step]
        across = masked_sum((level[:, :, 1:] - level[:, :, :-1]).abs(), known[:, :, 1:] & known[:, :, :-1])
        down = masked_sum((level[:, 1:] - level[:, :-1]).abs(), known[:, 1:] & known[:, :-1])
        total = total + (across + down) / known.sum(dim=(1, 2)).clamp(min=1)
    return total


def masked_sum(values: Tensor, valid: Tensor) -> Tensor:
    """For each picture the sum of its valid values: B x . x . -> B."""
    return torch.where(valid, values, 0.0).sum(dim=(1, 2))


def normalised_loss(
    prediction: Tensor, depth: Tensor, *, gradient_weight: float = 0.5, far_weight: float = 0.0
) -> Tensor:
    """|prediction - percentile_target| and gradient matching: relative models from scratch. B x H x W twice -> B.

    The target has a fixed scale and shift, so that the first steps already have something to aim at. A loss that
    normalises the prediction too (`ssi_loss`) left models with random weights at a constant map in trials.

    far_weight: 0 counts all pixels alike. An error in inverse depth is a larger part of a small inverse depth, so far
    pixels come out worse in depth; the weight 1 / (1 - far_weight + far_weight * share of the 98th percentile) makes up
    for it, nearly fully towards 1.
    """
    disparity, valid = inverse_depth(depth)
    low, high, can_teach = percentiles(disparity, valid)
    target = percentile_target(disparity, low, high)
    error = (prediction - target).abs()
    if far_weight:
        weight = 1 / (1 - far_weight + far_weight * (disparity / high.clamp(min=1e-12)).clamp(max=1))
        error = error * weight / masked_mean(weight, valid).clamp(min=1e-12)[:, None, None]
    loss = masked_mean(error, valid)
    if gradient_weight:
        loss = loss + gradient_weight * gradient_matching(prediction, target, valid)
    return torch.where(can_teach, loss, 0.0)


def ssi_loss(prediction: Tensor, depth: Tensor, *, gradient_weight: float = 0.5, trim: float = 0.2) -> Tensor:
    """MiDaS' scale-and-shift-invariant, trimmed loss and gradient matching: relative models with trained weights.

    Both maps are normalised (`median_normalised`); the largest residuals, a share `trim` of each picture, are left out
    (equation 7), because there the truth may be wrong. B x H x W twice -> B.
    """
    disparity, valid = inverse_depth(depth)
    _, _, can_teach = percentiles(disparity, valid)
    prediction, target = median_normalised(prediction, valid), median_normalised(disparity, valid)
    residual = (prediction - target).abs()
    kept = valid & (residual <= masked_quantiles(residual.detach(), valid, 1 - trim)[0])
    loss = masked_sum(residual, kept) / (2 * valid.sum(dim=(1, 2)).clamp(min=1))
    if gradient_weight:
        loss = loss + gradient_weight * gradient_matching(prediction, target, valid)
    return torch.where(can_teach, loss, 0.0)


def silog_loss(prediction: Tensor, depth: Tensor, *, max_depth: float = torch.inf, invariance: float = 0.5) -> Tensor:
    """Scale-invariant error of log depth: sqrt(mean(e^2) - invariance * mean(e)^2), e = log prediction - log depth.

    Both in metres. invariance = 1 forgives any common factor, 0 none. Truth beyond max_depth, and sky, is masked.
    B x H x W twice -> B.
    """
    valid = (depth >= LEAST_DEPTH) & (depth <= max_depth) & torch.isfinite(depth)
    truth = torch.where(valid, depth, 1.0)
    error = prediction.clamp(min=LEAST_DEPTH).log() - truth.log()
    variance = masked_mean(error**2, valid) - invariance * masked_mean(error, valid) ** 2
    loss = variance.clamp(min=1e-8).sqrt()  # the slope of a root at 0 is infinite
    return torch.where(valid.sum(dim=(1, 2)) > 0, loss, 0.0)


def make_loss(
    name: str, *, gradient_weight: float, far_weight: float, trim: float, max_depth: float | None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of this name, (prediction, depth) -> one number per picture, with the options that it has."""
    if name == "normalised":
        return partial(normalised_loss, gradient_weight=gradient_weight, far_weight=far_weight)
    if name == "ssi":
        return partial(ssi_loss, gradient_weight=gradient_weight, trim=trim)
    if name == "silog":
        return partial(silog_loss, max_depth=torch.inf if max_depth is None else max_depth)
    raise ValueError(f"unknown loss {name!r}")
