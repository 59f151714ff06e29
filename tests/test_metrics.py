"""The metrics against numbers worked out by hand, independent libraries, and a real stereo pair."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.metrics import (
    METRICS,
    align,
    depth_metrics,
    fit_scale_and_shift,
    image_metrics,
    ordering_accuracy,
)
from experiments.protocols import Protocol, choose_protocol, crop_box, kb_crop_box
from lib.errors import UserError

from .dataset_files import make_depth

NAN = float("nan")


def random_maps(seed: int = 0, shape: tuple[int, int] = (20, 30)) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a truth without holes, metres."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, 9, shape)
    return truth * rng.lognormal(0, 0.2, shape), truth


# Against numbers worked out by hand


def test_four_pixels_by_hand():
    """d = 1, 2, 2.8, 2.4 where g = 2: ratios 2, 1, 1.4, 1.2; logarithms of d/g -0.693147, 0, 0.336472, 0.182322."""
    prediction = np.array([[1, 2, 2.8], [2.4, 100, -5]])
    truth = np.array([[2, 2, 2], [2, NAN, np.inf]])  # what has no truth does not count, whatever the prediction
    metrics = depth_metrics(prediction, truth)
    expected = {
        "abs_rel": (0.5 + 0 + 0.4 + 0.2) / 4,
        "sq_rel": (1 + 0 + 0.64 + 0.16) / 2 / 4,
        "rmse": 0.45**0.5,
        "rmse_log": 0.395887,
        "log10": (0.301030 + 0 + 0.146128 + 0.079181) / 4,
        "silog": 39.3481,
        "delta1": 0.5,
        "delta2": 0.75,
        "delta3": 0.75,
    }
    assert metrics == pytest.approx(expected, rel=1e-5)
    assert depth_metrics(prediction, truth, silog="depth_anything_v2")["silog"] == pytest.approx(0.394686, rel=1e-5)


def test_silog_by_its_formulas():
    """Both definitions on e = 0, ln 2: E[e^2] = 0.240227, E[e] = 0.346574."""
    prediction, truth = np.array([[1.0, 2.0]]), np.array([[1.0, 1.0]])
    assert depth_metrics(prediction, truth, silog="zoe")["silog"] == pytest.approx(
        100 * (0.240227 - 0.120113) ** 0.5, rel=1e-5
    )
    silog = depth_metrics(prediction, truth, silog="depth_anything_v2")["silog"]
    assert silog == pytest.approx((0.240227 - 0.5 * 0.120113) ** 0.5, rel=1e-5)
    with pytest.raises(ValueError, match="unknown definition"):
        depth_metrics(prediction, truth, silog="other")


def test_thresholds_are_strict():
    metrics = depth_metrics(np.array([[1.25, 1.0]]), np.array([[1.0, 1.25**2]]))
    assert (metrics["delta1"], metrics["delta2"], metrics["delta3"]) == (0, 0.5, 1)


def test_a_perfect_prediction():
    truth = make_depth()
    metrics = depth_metrics(truth, truth) | image_metrics(truth, truth)
    for name, metric in METRICS.items():
        assert metrics[name] == pytest.approx(1 if metric.higher_is_better else 0, abs=1e-9), name


def test_ordering_by_hand():
    prediction = np.array([[1.0, 2.0], [2.0, 4.0]])
    points = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [1, 0]]])  # 4 > 1, 1 > 2, 2 > 2
    assert ordering_accuracy(prediction, points, nearest_is_largest=True).tolist() == [True, False, False]
    assert ordering_accuracy(prediction, points, nearest_is_largest=False).tolist() == [False, True, False]
    with pytest.raises(UserError, match="finite"):
        ordering_accuracy(np.full((2, 2), NAN), points, nearest_is_largest=True)


# Against independent libraries


def test_against_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    pytest.importorskip("skimage")
    prediction, truth = random_maps()
    metrics = depth_metrics(prediction, truth) | image_metrics(prediction, truth)
    pair = truth.ravel(), prediction.ravel()
    logs = np.log(truth).ravel(), np.log(prediction).ravel()
    assert metrics["abs_rel"] == pytest.approx(sklearn_metrics.mean_absolute_percentage_error(*pair))
    assert metrics["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(*pair))
    assert metrics["mse"] == pytest.approx(sklearn_metrics.mean_squared_error(*pair))
    weighted = sklearn_metrics.mean_squared_error(*pair, sample_weight=1 / truth.ravel()) * np.mean(1 / truth)
    assert metrics["sq_rel"] == pytest.approx(weighted)
    assert metrics["rmse_log"] == pytest.approx(sklearn_metrics.root_mean_squared_error(*logs))
    assert metrics["log10"] == pytest.approx(sklearn_metrics.mean_absolute_error(*logs) / np.log(10))
    unexplained = 1 - sklearn_metrics.explained_variance_score(*logs)  # variance of e over variance of ln g
    assert metrics["silog"] == pytest.approx(100 * np.sqrt(unexplained * np.var(logs[0])))


def test_ssim_without_holes_is_that_of_scikit_image():
    skimage_metrics = pytest.importorskip("skimage.metrics")
    prediction, truth = random_maps()
    expected = skimage_metrics.structural_similarity(truth, prediction, data_range=np.ptp(truth))
    assert image_metrics(prediction, truth)["ssim"] == pytest.approx(expected)


def test_ssim_does_not_see_pixels_without_truth():
    pytest.importorskip("skimage")
    prediction, truth = random_maps()
    truth[5:7, 5:9] = NAN
    changed = np.where(np.isfinite(truth), prediction, 1e6)
    assert image_metrics(changed, truth) == image_metrics(prediction, truth)
    right_half = image_metrics(prediction[:, 12:], truth[:, 12:])["ssim"]
    truth[:, :12] = NAN
    assert image_metrics(prediction, truth)["ssim"] == pytest.approx(right_half, abs=0.02)  # their data ranges differ


@pytest.mark.parametrize("kind", ["sparse", "flat", "small"])
def test_ssim_where_it_is_not_defined(kind):
    pytest.importorskip("skimage")
    prediction, truth = random_maps()
    if kind == "sparse":
        truth[::3] = NAN
    elif kind == "flat":
        truth[:] = 2
    else:
        prediction, truth = prediction[:5], truth[:5]
    metrics = image_metrics(prediction, truth)
    assert np.isnan(metrics["ssim"]) and np.isfinite(metrics["mse"])


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_that_of_numpy(seed):
    values, targets = (array.ravel() for array in random_maps(seed))
    assert fit_scale_and_shift(values, targets) == pytest.approx(np.polyfit(values, targets, 1))


# Alignment


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), is_negative=st.booleans())
@settings(deadline=None, max_examples=30)
def test_scale_and_shift_are_recovered(scale, shift, is_negative):
    scale *= -1 if is_negative else 1
    truth = make_depth()
    for alignment, target in (("inverse_depth", 1 / truth), ("depth", truth)):
        prediction = (target.astype(np.float64) - shift) / scale
        aligned = align(prediction, truth, alignment=alignment, is_inverse=alignment == "inverse_depth")
        assert (aligned.scale, aligned.shift) == pytest.approx((scale, shift), rel=1e-5, abs=1e-6)
        assert depth_metrics(aligned.depth, truth)["abs_rel"] < 1e-5


@pytest.mark.parametrize("alignment", ["inverse_depth", "depth"])
def test_scale_and_shift_of_the_prediction_do_not_matter(alignment):
    prediction, truth = random_maps()
    is_inverse = alignment == "inverse_depth"
    first, second = (
        depth_metrics(align(each, truth, alignment=alignment, is_inverse=is_inverse, max_depth=20).depth, truth)
        for each in (prediction, 0.3 * prediction + 7)
    )
    assert first == pytest.approx(second)


def test_metric_depth_can_be_aligned_in_inverse_depth():
    truth = make_depth()
    prediction = 1 / (3 / truth + 0.1)
    aligned = align(prediction, truth, alignment="inverse_depth", is_inverse=False)
    assert depth_metrics(aligned.depth, truth)["abs_rel"] < 1e-5


def test_alignment_leaves_out_what_has_no_truth():
    prediction, truth = random_maps()
    truth[:, ::3] = NAN
    spoiled = np.where(np.isfinite(truth), prediction, NAN)
    plain, other = (align(each, truth, alignment="depth", is_inverse=False) for each in (prediction, spoiled))
    assert (plain.scale, plain.shift) == (other.scale, other.shift)


def test_caps_clamp_predictions():
    """Inverse depth at or below zero, which is beyond infinity, is as far as the cap says."""
    truth = np.array([[1.0, 2.0, 4.0, NAN]])
    prediction = np.array([[1.0, 0.5, 0.25, -0.3]])
    aligned = align(prediction, truth, alignment="inverse_depth", is_inverse=True, max_depth=10)
    assert aligned.depth == pytest.approx(np.array([[1, 2, 4, 10]]))
    metres = align(np.array([[0.0, 2, 50, 3]]), truth, alignment="none", is_inverse=False, min_depth=0.1, max_depth=10)
    assert metres.depth.tolist() == [[0.1, 2, 10, 3]] and (metres.scale, metres.shift) == (1, 0)


@pytest.mark.parametrize("level", [0.0, 1.0, 0.1, 1e6])
def test_a_constant_prediction_becomes_the_mean(level):
    truth = make_depth()
    prediction = np.full(truth.shape, level, np.float32)
    prediction[::2] *= 1 + np.finfo(np.float32).eps  # rounding is no contrast
    aligned = align(prediction, truth, alignment="inverse_depth", is_inverse=True)
    assert aligned.scale == 0 and aligned.shift == pytest.approx(np.nanmean(1 / truth.astype(np.float64)))


def test_what_cannot_be_measured_is_refused():
    prediction, truth = random_maps()
    with pytest.raises(UserError, match="no pixel has truth"):
        depth_metrics(prediction, np.full(truth.shape, NAN))
    with pytest.raises(UserError, match="no pixel has truth"):
        align(prediction, np.full(truth.shape, NAN), alignment="depth", is_inverse=False)
    with pytest.raises(UserError, match="1 of 600 pixels"):
        depth_metrics(np.where(np.arange(600).reshape(20, 30) == 7, -1, prediction), truth)
    with pytest.raises(ValueError, match="differ in shape"):
        depth_metrics(prediction[:-1], truth)
    with pytest.raises(UserError, match="not finite"):
        align(np.full(truth.shape, NAN), truth, alignment="inverse_depth", is_inverse=True)
    for alignment in ("none", "depth"):
        with pytest.raises(UserError, match="inverse depth of unknown"):
            align(prediction, truth, alignment=alignment, is_inverse=True)
    with pytest.raises(ValueError, match="unknown alignment"):
        align(prediction, truth, alignment="median", is_inverse=False)


# Crops and caps


def test_crops_by_hand():
    """BTS' and ZoeDepth's numbers; KITTI's for the usual 375 x 1242 pixels."""
    kitti = choose_protocol("kitti")
    assert crop_box(choose_protocol("nyu"), 480, 640) == (45, 471, 41, 601)
    assert crop_box(kitti, 375, 1242) == (153, 371, 44, 1197)
    assert crop_box(choose_protocol("kitti", crop="eigen"), 375, 1242) == (124, 342, 44, 1197)
    assert crop_box(Protocol("rgbd"), 7, 9) == (0, 7, 0, 9)
    assert kb_crop_box(375, 1242) == (23, 375, 13, 1229)
    with pytest.raises(UserError, match="too few"):
        kb_crop_box(375, 1000)


def test_protocols_that_make_no_sense_are_refused():
    for changes in ({"crop": "garg"}, {"crop": "eigen"}, {"min_depth": 5.0, "max_depth": 2.0}, {"min_depth": -1.0}):
        with pytest.raises(UserError):
            choose_protocol("rgbd", **changes)


# A real case: the stereo pair "Motorcycle" of Middlebury 2014 (Scharstein et al.), which scikit-image carries at a
# quarter of its size. Its calibration, from the data set's page, at that size:
FOCAL_PIXELS, BASELINE_METRES, DISPARITY_OFFSET = 3979.911 / 4, 0.193001, 124.343 / 4


@pytest.fixture(scope="module")
def motorcycle():
    """(left, right, true disparity, true depth): the pictures H x W x 3, the maps H x W with NaN."""
    data = pytest.importorskip("skimage.data")
    left, right, disparity = data.stereo_motorcycle()
    disparity = np.where(np.isfinite(disparity), disparity, NAN)
    return left, right, disparity, FOCAL_PIXELS * BASELINE_METRES / (disparity + DISPARITY_OFFSET)


def test_a_real_disparity_is_inverse_depth(motorcycle):
    """Alignment in inverse depth finds the calibration: 1 / depth = (disparity + offset) / (focal * baseline)."""
    *_, disparity, depth = motorcycle
    assert 2 < np.nanmin(depth) < np.nanmax(depth) < 6 and 0.9 < np.isfinite(depth).mean() < 0.95
    aligned = align(disparity, depth, alignment="inverse_depth", is_inverse=True)
    assert 1 / aligned.scale == pytest.approx(FOCAL_PIXELS * BASELINE_METRES, rel=1e-5)
    assert aligned.shift / aligned.scale == pytest.approx(DISPARITY_OFFSET, rel=1e-4)
    assert depth_metrics(aligned.depth, depth)["abs_rel"] < 1e-5
    wrong_space = align(1 / disparity, depth, alignment="depth", is_inverse=False)  # without the offset it is not depth
    assert depth_metrics(wrong_space.depth, depth)["abs_rel"] > 0.005


def test_a_real_prediction(motorcycle):
    """What a stereo matcher finds between the pictures is good where it finds something, and far above a constant."""
    left, right, _, depth = motorcycle
    matcher = cv2.StereoSGBM_create(minDisparity=0, numDisparities=64, blockSize=5, P1=200, P2=800, uniquenessRatio=15)
    matched = matcher.compute(cv2.cvtColor(left, cv2.COLOR_RGB2GRAY), cv2.cvtColor(right, cv2.COLOR_RGB2GRAY)) / 16
    truth = np.where(matched > 0, depth, NAN)
    assert np.isfinite(truth).mean() > 0.5
    results = {}
    for name, prediction in (("matched", matched), ("constant", np.ones(depth.shape))):
        aligned = align(prediction, truth, alignment="inverse_depth", is_inverse=True, max_depth=80)
        results[name] = depth_metrics(aligned.depth, truth)
    assert results["matched"]["delta1"] > 0.95 > results["constant"]["delta1"]
    assert results["matched"]["abs_rel"] < 0.03 < results["constant"]["abs_rel"]

    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(np.isfinite(truth))
    picked = rng.integers(rows.size, size=(500, 2))
    points = np.stack([rows[picked], columns[picked]], axis=-1)  # 500 2 2
    first, second = truth[points[:, 0, 0], points[:, 0, 1]], truth[points[:, 1, 0], points[:, 1, 1]]
    points = np.where((first < second)[:, None, None], points, points[:, ::-1])[np.abs(first - second) > 0.2]
    assert ordering_accuracy(matched, points, nearest_is_largest=True).mean() > 0.95


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(UserError, match="scikit-image: pip install -r experiments/requirements.txt"):
        image_metrics(np.ones((20, 20)), np.ones((20, 20)))
