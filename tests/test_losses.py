"""experiments/training/losses.py against cases worked by hand, and the properties that the losses are named for."""

import math

import pytest
import torch

from experiments.training.losses import (
    gradient_matching,
    inverse_depth,
    make_loss,
    masked_mean,
    masked_quantiles,
    median_normalised,
    normalised_loss,
    percentile_target,
    percentiles,
    silog_loss,
    ssi_loss,
)

NAN, INF = math.nan, math.inf
RELATIVE = {"normalised": normalised_loss, "ssi": ssi_loss}
ALL = RELATIVE | {"silog": silog_loss}


def exact_target(depth: torch.Tensor) -> torch.Tensor:
    """What the loss "normalised" wants."""
    disparity, valid = inverse_depth(depth)
    low, high, _ = percentiles(disparity, valid)
    return percentile_target(disparity, low, high)


def scene(seed: int = 0, batch: int = 2, height: int = 24, width: int = 32) -> torch.Tensor:
    """B x H x W metres, smooth, between about 1 and 20."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 1, 4, 5, generator=generator)
    return torch.exp(3 * torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[:, 0])


def noise(like: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed))


def test_inverse_depth_by_hand():
    disparity, valid = inverse_depth(torch.tensor([[[2.0, INF, NAN, 0.0, -1.0, 0.5]]]))
    assert disparity.tolist() == [[[0.5, 0.0, 0.0, 0.0, 0.0, 2.0]]]
    assert valid.tolist() == [[[True, True, False, False, False, True]]]


def test_quantiles_are_those_of_valid_pixels():
    values = torch.tensor([[[5.0, 1.0, 9.0, 3.0, 7.0]], [[5.0, 1.0, 9.0, 3.0, 7.0]]])
    valid = torch.tensor([[[True] * 5], [[True, True, False, True, False]]])
    found = masked_quantiles(values, valid, 0.0, 0.5, 1.0)
    assert [quantile.flatten().tolist() for quantile in found] == [[1, 1], [5, 3], [9, 5]]
    nothing = torch.zeros_like(valid)
    assert masked_quantiles(values, nothing, 0.5)[0].isinf().all() and masked_mean(values, nothing).tolist() == [0, 0]


def test_normalisation_by_hand():
    """Median 3, distances from it 2 1 0 1 6: their mean is 2."""
    values = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 9.0, 100.0]]])
    valid = values < 50
    assert median_normalised(values, valid)[0, 0, :5].tolist() == [-1, -0.5, 0, 0.5, 3]


def test_percentile_target_by_hand():
    """101 values from 2 to 12: the percentiles 2 and 98 are 2.2 and 11.8, and one value of 1000 moves neither."""
    disparity = torch.linspace(2, 12, 101).reshape(1, 1, -1)
    target = exact_target(1 / disparity)[0, 0]
    assert (
        target[2] == pytest.approx(0, abs=1e-6) and target[98] == pytest.approx(1) and target[50] == pytest.approx(0.5)
    )
    assert target[0] == 0 and target[100] == pytest.approx(9.8 / 9.6)
    disparity[0, 0, 100] = 1000
    assert exact_target(1 / disparity).max() == 2


def test_gradient_matching_by_hand():
    """A step of 1 in the middle of a 2 x 4 map: 2 of the 6 steps across, over 8 pixels; on the next scale 1 over 2."""
    difference = torch.tensor([[[0.0, 0, 1, 1], [0, 0, 1, 1]]])
    valid = torch.ones_like(difference, dtype=torch.bool)
    zero = torch.zeros_like(difference)
    assert gradient_matching(difference, zero, valid, num_scales=1).item() == pytest.approx(2 / 8)
    assert gradient_matching(difference, zero, valid, num_scales=2).item() == pytest.approx(2 / 8 + 1 / 2)
    valid[0, 0, 2] = False  # the step across in the first row is unknown, and so are two more
    assert gradient_matching(difference, zero, valid, num_scales=1).item() == pytest.approx(1 / 7)
    assert gradient_matching(difference + 5, zero, valid).item() == gradient_matching(difference, zero, valid).item()


def test_ssi_by_hand():
    """Truth 1..5 normalised: -2 -1 0 1 2 over 1.2; prediction with one outlier: 1 2 3 4 15 -> -2 -1 0 1 12 over 3.2."""
    disparity = torch.tensor([1.0, 2, 3, 4, 5]).repeat(4).reshape(1, 4, 5)  # 20 pixels: enough to count
    prediction = torch.tensor([1.0, 2, 3, 4, 15]).repeat(4).reshape(1, 4, 5)
    residuals = sorted(abs(p / 3.2 - t / 1.2) for p, t in zip((-2, -1, 0, 1, 12), (-2, -1, 0, 1, 2), strict=True))
    full = ssi_loss(prediction, 1 / disparity, gradient_weight=0, trim=0)
    assert full.item() == pytest.approx(sum(residuals) / 5 / 2)
    trimmed = ssi_loss(prediction, 1 / disparity, gradient_weight=0, trim=0.2)
    assert trimmed.item() == pytest.approx(sum(residuals[:4]) / 5 / 2)  # the mean is over all pixels, as in equation 7


def test_silog_by_hand():
    """e = ln 2, 0: E[e^2] = ln(2)^2 / 2, E[e]^2 = ln(2)^2 / 4."""
    loss = silog_loss(torch.tensor([[[2.0, 3.0, 7.0]]]), torch.tensor([[[1.0, 3.0, NAN]]]), invariance=0.5)
    assert loss.item() == pytest.approx(math.log(2) * math.sqrt(1 / 2 - 0.5 / 4))


@pytest.mark.parametrize("scale, shift", [(2.5, 0.0), (1.0, 3.0), (0.01, 40.0)])
def test_ssi_ignores_scale_and_shift_of_either_side(scale, shift):
    depth = scene().double()  # float32 would lose too many digits to a large shift
    prediction = noise(depth)
    expected = ssi_loss(prediction, depth)
    assert torch.allclose(ssi_loss(scale * prediction + shift, depth), expected, rtol=1e-3)
    disparity = scale / depth + shift * 1e-2
    assert torch.allclose(ssi_loss(prediction, 1 / disparity), expected, rtol=1e-3)
    assert ssi_loss(scale / depth + shift, depth).max() < 1e-4


def test_normalised_ignores_scale_and_shift_of_the_truth_alone():
    depth = scene()
    prediction = noise(depth)
    disparity = 3 / depth + 0.2
    assert torch.allclose(normalised_loss(prediction, 1 / disparity), normalised_loss(prediction, depth), atol=1e-5)
    assert (normalised_loss(prediction + 1, depth) > normalised_loss(prediction, depth)).all()


def test_far_errors_count_more_where_they_are_asked_to():
    """Two halves, 1 m and 10 m: the same error in inverse depth is ten times the error in depth at 10 m."""
    depth = torch.ones(1, 8, 8)
    depth[:, :4] = 10
    exact = exact_target(depth)
    far, near = exact.clone(), exact.clone()
    far[:, :4] += 0.1
    near[:, 4:] += 0.1
    for weight, ratio in ((0.0, 1), (0.9, 1 / 0.19), (0.999, 1 / (0.001 + 0.0999))):
        costs = [normalised_loss(wrong, depth, gradient_weight=0, far_weight=weight).item() for wrong in (far, near)]
        assert costs[0] / costs[1] == pytest.approx(ratio, rel=1e-4)
        assert sum(costs) == pytest.approx(0.1)  # the weights have the mean 1


def test_silog_with_full_invariance_ignores_a_factor():
    depth = scene()
    prediction = depth * (0.5 + noise(depth))
    loose = [silog_loss(factor * prediction, depth, invariance=1.0) for factor in (1.0, 3.0)]
    strict = [silog_loss(factor * prediction, depth, invariance=0.5) for factor in (1.0, 3.0)]
    assert torch.allclose(*loose, rtol=1e-4) and (strict[1] > strict[0] + 0.1).all()


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
def test_the_truth_itself_costs_nothing(loss):
    depth = scene()
    best = {normalised_loss: exact_target(depth), ssi_loss: 1 / depth, silog_loss: depth}[loss]
    assert loss(best, depth).max() < 1e-3 < loss(noise(depth), depth).min()


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
def test_unknown_truth_does_not_matter(loss):
    """Neither what is predicted there, nor how it is marked; and no gradient comes from there."""
    depth = scene()
    unknown = noise(depth, seed=3) < 0.9  # sparse: a tenth is known
    sparse = depth.masked_fill(unknown, NAN)
    prediction = (0.1 + noise(depth)).requires_grad_()
    found = loss(prediction, sparse)
    found.sum().backward()
    assert torch.isfinite(found).all() and (found > 0).all() and torch.isfinite(prediction.grad).all()
    assert (prediction.grad[unknown] == 0).all() and (prediction.grad[~unknown] != 0).any()
    for mark in (0.0, -1.0):
        assert torch.equal(loss(prediction, depth.masked_fill(unknown, mark)), found)
    with torch.no_grad():
        assert torch.equal(loss(prediction.masked_fill(unknown, 123.0), sparse), found)


@pytest.mark.parametrize("loss", RELATIVE.values(), ids=RELATIVE)
def test_sky_is_inverse_depth_zero(loss):
    """The same as a wall so far away that its inverse depth is next to nothing, and predicting it near costs."""
    depth = scene()
    depth[:, :8] = INF
    prediction = exact_target(depth)
    far = depth.clamp(max=1e8)
    assert torch.allclose(loss(prediction, depth), loss(prediction, far), atol=1e-5)
    wrong = prediction.clone()
    wrong[:, :4] += 1
    assert (loss(wrong, depth) > loss(prediction, depth) + 0.01).all()


def test_sky_and_truth_out_of_range_are_masked_for_metres():
    depth = scene().clamp(max=9)
    prediction = 1 + noise(depth)
    expected = silog_loss(prediction[:, 4:], depth[:, 4:], max_depth=10)
    for value in (INF, 11.0, 1e-5):
        depth[:, :4] = value
        assert torch.allclose(silog_loss(prediction, depth, max_depth=10), expected)


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
def test_pictures_that_teach_nothing_cost_nothing(loss):
    """All unknown, or one flat wall (which has no contrast to normalise by); the picture beside them counts as ever."""
    depth = scene(batch=3)
    depth[1] = NAN
    if loss is not silog_loss:
        depth[2] = 4.0
    prediction = (0.1 + noise(depth)).requires_grad_()
    found = loss(prediction, depth)
    found.sum().backward()
    assert found[1] == 0 and torch.isfinite(prediction.grad).all() and (prediction.grad[1] == 0).all()
    assert found[2] == 0 or loss is silog_loss
    assert torch.allclose(found[:1], loss(prediction[:1], depth[:1]))


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
def test_pictures_do_not_influence_each_other(loss):
    depth = scene(batch=4)
    prediction = 0.1 + noise(depth)
    assert torch.allclose(
        loss(prediction, depth), torch.cat([loss(prediction[i : i + 1], depth[i : i + 1]) for i in range(4)])
    )


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL)
def test_slopes_are_those_of_the_loss(loss):
    """Against the difference quotient, in double precision, in a random direction."""
    depth = scene(batch=1).double()
    prediction = (0.2 + noise(depth)).double().requires_grad_()
    loss(prediction, depth).sum().backward()
    direction = noise(depth, seed=5).double() - 0.5
    step = 1e-6
    with torch.no_grad():
        ends = [loss(prediction + sign * step * direction, depth).sum() for sign in (1, -1)]
    slope = ((ends[0] - ends[1]) / (2 * step)).item()
    assert (prediction.grad * direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_losses_by_name():
    depth = scene()
    prediction = 0.1 + noise(depth)
    options = {"gradient_weight": 0.25, "far_weight": 0.5, "trim": 0.1, "max_depth": 5.0}
    assert torch.equal(
        make_loss("ssi", **options)(prediction, depth), ssi_loss(prediction, depth, gradient_weight=0.25, trim=0.1)
    )
    assert torch.equal(make_loss("silog", **options)(prediction, depth), silog_loss(prediction, depth, max_depth=5.0))
    expected = normalised_loss(prediction, depth, gradient_weight=0.25, far_weight=0.5)
    assert torch.equal(make_loss("normalised", **options)(prediction, depth), expected)
    with pytest.raises(ValueError, match="unknown loss 'other'"):
        make_loss("other", **options)
