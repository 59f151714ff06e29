"""depth_masking.py: planes are found in spite of what stands on them, and masks keep what they should."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from experiments import depth_masking as script
from experiments.depth_cutout import (
    Cut,
    Values,
    cut_out,
    feathered,
    fit_plane,
    inverse_depth,
    limits_of,
    make_mask,
    over_checkerboard,
    values_to_cut,
)
from lib.demo.colour import remove_plane
from lib.demo.model import load_model
from lib.demo.pictures import find_pictures
from lib.predict import DepthMap
from tests.conftest import make_picture
from tests.image_script import names, write_picture
from tests.inspection_files import FAMILIES, SIDE, is_quick, opened, run


def floor_with_boxes(height: int = 90, width: int = 120, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth of a floor up to a horizon and a far wall above, with three boxes standing on it; and where boxes are.

    The boxes cover a third of the floor.
    """
    ys = np.linspace(-1, 1, height)[:, None] + np.zeros((1, width))
    inverse = np.maximum(0.3 + 0.4 * ys + 0.05 * np.linspace(-1, 1, width), 0.02)  # the floor, then the wall
    boxes = np.zeros((height, width), bool)
    for left, bottom in ((8, 75), (45, 85), (90, 80)):
        foot = inverse[bottom, left : left + 24].max()
        inverse[bottom - 40 : bottom, left : left + 24] = foot + 0.02  # upright: one depth
        boxes[bottom - 40 : bottom, left : left + 24] = True
    inverse = inverse + noise * np.random.default_rng(0).normal(size=inverse.shape)
    return inverse.astype(np.float32), boxes


def as_map(inverse: np.ndarray, quantity: str = "inverse depth") -> DepthMap:
    if quantity == "metres":
        return DepthMap(1 / inverse, "metres", False, (0.0, 80.0))
    return DepthMap(inverse, "inverse depth", True, (0.0, float("inf")))


# The plane


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_the_floor_is_found_in_spite_of_what_stands_on_it(noise):
    inverse, _ = floor_with_boxes(noise=noise)
    plane = fit_plane(inverse)
    found, true = np.array([plane.a, plane.b, plane.c]), np.array([0.05, 0.4, 0.3])
    np.testing.assert_allclose(found, true, atol=0.004)
    ys, xs = np.mgrid[-1:1:90j, -1:1:120j]  # least squares over all pixels, for comparison
    coordinates = np.stack([xs, ys, np.ones_like(xs)], axis=-1).reshape(-1, 3)
    plain = np.linalg.lstsq(coordinates, inverse.ravel(), rcond=None)[0]
    assert np.abs(plain - true).max() > 10 * np.abs(found - true).max()
    assert 0.4 < plane.inliers < 0.8


def test_the_sky_is_no_plane_to_stand_on():
    """It covers more of the picture than the road, and is flatter."""
    ys = np.linspace(-1, 1, 90)[:, None] + np.zeros((1, 120))
    inverse = np.where(ys < 0.2, 0.001 * ys + 0.01, 0.5 * ys - 0.09).astype(np.float32)
    inverse[30:70, 10:50] = 0.3  # a house
    plane = fit_plane(inverse)
    np.testing.assert_allclose([plane.a, plane.b, plane.c], [0, 0.5, -0.09], atol=0.005)


def test_a_plane_alone_and_no_plane():
    ys, xs = np.mgrid[-1:1:30j, -1:1:40j]
    inverse = (0.5 + 0.1 * xs - 0.2 * ys).astype(np.float32)
    plane = fit_plane(inverse)
    np.testing.assert_allclose(plane.values(30, 40), inverse, atol=1e-5)
    inverse[:10] = np.nan
    np.testing.assert_allclose([fit_plane(inverse).a, fit_plane(inverse).b], [0.1, -0.2], atol=1e-4)
    assert fit_plane(np.full((4, 5), np.nan, np.float32)) is None
    flat = fit_plane(np.ones((20, 20), np.float32))
    np.testing.assert_allclose([flat.a, flat.b, flat.c], [0, 0, 1], atol=1e-6)
    assert fit_plane(np.ones((1, 1), np.float32)) is None and fit_plane(np.ones((1, 9), np.float32)) is not None


@pytest.mark.parametrize("quantity", ["inverse depth", "metres"])
def test_what_stands_on_the_floor_is_kept(quantity):
    inverse, boxes = floor_with_boxes()
    depth_map = as_map(inverse, quantity)
    cut = Cut(far_percent=12, plane_percent=100)
    values, plane = values_to_cut(depth_map, 100)
    mask = make_mask(values, cut) > 0.5
    assert values.unit == ("1/m above the plane" if quantity == "metres" else "inverse depth above the plane")
    assert plane is not None and (mask & boxes).sum() / (mask | boxes).sum() > 0.85
    without = make_mask(values_to_cut(depth_map, 0)[0], replace(cut, far_percent=50)) > 0.5
    assert (without & boxes).sum() / (without | boxes).sum() < 0.6  # by distance alone, the near floor comes along


def test_a_metric_plane_is_flat_in_inverse_depth_only():
    ys = np.linspace(-0.2, 1, 60)[:, None] + np.zeros((1, 50))
    metres = (1 / (0.3 + 0.25 * ys)).astype(np.float32)
    values, _ = values_to_cut(DepthMap(metres, "metres", False, (0, 80)), 100)
    assert np.abs(values.numbers).max() < 1e-5 < np.abs(remove_plane(metres, 1.0)).max()


def test_relative_depth_and_zero_metres():
    values, unit = inverse_depth(DepthMap(np.float32([[1, 2]]), "depth", False, (0, 1)))
    assert values.tolist() == [[-1, -2]] and unit == "relative depth, negative"
    assert np.isfinite(inverse_depth(as_map(np.float32([[np.inf, 1]]), "metres"))[0]).all()


def test_percents_count_from_the_plane():
    """A hole in the floor does not move them."""
    inverse, _ = floor_with_boxes()
    cut = Cut(far_percent=12, plane_percent=100)
    expected = make_mask(values_to_cut(as_map(inverse), 100)[0], cut)
    inverse[70:80, 70:85] = 0.02
    values, _ = values_to_cut(as_map(inverse), 100)
    assert values.numbers.min() == 0 and limits_of(values, replace(cut, far_percent=0))[0] == 0
    assert (make_mask(values, cut) == expected).mean() > 0.995


# The mask


def ramp() -> Values:
    return Values(np.linspace(0, 10, 101, dtype=np.float32)[None], "metres", False)


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        (Cut(far_percent=0, near_percent=100), (0, 10)),
        (Cut(far_percent=50), (0, 5)),  # the nearer half, in metres the smaller
        (Cut(far_percent=20, near_percent=60), (4, 8)),
        (Cut(limits=(2.95, 7.05)), (3, 7)),
    ],
)
def test_ranges(cut, kept):
    numbers = ramp().numbers
    inside = make_mask(ramp(), cut) == 1
    np.testing.assert_allclose([numbers[inside].min(), numbers[inside].max()], kept, atol=0.101)
    outside = make_mask(ramp(), replace(cut, invert=True))
    np.testing.assert_array_equal(outside, 1 - inside)


def test_nearer_is_larger_in_inverse_depth():
    values = replace(ramp(), nearest_is_largest=True)
    assert limits_of(values, Cut(far_percent=70)) == (7, 10)
    assert limits_of(ramp(), Cut(far_percent=70)) == (0, 3)


def test_values_that_are_not_finite_are_out_of_the_range():
    values = Values(np.float32([[np.nan, 1, 2, np.inf]]), "metres", False)
    assert make_mask(values, Cut(far_percent=0)).tolist() == [[0, 1, 1, 0]]
    assert make_mask(values, Cut(far_percent=0, invert=True)).tolist() == [[1, 0, 0, 1]]


@pytest.mark.parametrize("pixels", [4, 10, 21])
def test_the_feather_is_as_wide_as_asked_and_halfway_on_the_border(pixels):
    inside = np.zeros((9, 80), bool)
    inside[:, 40:] = True
    soft = feathered(inside, pixels)[4]
    assert (np.diff(soft) >= -1e-6).all() and soft[0] == 0 and soft[-1] == 1
    np.testing.assert_allclose(soft[39] + soft[40], 1, atol=0.02)  # the border runs between them
    np.testing.assert_allclose(soft.sum(), 40, atol=0.2)  # the area stays
    assert abs(((soft > 0) & (soft < 1)).sum() - pixels) <= 1
    np.testing.assert_array_equal(feathered(inside, 0)[4], inside[4])


@pytest.mark.parametrize("fill", [True, False])
def test_a_feather_needs_a_border(fill):
    assert (feathered(np.full((5, 6), fill), 8) == fill).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_cut_out_is_the_picture_with_the_mask_as_alpha(dtype):
    picture = make_picture(20, 30)
    if dtype == np.uint16:
        picture = picture.astype(np.uint16) * 257
    if dtype == np.float32:
        picture = picture.astype(np.float32) / 255
    mask = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    cutout = cut_out(picture, mask)
    top = 65535 if dtype == np.uint16 else 255
    assert cutout.dtype == (np.uint16 if dtype == np.uint16 else np.uint8)
    np.testing.assert_allclose(cutout[..., 3] / top, mask, atol=0.5 / top + 1e-6)
    np.testing.assert_allclose(cutout[..., :3] / top, picture / (top if dtype != np.float32 else 1), atol=0.003)
    shown = over_checkerboard(cutout)
    assert shown.dtype == np.uint8 and np.abs(shown[-1, -1].astype(int) - make_picture(20, 30)[-1, -1]).max() <= 1
    assert len(np.unique(shown[0, 0])) == 1  # the board is grey


# Files


def sizing(family: str) -> list:
    return [] if family == "levit" else ["-b", SIDE if family == "dinov2" else 128]


@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_every_family(family, family_file, tmp_path):
    picture = make_picture(96, 128)
    path = write_picture(tmp_path / "in" / "one.png", picture)
    output = tmp_path / "out"
    arguments = ["-i", path, "-o", output, "-m", family_file(family), *sizing(family)]
    assert run(script, *arguments, "--far", 40, "--near", 90, "--feather", 3) == 0
    assert names(output) == {f"one{suffix}" for suffix in script.SUFFIXES}
    facts = json.loads((output / "one_mask.json").read_text())
    mask = cv2.imread(str(output / "one_mask.png"), cv2.IMREAD_UNCHANGED)
    cutout = cv2.imread(str(output / "one_cutout.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (96, 128) and cutout.shape == (96, 128, 4)
    np.testing.assert_array_equal(cutout[..., 3], mask)
    np.testing.assert_array_equal(cutout[..., :3], picture)
    args = script.parse_args(["-m", str(family_file(family)), "-d", "cpu", *map(str, sizing(family))])
    depth_map = load_model(args).predict([picture])[0]
    low, high = facts["range"]
    inside = (depth_map.depth >= low) & (depth_map.depth <= high)
    ends = depth_map.depth.min(), depth_map.depth.max()
    np.testing.assert_allclose([low, high], [ends[0] + share * (ends[1] - ends[0]) for share in (0.4, 0.9)], rtol=1e-3)
    assert ((mask > 127) == inside).mean() > 0.97 and facts["unit"] == "inverse depth" and facts["plane"] is None
    assert facts["kept"] == pytest.approx(mask.mean() / 255, abs=0.01) and 0 < facts["kept"] < 1


def test_inverted_with_a_plane_and_limits(family_file, tmp_path):
    path = write_picture(tmp_path / "one.png", make_picture(60, 80))
    common = ["-i", path, "-m", family_file("dinov2"), "-b", 56]
    masks = {}
    for name, options in {
        "plain": ["--plane", 100, "--far", 30],
        "inverted": ["--plane", 100, "--far", 30, "--invert"],
        "limits": ["--limits", -1e9, 1e9],
    }.items():
        assert run(script, *common, "-o", tmp_path / name, *options) == 0
        masks[name] = cv2.imread(str(tmp_path / name / "one_mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(masks["plain"], 255 - masks["inverted"])
    assert (masks["limits"] == 255).all()
    facts = json.loads((tmp_path / "inverted" / "one_mask.json").read_text())
    assert facts["inverted"] and 0 < facts["plane"]["inliers"] <= 1 and facts["unit"] == "inverse depth above the plane"


def test_a_folder_with_results_and_a_bad_picture(family_file, tmp_path, capsys):
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    arguments = ["-i", tmp_path, "-o", tmp_path, "-m", family_file("dinov2"), "-b", 56]
    for _ in range(2):
        assert run(script, *arguments) == 1
        captured = capsys.readouterr()
        assert "1 done, 1 skipped" in captured.out and "b.jpg: damaged" in captured.err
    assert names(tmp_path) == {"a.png", "b.jpg", "a_mask.json", "a_mask.png", "a_cutout.png"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--far", 60, "--near", 60], "expected 0 <= far < near <= 100"),
        (["--far", "nan"], "expected 0 <= far < near <= 100"),
        (["--plane", 101], "--plane 101: expected a number from 0 to 100"),
        (["--feather", -1], "--feather -1: expected a number of pixels"),
        (["--feather", "inf"], "--feather inf"),
        (["--limits", 2, 1], "--limits 2 1: expected the smaller value first"),
        (["--limits", "nan", 1], "expected the smaller value first"),
        (["--limits", 0, 1, "--far", 10], "--limits and --far or --near"),
    ],
)
def test_numbers_that_make_no_sense(tmp_path, capsys, options, message):
    assert run(script, "-i", tmp_path, "-o", tmp_path / "out", *options) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_range_where_nothing_is_says_so(family_file, tmp_path, capsys):
    path = write_picture(tmp_path / "one.png", make_picture(60, 80))
    options = ["-i", path, "-m", family_file("dinov2"), "-b", 56, "-o", tmp_path / "out"]
    assert run(script, *options) == 0
    assert "nothing is kept" not in capsys.readouterr().err
    assert run(script, *options, "--limits", 1e8, 1e9) == 0
    assert "one.png: nothing is kept; no inverse depth between 1e+08 and 1e+09" in capsys.readouterr().err


def test_help_is_instant():
    assert is_quick("depth_masking")


# The window


def test_every_view_of_the_window(family_file, tmp_path, monkeypatch):
    from experiments.depth_masking_window import FAR_BAR, FEATHER_BAR, NEAR_BAR, PLANE_BAR, MaskingWindow

    path = write_picture(tmp_path / "one.png", make_picture(96, 128))
    arguments = ["-i", path, "-m", family_file("dinov2"), "-b", SIDE, "-s", 640]
    args = script.parse_args([str(argument) for argument in arguments])
    window = MaskingWindow(find_pictures([str(path)]), load_model(args), args, save=script.save_mask)
    values = {label: value for label, value, _ in window.bars()}
    monkeypatch.setattr(cv2, "getTrackbarPos", lambda label, title: values[label])
    monkeypatch.setattr(cv2, "setTrackbarPos", lambda label, title, value: values.update({label: value}))
    monkeypatch.chdir(tmp_path)
    window.open_picture(0)
    window.result = window.compute(window.image_bgr, None)

    def shown() -> np.ndarray:
        window.look()
        return window.view()[0][1]

    first = shown()
    seen = [first]
    for change in ({FAR_BAR: 20}, {NEAR_BAR: 60}, {PLANE_BAR: 100}, {FEATHER_BAR: 20}):
        values |= change
        seen.append(shown())
    for key in ("i", "v", "v"):
        window.press(key)
        seen.append(shown())
    assert all(not np.array_equal(seen[i], seen[j]) for i in range(len(seen)) for j in range(i))
    window.press("v")  # the cut-out again
    values |= {PLANE_BAR: 0, FEATHER_BAR: 0}
    window.cut = replace(window.cut, invert=False)
    for metric in (True, False):  # a click on something in the farther part, in either sense
        window.result = replace(window.result, nearest_is_largest=not metric)
        depth = window.result.depth
        row, column = np.unravel_index(np.abs(depth - depth.min() - 0.2 * np.ptp(depth)).argmin(), depth.shape)
        window.place, window.clicked = ((column + 0.5) / 128, (row + 0.5) / 96), True
        window.look()
        window.look()
        low, high = limits_of(window.values(), window.cut)
        assert low < depth[row, column] < high and high - low < 0.2 * np.ptp(depth)
    window.save_safely()
    assert names(tmp_path / "results") == {f"one{suffix}" for suffix in script.SUFFIXES}
    saved = json.loads((tmp_path / "results" / "one_mask.json").read_text())
    np.testing.assert_allclose(saved["range"], [low, high], rtol=1e-4)


def test_the_window_on_a_screen(family_file, tmp_path):
    picture = write_picture(tmp_path / "one.png", make_picture(90, 120))
    arguments = ["-i", picture, "-m", family_file("dinov2"), "-b", 56, "-s", 640]
    with opened("depth_masking", "Depth masking", tmp_path, *arguments) as viewer:

        def right_panel(shot: np.ndarray) -> np.ndarray:
            return shot[60:300, 325:640]

        viewer.wait(lambda shot: right_panel(shot).std() > 20, "the cut-out")
        before = right_panel(viewer.screen.shot())
        viewer.key("i")
        viewer.wait(lambda shot: not np.array_equal(right_panel(shot), before), "the rest of the picture")
        viewer.key("q")
        code, _, errors = viewer.end()
        assert code == 0 and "Traceback" not in errors
