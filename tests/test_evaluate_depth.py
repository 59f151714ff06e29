"""experiments/evaluate_depth.py: models and baselines on tiny data sets, the files that it writes, what it refuses."""

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("skimage")

from experiments import evaluate_depth, evaluation_files, protocols
from experiments.datasets import Sample, open_dataset
from experiments.evaluation import baseline, cut, evaluate, flip_averaged, sample_at
from experiments.evaluation_files import without_nan
from experiments.metrics import METRICS
from experiments.protocols import choose_protocol
from experiments.training.models import unet_config
from experiments.unet import build_unet
from lib.checkpoints.files import save_dpt
from lib.demo.script import run_script
from lib.errors import UserError
from lib.predict import DepthMap

from .conftest import REPOSITORY, make_picture
from .dataset_files import make_depth, write_image, write_rgbd, write_rgbd_set


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(kind, data, options...) -> exit code of the script in this process; results go to tmp_path/out."""

    def start(kind: str, data: Path, *options: object) -> int:
        arguments = ["--dataset", kind, "--data", data, "-o", tmp_path / "out", *options]
        monkeypatch.setattr(sys, "argv", ["evaluate_depth.py", *map(str, arguments)])
        return run_script(evaluate_depth.main, evaluate_depth.parse_args())

    return start


def read_results(folder: Path) -> tuple[dict, str, np.ndarray]:
    """The only JSON, Markdown and PNG of a folder, which has nothing else in it."""
    json_path, markdown_path, worst_path = (
        next(folder.glob(f"*{suffix}")) for suffix in (".json", ".md", "_worst.png")
    )
    assert len(list(folder.iterdir())) == 3
    return json.loads(json_path.read_text("utf-8")), markdown_path.read_text("utf-8"), cv2.imread(str(worst_path))


def table_rows(markdown: str) -> dict[str, list[str]]:
    """{first cell: the other cells} of all tables of a page."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return {row[0].strip().replace("\\", ""): [cell.strip() for cell in row[1:]] for row in cells}


# A model


def test_a_model_on_a_tiny_set(run, tmp_path, tiny_v2, capsys):
    data = write_rgbd_set(tmp_path / "data")
    write_rgbd(data, "larger", image=make_picture(96, 128))
    assert run("rgbd", data, "-m", tiny_v2, "-d", "cpu", "-b", 56) == 0
    results, markdown, worst = read_results(tmp_path / "out")
    assert results["protocol"]["alignment"] == "inverse_depth" and results["protocol"]["max_depth"] == 80
    assert results["model"]["quantity"] == "inverse depth" and results["model"]["weights"] == tiny_v2.name
    assert results["dataset"] == {"kind": "rgbd", "folder": "data", "split": "test"}
    assert [row["name"] for row in results["rows"]] == [*(f"{number:02d}" for number in range(7)), "larger"]
    assert set(results["mean"]) == set(results["metrics"]) == set(METRICS)
    for name, mean in results["mean"].items():
        assert mean == pytest.approx(np.mean([row[name] for row in results["rows"]]))

    table = table_rows(markdown)
    assert table["mean of 8"] == [f"{value:.4f}" for value in results["mean"].values()]
    for row in results["rows"]:
        assert table[row["name"]] == [f"{row[name]:.4f}" for name in METRICS]
    printed = capsys.readouterr().out
    for words in results["protocol"]["in_words"].values():
        assert words in markdown and words in printed
    assert METRICS["silog"].title in markdown and METRICS["silog"].formula in markdown

    tiles = worst.shape[0] // 5
    for number in range(5):
        for left in range(0, worst.shape[1], worst.shape[1] // 4):
            tile = worst[number * tiles + 60 : (number + 1) * tiles - 30, left + 10 : left + 300]
            assert tile.std() > 5  # a picture, and no empty box


def test_the_numbers_are_those_of_the_parts(tmp_path, tiny_v2):
    """The same row by hand: prediction, least squares by numpy, clamp, metric."""
    from lib.make_dpt import make_dpt_from_state_dict
    from lib.predict import predict_depth

    _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(tiny_v2)
    dataset = open_dataset("rgbd", write_rgbd_set(tmp_path, 1))

    def predict(image_bgr):
        return predict_depth(dpt_model, dpt_imgproc, image_bgr, max_side_length=56)

    protocol = choose_protocol("rgbd", alignment="inverse_depth")
    (row,) = evaluate(predict, dataset, protocol).rows
    truth, prediction = dataset[0].depth.astype(np.float64), predict(dataset[0].image_bgr).depth.astype(np.float64)
    valid = np.isfinite(truth)
    scale, shift = np.polyfit(prediction[valid], 1 / truth[valid], 1)
    depth = np.clip(1 / np.maximum(scale * prediction + shift, 1 / 80), 1e-3, 80)[valid]
    assert row["abs_rel"] == pytest.approx(np.mean(np.abs(depth - truth[valid]) / truth[valid]))
    assert row["pixels"] == valid.sum() and (row["scale"], row["shift"]) == pytest.approx((scale, shift))


def test_a_metric_model_needs_no_alignment(run, tmp_path, tiny_v2):
    options = ["-m", tiny_v2, "-d", "cpu", "-b", 56, "--model_type", "depth-anything-v2-metric-hypersim"]
    data = write_rgbd_set(tmp_path / "data", 2)
    assert run("rgbd", data, *options, "--max_depth", 20, "--silog", "depth_anything_v2", "--flip") == 0
    results, markdown, _ = read_results(tmp_path / "out")
    protocol = results["protocol"]
    assert protocol["alignment"] == "none" and protocol["max_depth"] == 20 and protocol["flip"] is True
    assert {row["scale"] for row in results["rows"]} == {1}
    assert "SILog (DA-V2)" in markdown and "Zoe" not in markdown


def test_a_unet_is_evaluated_like_any_model(run, tmp_path):
    config = unet_config(32)
    save_dpt(tmp_path / "net.safetensors", config, build_unet(config))
    assert run("rgbd", write_rgbd_set(tmp_path / "data"), "-m", tmp_path / "net.safetensors", "-d", "cpu") == 0
    results, _, _ = read_results(tmp_path / "out")
    assert results["model"]["quantity"] == "inverse depth" and len(results["rows"]) == 7


@pytest.mark.parametrize("alignment", ["none", "depth"])
def test_inverse_depth_is_not_compared_with_metres(run, tmp_path, tiny_v2, alignment, capsys):
    assert run("rgbd", write_rgbd_set(tmp_path / "data", 1), "-m", tiny_v2, "-d", "cpu", "--alignment", alignment) == 1
    assert "predicts inverse depth: pass --alignment inverse_depth" in capsys.readouterr().err


# Baselines


@pytest.mark.parametrize("alignment", ["inverse_depth", "depth"])
def test_a_ramp_fits_what_is_a_ramp(run, tmp_path, alignment):
    """Truth that is even from row to row in the aligned quantity; one picture is larger than its truth."""
    rows = np.linspace(0.2, 1, 48) if alignment == "inverse_depth" else np.linspace(5, 1, 48)
    depth = np.repeat((1 / rows if alignment == "inverse_depth" else rows)[:, None], 64, axis=1)
    write_rgbd(tmp_path / "data", "ramp", depth=depth)
    write_rgbd(tmp_path / "data", "larger", depth=depth, image=make_picture(96, 128))
    for name in ("ramp", "constant"):
        assert run("rgbd", tmp_path / "data", "--baseline", name, "--alignment", alignment, "--name", name) == 0
    results = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    larger, same_size = results["ramp"]["rows"]
    assert same_size["abs_rel"] < 1e-3 and same_size["delta1"] == 1
    assert larger["abs_rel"] < 0.02 and larger["pixels"] == 48 * 64
    assert results["constant"]["mean"]["delta1"] < 0.6
    assert {row["scale"] for row in results["constant"]["rows"]} == {0}


def test_a_baseline_has_no_metres(run, tmp_path, capsys):
    assert run("rgbd", write_rgbd_set(tmp_path / "data", 1), "--baseline", "ramp", "--alignment", "none") == 1
    assert "a baseline has no unit" in capsys.readouterr().err


# What cannot be used


def test_bad_pictures_are_reported_and_skipped(run, tmp_path, capsys):
    data = write_rgbd_set(tmp_path / "data", 5)
    (data / "01" / "image.png").write_bytes(b"no picture")
    write_image(data / "02" / "gt.png", np.zeros((48, 64), np.uint16))
    write_image(data / "03" / "gt.png", np.full((48, 64), 65535, np.uint16))  # 65 m, beyond the cap
    (data / "04" / "meta.json").write_text("{")
    assert run("rgbd", data, "--baseline", "ramp", "--max_depth", 20) == 1
    errors = capsys.readouterr().err
    results, markdown, _ = read_results(tmp_path / "out")
    assert len(results["rows"]) == 1 and len(results["skipped"]) == 4
    for name, reason in (("01", "damaged"), ("02", "no pixel"), ("03", "no pixel has truth"), ("04", "not JSON")):
        (sentence,) = [each for each in results["skipped"] if name in each and reason in each]
        assert f"Skipped: {sentence}" in errors and sentence in markdown


def test_nothing_is_written_where_nothing_can_be_evaluated(run, tmp_path, capsys):
    data = write_rgbd_set(tmp_path / "data", 2)
    for name in ("00", "01"):
        write_image(data / name / "gt.png", np.zeros((48, 64), np.uint16))
    assert run("rgbd", data, "--baseline", "ramp") == 1
    assert "none of 2 pictures could be evaluated" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_prediction_that_is_not_finite_is_skipped(tmp_path):
    dataset = open_dataset("rgbd", write_rgbd_set(tmp_path, 3))
    calls = iter([1.0, np.nan, np.inf])

    def predict(image_bgr):
        depth = np.full(image_bgr.shape[:2], next(calls), np.float32)
        return DepthMap(depth, "inverse depth", True, (0, np.inf))

    evaluation = evaluate(predict, dataset, choose_protocol("rgbd", alignment="inverse_depth"), report=str)
    assert len(evaluation.rows) == 1 and [text[:2] for text in evaluation.skipped] == ["01", "02"]


def test_running_out_of_memory_skips_the_picture_and_other_errors_end_the_run(tmp_path):
    dataset = open_dataset("rgbd", write_rgbd_set(tmp_path, 2))
    ramp = baseline("ramp", choose_protocol("rgbd", alignment="inverse_depth"))
    errors = iter([RuntimeError("CUDA out of memory"), None])

    def predict(image_bgr):
        error = next(errors)
        if error:
            raise error
        return ramp(image_bgr)

    protocol = choose_protocol("rgbd", alignment="inverse_depth")
    assert "out of memory" in evaluate(predict, dataset, protocol, report=str).skipped[0]
    errors = iter([ZeroDivisionError()])
    with pytest.raises(ZeroDivisionError):
        evaluate(predict, dataset, protocol, report=str)


# Protocol


def test_kitti_is_cropped_twice():
    depth = np.full((375, 1242), 10, np.float32)
    depth[200, 100] = 90  # beyond the cap
    image = np.zeros((375, 1242, 3), np.uint8)
    image[23, 13] = 255
    picture, truth = cut(Sample("a", image, depth), choose_protocol("kitti", alignment="none"))
    assert picture.shape == (352, 1216, 3) and picture[0, 0].min() == 255 and truth.shape == (352, 1216)
    rows, columns = np.nonzero(np.isfinite(truth))
    assert (rows.min(), rows.max() + 1) == (int(0.40810811 * 352), int(0.99189189 * 352))
    assert (columns.min(), columns.max() + 1) == (int(0.03594771 * 1216), int(0.96405229 * 1216))
    assert np.isnan(truth[200 - 23, 100 - 13]) and np.isfinite(truth[200 - 23, 101 - 13])
    with pytest.raises(UserError, match="one size"):
        cut(Sample("a", image[:370], depth), choose_protocol("kitti", alignment="none"))
    with pytest.raises(UserError, match="too few"):
        cut(Sample("a", image[:300], depth[:300]), choose_protocol("kitti", alignment="none"))


def test_caps_are_exclusive():
    depth = np.array([[0.5, 1, 2, 3, np.nan]], np.float32)
    _, truth = cut(Sample("a", None, depth), choose_protocol("rgbd", min_depth=0.5, max_depth=3.0))
    assert np.isfinite(truth).tolist() == [[False, True, True, False, False]]


def test_flip_averaging():
    def predict(image_bgr):
        return DepthMap(image_bgr[..., 0].astype(np.float32) * np.arange(4), "metres", False, (0, 10))

    image = np.ones((2, 4, 3), np.uint8)
    assert flip_averaged(predict)(image).depth.tolist() == [[1.5] * 4] * 2  # 0 1 2 3 and, mirrored back, 3 2 1 0


def test_predictions_are_sampled_at_the_truths_size():
    ramp = np.repeat(np.arange(40, dtype=np.float32)[None], 30, axis=0)
    assert sample_at(ramp, (30, 40)) is ramp
    assert sample_at(ramp, (15, 20))[3].tolist() == [2 * index + 0.5 for index in range(20)]


# DA-2K


def test_da2k(run, tmp_path, tiny_v2, capsys):
    annotations = {}
    for name, nearer in (("a.png", [9, 5]), ("b.png", [1, 5])):
        write_image(tmp_path / "data" / name, make_picture(12, 20))
        annotations[name] = [{"point1": nearer, "point2": [5, 2], "closer_point": "point1"}] * 2
    annotations["a.png"].append({"point1": [3, 3], "point2": [8, 3], "closer_point": "point2"})
    (tmp_path / "data" / "annotations.json").write_text(json.dumps(annotations))
    assert run("da2k", tmp_path / "data", "--baseline", "ramp") == 0
    results, markdown, worst = read_results(tmp_path / "out")
    assert results["mean"] == {"accuracy": 0.6, "whdr": 0.4}  # of five pairs, not of two pictures
    assert [row["accuracy"] for row in results["rows"]] == [1, 0] and "0.6000" in table_rows(markdown)["mean of 2"]
    assert worst.std() > 20
    assert run("da2k", tmp_path / "data", "-m", tiny_v2, "-d", "cpu", "-b", 56, "--name", "model") == 0
    assert run("da2k", tmp_path / "data", "--baseline", "ramp", "--alignment", "depth") == 1
    assert "nothing to align" in capsys.readouterr().err


# Other


def test_the_worst_come_first(tmp_path):
    """Seven pictures; the panels of five are kept in the order of their delta1."""
    dataset = open_dataset("rgbd", write_rgbd_set(tmp_path))
    protocol = choose_protocol("rgbd", alignment="depth")
    evaluation = evaluate(baseline("constant", protocol), dataset, protocol)
    expected = sorted(evaluation.rows, key=lambda row: (row["delta1"], -row["abs_rel"]))[:5]
    assert len({row["delta1"] for row in evaluation.rows}) > 2 and len(evaluation.worst) == 5
    for row, panel in zip(expected, evaluation.worst, strict=True):
        (single,) = evaluate(baseline("constant", protocol), [dataset[int(row["name"])]], protocol).worst
        assert np.array_equal(single, panel)


def test_sparse_truth_and_long_pictures_can_be_drawn(run, tmp_path):
    depth = np.full((40, 400), np.nan, np.float32)
    depth[::9, ::7] = 3
    write_rgbd(tmp_path / "data", "sparse ä | *", depth=depth)
    write_rgbd(tmp_path / "data", "tall", depth=make_depth(900, 30))
    assert run("rgbd", tmp_path / "data", "--baseline", "ramp") == 0
    results, markdown, worst = read_results(tmp_path / "out")
    assert results["rows"][0]["ssim"] is None and results["mean"]["ssim"] == results["rows"][1]["ssim"]
    assert table_rows(markdown)["sparse ä | *"][-1] == "-" and worst.shape[0] < 1200


def test_only_the_first_pictures(run, tmp_path):
    assert run("rgbd", write_rgbd_set(tmp_path / "data"), "--baseline", "ramp", "--limit", 2) == 0
    assert len(read_results(tmp_path / "out")[0]["rows"]) == 2


def test_json_has_no_nan():
    assert without_nan({"a": [float("nan"), 1.5, (float("inf"), "x")]}) == {"a": [None, 1.5, [None, "x"]]}


@pytest.mark.parametrize("module", [protocols, evaluation_files])
def test_examples_in_docstrings(module):
    results = doctest.testmod(module)
    assert results.attempted > 0 and results.failed == 0


def test_help_does_not_import_what_is_slow():
    code = (
        "import sys; import experiments.evaluate_depth; print({'numpy', 'torch', 'cv2', 'skimage'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "set()", done.stderr
    script = [sys.executable, str(REPOSITORY / "experiments" / "evaluate_depth.py"), "--help"]
    shown = subprocess.run(script, capture_output=True, text=True, cwd=REPOSITORY / "tests")
    assert shown.returncode == 0 and "--alignment" in shown.stdout
