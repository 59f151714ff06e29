"""experiments/baseline_regressors.py on tiny pictures whose colour tells their depth, or does not."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skimage")

from experiments import baseline_regressors
from experiments.datasets import open_dataset
from experiments.protocols import choose_protocol
from lib.demo.script import run_script

from .dataset_files import write_rgbd, write_rgbd_set


@pytest.fixture
def run(monkeypatch, tmp_path):
    """run(data, options...) -> exit code of the script in this process; results go to tmp_path/out."""

    def start(data, *options: object) -> int:
        arguments = ["--dataset", "rgbd", "--data", data, "-o", tmp_path / "out", "--slice", 900, *options]
        monkeypatch.setattr(sys, "argv", ["baseline_regressors.py", *map(str, arguments)])
        return run_script(baseline_regressors.main, baseline_regressors.parse_args())

    return start


def write_coloured_set(folder, count: int = 8):
    """Pictures in which brightness is depth: 1 m is black, 6 m white."""
    rng = np.random.default_rng(0)
    for number in range(count):
        blocks = rng.uniform(0, 1, (6, 8))
        brightness = np.kron(blocks, np.ones((8, 8)))
        image = np.repeat((brightness * 255).round().astype(np.uint8)[..., None], 3, axis=2)
        write_rgbd(folder, f"{number}", depth=1 + 5 * brightness, image=image)
    return folder


def test_every_regressor_learns_what_colour_tells(run, tmp_path):
    assert run(write_coloured_set(tmp_path / "data")) == 0
    for name in baseline_regressors.REGRESSORS:
        results = json.loads((tmp_path / "out" / f"rgbd_{name}.json").read_text())
        assert len(results["rows"]) == 2  # every fourth of eight pictures
        assert results["protocol"]["alignment"] == "none" and results["mean"]["delta1"] > 0.9
    summary = (tmp_path / "out" / "rgbd_regressors.md").read_text()
    assert all(f"| {name} (" in summary for name in baseline_regressors.REGRESSORS)


def test_position_tells_what_colour_does_not(run, tmp_path):
    """Depth that depends on the row only, below pictures of noise."""
    rng = np.random.default_rng(0)
    for number in range(5):
        depth = np.repeat(np.linspace(6, 1, 48)[:, None], 64, axis=1)
        write_rgbd(
            tmp_path / "data", f"{number}", depth=depth, image=rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        )
    delta1 = {}
    for option in ([], ["--position"]):
        assert run(tmp_path / "data", "forest", *option) == 0
        results = json.loads((tmp_path / "out" / "rgbd_forest.json").read_text())
        delta1[len(option)] = results["mean"]["delta1"]
    assert delta1[1] > 0.9 and delta1[0] < 0.5


def test_no_picture_both_trains_and_tests(tmp_path, monkeypatch):
    write_rgbd_set(tmp_path / "data", 9)
    monkeypatch.setattr(sys, "argv", ["baseline_regressors.py", "--dataset", "rgbd", "--data", str(tmp_path / "data")])
    train, test = baseline_regressors.open_parts(baseline_regressors.parse_args())
    assert test.names == ["00", "04", "08"] and [sample.name for sample in test] == test.names
    assert sorted([*train.names, *test.names]) == [f"{number:02d}" for number in range(9)]


def test_the_slice_bounds_what_is_trained_on(tmp_path, monkeypatch):
    dataset = open_dataset("rgbd", write_rgbd_set(tmp_path / "data", 4))
    arguments = ["--dataset", "rgbd", "--data", str(tmp_path / "data"), "--slice", "100", "--position"]
    monkeypatch.setattr(sys, "argv", ["baseline_regressors.py", *arguments])
    args = baseline_regressors.parse_args()
    protocol = choose_protocol("rgbd", alignment="none")
    features, targets, groups, skipped = baseline_regressors.collect_pixels(
        dataset, protocol, args, np.random.default_rng(0)
    )
    assert features.shape == (100, 5) and np.isfinite(targets).all() and not skipped
    assert np.bincount(groups).tolist() == [25] * 4
    assert features.min() >= 0 and features.max() <= 1

    class Counting:
        def predict(self, pixels):
            assert len(pixels) <= 100
            return pixels[:, 3]  # the row

    depth = baseline_regressors.pixel_predictor(Counting(), args)(np.zeros((60, 80, 3), np.uint8)).depth
    assert depth.shape == (60, 80) and depth[:, 5] == pytest.approx(np.linspace(0, 1, 60), abs=1e-6)


def test_what_cannot_be_trained_is_refused(run, tmp_path, capsys):
    assert run(write_rgbd_set(tmp_path / "few", 2)) == 1
    assert "2 pictures are too few" in capsys.readouterr().err
    data = write_rgbd_set(tmp_path / "data", 6)
    for name in ("01", "02", "03"):
        (data / name / "image.png").write_bytes(b"")
    assert run(data) == 1
    assert "fewer than two pictures to train on" in capsys.readouterr().err
    assert run(data, "perceptron") == 1
    told = "perceptron: no such regressor; there are forest, boosting, neighbours"
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_bad_training_picture_is_reported(run, tmp_path, capsys):
    data = write_coloured_set(tmp_path / "data")
    (data / "1" / "image.png").write_bytes(b"")
    assert run(data, "boosting") == 1
    assert "image.png: the file is empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "rgbd_boosting.json").exists()
