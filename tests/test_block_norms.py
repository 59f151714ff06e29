"""block_norm_visualization.py: norms, outliers, channels and components are right, in files and in the window."""

import builtins
import json

import cv2
import numpy as np
import pytest
import torch

from experiments import block_norm_visualization as script
from experiments.block_norm_sheets import (
    NUM_CHANNELS,
    channels_sheet,
    curves_plot,
    histogram_plot,
    histograms_plot,
    norm_picture,
)
from experiments.block_norms import (
    busiest_channels,
    class_norm,
    compact,
    find_outliers,
    fit_components,
    norm_curves,
    patch_norms,
    record_tokens,
)
from experiments.recorder import TokenRecord
from lib.demo.model import load_model
from lib.demo.pictures import find_pictures
from lib.errors import UserError
from tests.conftest import make_picture
from tests.image_script import names, write_picture
from tests.inspection_files import FAMILIES, SIDE, is_quick, opened, run
from tests.midas import images, small_model


def sizing(family: str) -> list:
    return [] if family == "levit" else ["-b", SIDE if family == "dinov2" else 128]


def record_of(norms: np.ndarray, *, class_token: float | None = None) -> TokenRecord:
    """Tokens of three features with these norms (h x w)."""
    directions = torch.nn.functional.normalize(torch.from_numpy(np.random.default_rng(0).normal(size=(norms.size, 3))), dim=1)
    features = directions.float() * torch.from_numpy(norms.astype(np.float32)).reshape(-1, 1)
    if class_token is not None:
        features = torch.cat([torch.tensor([[class_token, 0, 0]]), features])
    return TokenRecord(features[None], norms.shape, has_class_token=class_token is not None)


# Numbers


def test_norms_and_curves_by_hand():
    norms = np.float32([[1, 2, 3], [4, 5, 100]])
    record = record_of(norms, class_token=7.0)
    np.testing.assert_allclose(patch_norms(record), norms, rtol=1e-5)
    assert class_norm(record) == 7 and class_norm(record_of(norms)) is None
    curves = norm_curves([record, record])
    assert curves["outliers"] == [1, 1] and curves["class_token"] == [7, 7]
    np.testing.assert_allclose([curves[name][0] for name in ("min", "median", "max")], [1, 3.5, 100], rtol=1e-5)
    np.testing.assert_allclose(curves["mean"][1], norms.mean(), rtol=1e-5)


def test_outliers_have_their_places():
    norms = np.full((5, 7), 10.0)
    norms[1, 6], norms[4, 0], norms[2, 2] = 31.0, 200.0, 29.9
    found = find_outliers(norms, 3)
    assert [(one.row, one.column, one.norm, one.ratio) for one in found] == [(4, 0, 200.0, 20.0), (1, 6, 31.0, 3.1)]
    assert find_outliers(np.zeros((2, 2)), 3) == [] == find_outliers(np.full((2, 2), 5.0), 3)


@pytest.mark.parametrize("family", ["vit", "swin2"])
def test_an_outlier_planted_in_a_model_is_found(family):
    """A hook makes one patch's token twenty times as long behind block 1."""
    model = small_model(family)
    block = model.imgencoder.blocks[1] if family == "vit" else model.imgencoder.stages[0][1]

    def plant(module, inputs, output):
        output = output.clone()
        if family == "vit":
            output[:, 1 + 3 * 8 + 5] *= 20  # row 3, column 5 of 8 x 8
        else:
            output[:, 3, 5] *= 20
        return output

    hook = block.register_forward_hook(plant)
    records = record_tokens(model, images())
    hook.remove()
    first = find_outliers(patch_norms(records[1]), 5)
    assert [(one.row, one.column) for one in first] == [(3, 5)] and not find_outliers(patch_norms(records[0]), 5)


def test_channels_that_differ_most():
    features = torch.zeros(1, 6, 5)
    features[..., 2] = torch.arange(6)
    features[..., 4] = 10 * torch.arange(6)
    features[..., 0] = 1000  # large, but the same everywhere
    record = TokenRecord(features, (2, 3), has_class_token=False)
    assert busiest_channels(record, 3) == [4, 2, 0]


def test_components_are_those_of_a_singular_value_decomposition():
    rng = np.random.default_rng(0)
    scales = np.float32([9, 5, 3, 1, 0.5, 0.2])
    tokens = (rng.normal(size=(400, 6)) * scales @ np.linalg.qr(rng.normal(size=(6, 6)))[0]).astype(np.float32)
    parts = [tokens[:150], tokens[150:]]
    components = fit_components(parts, factor=100)
    _, strengths, axes = np.linalg.svd(tokens - tokens.mean(0), full_matrices=False)
    agreement = np.abs(np.sum(components.axes * axes[:3], axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-3)
    np.testing.assert_allclose(components.explained, (strengths**2 / (strengths**2).sum())[:3], atol=1e-3)
    painted = components.paint(tokens[:12].reshape(3, 4, 6))
    projected = (tokens[:12] - tokens.mean(0)) @ components.axes.T
    low, high = components.ends.T
    expected = np.rint(((projected - low) / (high - low)).clip(0, 1) * 255)[:, ::-1]  # BGR
    assert np.abs(painted.reshape(-1, 3) - expected).max() <= 1


def test_a_colour_means_the_same_in_all_pictures_and_outliers_do_not_rule():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(60, 8)).astype(np.float32), rng.normal(size=(90, 8)).astype(np.float32)
    second[:20] = first[:20]
    with_outlier = np.vstack([first, 500 * np.ones((1, 8), np.float32)])
    components = fit_components([with_outlier, second])
    assert np.array_equal(components.paint(first[:20][None]), components.paint(second[:20][None]))
    without = fit_components([first, second])
    np.testing.assert_allclose(components.axes, without.axes, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8), (2, 8), (40, 2)])
def test_few_tokens_or_features_have_few_components(shape):
    components = fit_components([np.random.default_rng(0).normal(size=shape).astype(np.float32)])
    painted = components.paint(np.zeros((2, 3, shape[1]), np.float32))
    assert painted.shape == (2, 3, 3) and np.isfinite(components.explained).all()


def test_tokens_that_are_not_finite_have_no_components():
    with pytest.raises(UserError, match="not finite"):
        fit_components([np.full((6, 4), np.nan, np.float32)])


def test_tokens_are_kept_in_as_few_bytes_as_hold_them():
    assert compact(np.float32([[1000.5]])).dtype == np.float16 and compact(np.float32([[1e5]])).tolist() == [[1e5]]


# Pictures


def test_outliers_are_ringed_where_they_are():
    norms = np.full((6, 8), 10.0, np.float32)
    norms[4, 1] = 90
    painted = norm_picture(norms, (160, 120), "gray", 3)
    ringed = np.argwhere((painted == (96, 64, 255)).all(axis=2))
    assert np.abs(ringed.mean(0) - (90, 30)).max() < 1  # the middle of patch 4, 1 of 20 pixels
    assert (norm_picture(np.full((6, 8), 10.0, np.float32), (160, 120), "gray", 3) != (96, 64, 255)).any(axis=2).all()


def test_plots_show_what_changes():
    calm, wild = np.linspace(9, 11, 48).reshape(6, 8), np.linspace(9, 11, 48).reshape(6, 8)
    wild[2, 2] = 80
    plots = [curves_plot(["a", "b"], [record_of(calm), record_of(norms)], 3) for norms in (calm, wild)]
    assert plots[0].shape == (480, 900, 3) and not np.array_equal(*plots)
    several = [histograms_plot(["a", "b"], [record_of(calm), record_of(norms)], 3) for norms in (calm, wild)]
    assert not np.array_equal(*several)
    sized = histogram_plot("a", record_of(wild), 3, size_wh=(320, 240))
    assert sized.shape == (240, 320, 3) and sized.std() > 10
    sheet = channels_sheet(record_of(calm), [0, 2], make_picture(60, 80), "inferno", heading="two")
    assert sheet.shape[1] > 2 * 200


# Files


@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_every_family(family, family_file, tmp_path):
    picture = write_picture(tmp_path / "in" / "one.png", make_picture(96, 128))
    output = tmp_path / "out"
    arguments = ["-i", picture, "-o", output, "-m", family_file(family), *sizing(family)]
    assert run(script, *arguments, "--block", 1, "--outlier", 1.05) == 0
    assert names(output) == {f"one{suffix}" for suffix in script.SUFFIXES}
    facts = json.loads((output / "one_norms.json").read_text())
    arrays = np.load(output / "one_norms.npz")
    assert len(arrays.files) == len(facts["blocks"]) == len(facts["curves"]["median"])
    assert facts["channels"]["block"] == 1 and len(facts["channels"]["numbers"]) == NUM_CHANNELS

    args = script.parse_args(["-m", str(family_file(family)), "-d", "cpu", *map(str, sizing(family))])
    model = load_model(args)
    tensor = model.dpt_imgproc.prepare_image_bgr(cv2.imread(str(picture)), model.max_side_length)
    records = record_tokens(model.dpt_model, tensor)
    for number, record in enumerate(records):
        np.testing.assert_allclose(arrays[f"block_{number}"], np.linalg.norm(record.patches()[0].numpy(), axis=-1), rtol=1e-3)
    assert facts["outliers"]
    for outlier in facts["outliers"]:
        norms = arrays[f"block_{outlier['block']}"]
        assert norms[outlier["row"], outlier["column"]] > 1.04 * np.median(norms)
        x, y = outlier["pixel"]
        assert (y * norms.shape[0] // 96, x * norms.shape[1] // 128) == (outlier["row"], outlier["column"])
    for suffix in script.SUFFIXES:
        if suffix.endswith(".png"):
            assert cv2.imread(str(output / f"one{suffix}")).std() > 10


def test_a_folder_has_joint_components(family_file, tmp_path, capsys):
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", make_picture(96, 128, seed=number % 2))
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    arguments = ["-i", tmp_path / "in", "-o", tmp_path / "in", "-m", family_file("dinov2"), "-b", SIDE]
    assert run(script, *arguments) == 1
    assert "3 done, 1 skipped" in capsys.readouterr().out
    first, third = ((tmp_path / "in" / f"{number}_components.png").read_bytes() for number in (0, 2))
    sheet = cv2.imread(str(tmp_path / "in" / "joint_components_sheet.png"))
    assert sheet.shape[1] > 600
    pixels = [cv2.imdecode(np.frombuffer(each, np.uint8), 1)[60:] for each in (first, third)]
    assert np.array_equal(*pixels)  # the same picture in the same colours, under another name
    before = names(tmp_path / "in")
    assert run(script, *arguments) == 1 and names(tmp_path / "in") == before  # results are no pictures


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--block", 9], "--block 9: this model's blocks are 0"),
        (["--channels", 3, 128], "--channels 128: block 3 has the channels 0 to 127"),
        (["--outlier", 1], "--outlier 1: expected a number above 1"),
        (["--outlier", "nan"], "--outlier nan"),
        (["--engine", "openvino"], "--engine openvino: this script looks inside the model"),
    ],
)
def test_options_that_do_not_fit(family_file, tmp_path, capsys, options, message):
    picture = write_picture(tmp_path / "one.png")
    arguments = ["-i", picture, "-o", tmp_path / "out", "-m", family_file("dinov2"), "-b", 56]
    assert run(script, *arguments, *options) == 1
    assert f"Error: {message}" in capsys.readouterr().err
    assert not names(tmp_path / "out") if (tmp_path / "out").exists() else True


@pytest.mark.parametrize(("package", "wanted"), [("matplotlib", "plots need matplotlib"), ("sklearn", "need scikit-learn")])
def test_what_is_missing_is_named_with_its_command(package, wanted, family_file, tmp_path, capsys, monkeypatch):
    picture = write_picture(tmp_path / "one.png")
    import_module = builtins.__import__

    def fail(name, *arguments, **options):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return import_module(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fail)
    assert run(script, "-i", picture, "-o", tmp_path / "out", "-m", family_file("dinov2"), "-b", 56) == 1
    error = capsys.readouterr().err
    assert wanted in error and "pip install -r experiments/requirements.txt" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_is_instant():
    assert is_quick("block_norm_visualization")


# The window


@pytest.mark.parametrize("family", ["dinov2", "swin2", "levit"])
def test_every_view_of_the_window(family, family_file, tmp_path, monkeypatch):
    from experiments.block_norm_window import BLOCK_BAR, CHANNEL_BAR, VIEWS, BlockNormWindow

    for number in range(2):
        write_picture(tmp_path / "in" / f"{number}.png", make_picture(96, 128, seed=number))
    arguments = ["-i", tmp_path / "in", "-m", family_file(family), *sizing(family), "-s", 640]
    args = script.parse_args([str(argument) for argument in arguments])
    window = BlockNormWindow(find_pictures([str(tmp_path / "in")]), load_model(args), args, 1, save=script.save_report)
    values = {label: value for label, value, _ in window.bars()}
    monkeypatch.setattr(cv2, "getTrackbarPos", lambda label, title: values[label])
    monkeypatch.chdir(tmp_path)
    window.open_picture(0)
    seen = []
    for view in VIEWS:
        assert window.shown == view
        window.result = window.compute(window.image_bgr, window.question())
        pictures, lines = window.view()
        assert pictures[0].shape == pictures[1].shape and "outliers" in lines[0]
        window.arrange(pictures)
        seen.append(pictures[1])
        window.press("v")
    assert all(not np.array_equal(seen[i], seen[j]) for i in range(len(seen)) for j in range(i))
    window.shown = "channel"
    values |= {BLOCK_BAR: 0, CHANNEL_BAR: 5}
    pictures, lines = window.view()
    assert "channel 4:" in lines[0] and not np.array_equal(pictures[1], seen[VIEWS.index("channel")])
    window.save_safely()
    window.save_safely()  # beside the first, not over it
    assert {f"0{suffix}" for suffix in script.SUFFIXES} | {f"0_2{suffix}" for suffix in script.SUFFIXES} == names(
        tmp_path / "results"
    )


def test_the_window_on_a_screen(family_file, tmp_path):
    picture = write_picture(tmp_path / "one.png", make_picture(90, 120))
    arguments = ["-i", picture, "-m", family_file("dinov2"), "-b", 56, "-s", 640]
    with opened("block_norm_visualization", "Block norms", tmp_path, *arguments) as viewer:

        def right_panel(shot: np.ndarray) -> np.ndarray:
            return shot[60:300, 325:640]

        viewer.wait(lambda shot: right_panel(shot).std() > 20, "the norms")
        before = right_panel(viewer.screen.shot())
        viewer.key("v")
        viewer.wait(lambda shot: not np.array_equal(right_panel(shot), before), "another view")
        viewer.key("q")
        code, _, errors = viewer.end()
        assert code == 0 and "Traceback" not in errors
