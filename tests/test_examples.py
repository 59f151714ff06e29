"""Every program in simple_examples runs as its docstring says, and prints what it promises."""

import subprocess
import sys

import cv2
import pytest

from tests.conftest import REPOSITORY, make_picture

EXAMPLES = sorted(path.name for path in (REPOSITORY / "simple_examples").glob("*.py"))


@pytest.fixture(scope="module")
def picture_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    cv2.imwrite(str(path), make_picture(140, 182))
    return path


@pytest.fixture(scope="module")
def run_example(picture_file, tmp_path_factory):
    """run_example(NAME, weights, *more) -> the finished process, run from another folder."""

    def run(name: str, weights, *more) -> subprocess.CompletedProcess:
        command = [sys.executable, REPOSITORY / "simple_examples" / name, weights, picture_file, *more]
        folder = tmp_path_factory.mktemp("elsewhere")
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=folder)

    return run


def test_every_example_is_tested():
    assert EXAMPLES == [
        "batch_of_images.py",
        "depth_prediction.py",
        "internal_features.py",
        "metric_depth.py",
        "relative_to_metres.py",
    ]


def test_depth_prediction(run_example, tiny_v2):
    done = run_example("depth_prediction.py", tiny_v2)
    assert done.returncode == 0, done.stderr
    assert "network input: (1, 3, 518, 672)" in done.stdout  # 140 x 182 at a shorter side of 518: 518 x 673.4
    assert "depth map: (140, 182) float32 in inverse depth" in done.stdout
    assert "larger values are nearer" in done.stdout


def test_internal_features_agree_with_the_model(run_example, tiny_v2):
    done = run_example("internal_features.py", tiny_v2)
    assert done.returncode == 0, done.stderr
    assert "1 x 1777 x 128" in done.stdout  # 37 x 48 patch tokens and a class token
    assert "1 x 32 x 19 x 24" in done.stdout  # the coarsest map: half of the patch grid, rounded up
    assert "the same as calling the model: yes" in done.stdout


def test_metric_depth_measures_pixels(run_example, weight_file):
    done = run_example("metric_depth.py", weight_file("tiny_depth_anything_v2_metric_hypersim"), "10,20")
    assert done.returncode == 0, done.stderr
    assert "pixel x=10 y=20: " in done.stdout
    assert "the model can give 0 to 20 m" in done.stdout


def test_metric_depth_refuses_a_relative_model(run_example, tiny_v2):
    done = run_example("metric_depth.py", tiny_v2)
    assert done.returncode != 0
    assert "predicts inverse depth, not metres" in done.stderr
    assert "Traceback" not in done.stderr


def test_relative_to_metres_fits_two_measurements_exactly(run_example, tiny_v2, picture_file):
    from lib.make_dpt import make_dpt_from_state_dict
    from lib.predict import predict_depth

    _, model, imgproc = make_dpt_from_state_dict(tiny_v2)
    depth = predict_depth(model, imgproc, cv2.imread(str(picture_file))).depth
    near_y, near_x = divmod(int(depth.argmax()), depth.shape[1])
    far_y, far_x = divmod(int(depth.argmin()), depth.shape[1])
    done = run_example("relative_to_metres.py", tiny_v2, f"{near_x},{near_y}=1.5", f"{far_x},{far_y}=6")
    assert done.returncode == 0, done.stderr
    assert "fitted 1.50 m, measured 1.50 m" in done.stdout
    assert "fitted 6.00 m, measured 6.00 m" in done.stdout
    assert "the whole picture: 1.50 m to 6.00 m" in done.stdout


def test_relative_to_metres_needs_two_measurements(run_example, tiny_v2):
    done = run_example("relative_to_metres.py", tiny_v2, "1,1=2")
    assert done.returncode != 0
    assert "at least two measurements" in done.stderr


def test_batch_of_images_groups_by_network_size(run_example, tiny_v2, tmp_path):
    for name, size in {"same.png": (140, 182), "wide.png": (60, 182)}.items():
        cv2.imwrite(str(tmp_path / name), make_picture(*size))
    done = run_example("batch_of_images.py", tiny_v2, tmp_path / "same.png", tmp_path / "wide.png")
    assert done.returncode == 0, done.stderr
    assert "2 at a network size of 518 x 672" in done.stdout
    assert "1 at a network size of 518 x 1568" in done.stdout
